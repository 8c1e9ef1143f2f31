"""A transaction simulator with fraudsters that adapt, late fraud reports, and the lake's layout.

Not here: the pipeline that reads that lake, and the settings that fit to it
(`commands/implementation/simulated_lake.py`).

Public: `Simulator`, `SimulationPolicy`, `lake_path`, `write_lake`.
"""

from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.simulator import Simulator, lake_path, write_lake

__all__ = ["SimulationPolicy", "Simulator", "lake_path", "write_lake"]
