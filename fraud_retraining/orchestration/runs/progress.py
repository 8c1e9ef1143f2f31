"""How a run tells how far it is.

Here: the interface, and the one that writes to a logger. Not here: progress bars (`commands/support/progress.py`).
"""

import logging
from typing import Protocol


class Progress(Protocol):
    """Told of each unit of work by the assets."""

    def start(self, task: str, total: int) -> None:
        """`total` units of `task` are about to be done."""

    def advance(self, task: str, done: int) -> None:
        """`done` of them are done."""


class LogProgress:
    """Progress as log lines, at every tenth part."""

    def __init__(self) -> None:
        self._log = logging.getLogger("fraud_retraining.progress")
        self._totals: dict[str, int] = {}

    def start(self, task: str, total: int) -> None:
        """Remembers the total."""
        self._totals[task] = max(total, 1)

    def advance(self, task: str, done: int) -> None:
        """Logs at every tenth part."""
        total = self._totals.get(task, 1)
        if done == total or (done * 10) // total != ((done - 1) * 10) // total:
            self._log.info("%s: %d of %d", task, done, total)
