"""What a measured process reports of itself: wall and processor seconds, and the most memory that it has held; and the
project's own commands in processes of their own.

Processor seconds are shown beside the wall's, because other jobs on a machine stretch only the latter.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


class Stopwatch:
    """Wall and processor seconds since it was started, and the most memory so far."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """What was measured so far."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"seconds": wall, "cpu": cpu, "megabytes": peak_megabytes()}


def peak_megabytes() -> float:
    """The most memory that this process has held; unlike `ru_maxrss`, without what its parent had when it began."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer_of(*arguments: str) -> dict[str, Any]:
    """What a command of the project answers with `--json`; ends the benchmark where it fails."""
    command = [sys.executable, "-m", "fraud_retraining.cli", *arguments, "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit {finished.returncode}\n{finished.stdout}\n{finished.stderr}")
    answer: dict[str, Any] = json.loads(finished.stdout)
    return answer
