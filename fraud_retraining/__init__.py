"""The unattended retraining of a payments company's fraud model.

Here: what assembles the packages below (`definitions`, `settings`, `cli`). Not here: anything else.

Public: `definitions.build_definitions`, `definitions.defs`, `settings.load_settings`, `settings.Settings`, `cli.app`.
"""

import os

# Threads of XGBoost and scikit-learn that wait for each other should sleep, not spin: on a machine that does something
# else too, spinning makes a fit several times slower. Read once, when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
