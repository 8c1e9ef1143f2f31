"""The Dagster daemon in a process that dies at a stage of a sensor's tick: `python -m ... killed_daemon STAGE run`.

The stages are Dagster's own, at which its tests let it crash.
"""

import os
import signal
import sys

from dagster._daemon import sensor
from dagster._daemon.cli import main

STAGES = ("TICK_CREATED", "TICK_HELD", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED")


def arm(stage: str) -> None:
    """Makes the first tick that reaches the stage the last thing that this process does."""

    def reached(_flags: object, name: str) -> None:
        if name == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    # Dagster calls this function at each of its stages; no setting reaches it in a daemon that is started by itself.
    vars(sensor)["check_for_debug_crash"] = reached


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    main()
