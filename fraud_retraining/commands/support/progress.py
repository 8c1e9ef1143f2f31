"""Progress of long commands on stderr. Not here: what is counted (`orchestration/runs/progress.py`)."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fraud_retraining.commands.support.output import err

if TYPE_CHECKING:
    from rich.progress import TaskID

LONG_TASK = 10
"""Units from which on a task gets a line at its middle too, where stderr is no terminal."""


class RichProgress(AbstractContextManager["RichProgress"]):
    """Progress bars on stderr; plain lines where stderr is no terminal.

    Enter it before heavy libraries are imported: the bar `starting` shows that the command runs.
    """

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        counted = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), *counted)
        self._bars = Progress(*columns, console=err, disable=not err.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._starting: TaskID | None = self._bars.add_task("starting", total=None)

    def __enter__(self) -> Self:
        # A signal may arrive after the cursor was hidden and before __exit__ is sure to be called.
        try:
            self._bars.start()
        except BaseException:
            self._bars.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._starting is not None:
            self._bars.remove_task(self._starting)
        self._bars.stop()

    def start(self, task: str, total: int) -> None:
        """Show a bar of `total` units; a task that starts again begins at 0."""
        if self._starting is not None:
            self._bars.remove_task(self._starting)
            self._starting = None
        self._totals[task] = total
        if task in self._tasks:
            self._bars.reset(self._tasks[task], total=total)
        else:
            self._tasks[task] = self._bars.add_task(task, total=total)

    def advance(self, task: str, done: int) -> None:
        """Move the bar; without a terminal print a line at the end, and at the middle of a long task."""
        self._bars.update(self._tasks[task], completed=done)
        total = self._totals[task]
        if not err.is_terminal and (done == total or (total >= LONG_TASK and done == (total + 1) // 2)):
            err.print(f"{task}: {done} of {total}", highlight=False)
