"""The family of errors with a known meaning: each has an exit code, culprits and a remedy.

Not here: bugs, which stay ordinary exceptions and exit with code 1, as `IntegrityError` does.

    RetrainingError                     exit code
    ├── SettingsError                   2  settings or usage
    │   └── NotPermitted                2  a user who may not decide
    ├── DataInvalid                     3  the lake, a day, a column or the window is not usable
    ├── GateFailed                      4  the candidate is not good enough
    ├── Conflict                        5  another decision came first
    │   └── Busy                        5  another retrain is under way
    ├── BudgetExceeded                  6  time or cost
    └── DependencyUnreachable           7  lake, store, MLflow or disk did not answer
        └── IntegrityError              1  it answered, but not with what was stored
            ├── RecordAltered           1  the record of decisions, or what stands beside it, was changed
            └── ChampionLost            1  MLflow does not have the champion any more
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import ClassVar


class RetrainingError(Exception):
    """A failure with a known meaning: the problem, its culprits, and the remedy.

    `days` are the days whose data caused it, if data did.

    >>> print(SettingsError("window.days is out of bounds", culprits=["window.days: 0"], remedy="Set 1 or more."))
    window.days is out of bounds
      - window.days: 0
    Remedy: Set 1 or more.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, culprits: Sequence[object] = (), remedy: str = "", days: Iterable[date] = ()
    ) -> None:
        self.what = what
        self.culprits = tuple(str(culprit) for culprit in culprits)
        self.remedy = remedy
        self.days = tuple(sorted(set(days)))
        # `args` hold the parts, so that a plain repr in a log shows them all.
        super().__init__(what, self.culprits, remedy)

    @property
    def answer(self) -> dict[str, object]:
        """The failure as plain values, for programs."""
        return {
            "kind": type(self).__name__,
            "message": self.what,
            "culprits": list(self.culprits),
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        lines = [self.what, *(f"  - {culprit}" for culprit in self.culprits)]
        if self.remedy:
            lines.append(f"Remedy: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Dagster passes errors between processes by pickle, which would call __init__ with `args` by position.
        return _rebuild, (type(self), self.what, self.culprits, self.remedy, self.days)


def _rebuild(
    kind: type[RetrainingError], what: str, culprits: tuple[str, ...], remedy: str, days: tuple[date, ...]
) -> RetrainingError:
    return kind(what, culprits=culprits, remedy=remedy, days=days)


class SettingsError(RetrainingError):
    """Invalid settings or arguments; `culprits` lists every problem, not just the first."""

    exit_code = 2


class NotPermitted(SettingsError):
    """A decision by a user who may not make it: not a reviewer, identity not proven, or about their own candidate."""


class DataInvalid(RetrainingError):
    """Data that must not be trained on: absent, unreadable, of the wrong shape, or failing a check."""

    exit_code = 3


class GateFailed(RetrainingError):
    """A candidate that did not pass; `culprits` are the failed gates with value and threshold."""

    exit_code = 4


class Conflict(RetrainingError):
    """A decision that came second: decided, expired or superseded before, or the champion moved meanwhile."""

    exit_code = 5


class Busy(Conflict):
    """A retrain that did not start because another one is running. It did not fail."""


class BudgetExceeded(RetrainingError):
    """A retrain that cost more time or money than it may."""

    exit_code = 6


class DependencyUnreachable(RetrainingError):
    """An external system that could not be read or written. It is never the same as "there is nothing"."""

    exit_code = 7


class IntegrityError(DependencyUnreachable):
    """Stored bytes that differ from those that were recorded. It is no outage: a retry does not help."""

    exit_code = 1


class RecordAltered(IntegrityError):
    """The ledger was changed after it was written, or an artifact differs from what the ledger records.

    A re-run does not help, and automation stops: an operator has to find out who changed what.
    """


class ChampionLost(IntegrityError):
    """MLflow has lost the champion that the ledger knows: its version, or the registered model, was deleted."""
