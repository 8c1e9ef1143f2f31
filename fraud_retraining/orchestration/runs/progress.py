"""Progress of a run.

Here: the interface, and its implementation for a logger. Not here: progress bars (`commands/support/progress.py`).
"""

import logging
from typing import Protocol


class Progress(Protocol):
    """Receives each unit of work from the assets."""

    def start(self, task: str, total: int) -> None:
        """A task of `total` units begins."""

    def advance(self, task: str, done: int) -> None:
        """`done` units of the task are complete."""


class LogProgress:
    """Progress as log lines, at every tenth part."""

    def __init__(self) -> None:
        self._log = logging.getLogger("fraud_retraining.progress")
        self._totals: dict[str, int] = {}

    def start(self, task: str, total: int) -> None:
        """Keeps the total."""
        self._totals[task] = max(total, 1)

    def advance(self, task: str, done: int) -> None:
        """Logs at every tenth part."""
        total = self._totals.get(task, 1)
        if done == total or (done * 10) // total != ((done - 1) * 10) // total:
            self._log.info("%s: %d of %d", task, done, total)
