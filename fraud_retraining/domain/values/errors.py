"""The one family of errors that a person meets.

Here: every failure that has a known meaning, with its exit code and its remedy. Not here: bugs, which stay
ordinary exceptions and leave with exit code 1, as what is stored and is not what was recorded does.

    RetrainingError                     exit code
    ├── SettingsError                   2  settings or usage
    │   └── NotPermitted                2  somebody who may not decide
    ├── DataInvalid                     3  the lake, a day, a column or the window is not usable
    ├── GateFailed                      4  the candidate is not good enough
    ├── Conflict                        5  somebody or something else decided first
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
    """A failure with a known meaning: what is wrong, with which culprits, and what to do about it.

    `days` are the days whose data is to blame, where it is theirs.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, culprits: Sequence[object] = (), remedy: str = "", days: Iterable[date] = ()
    ) -> None:
        self.what = what
        self.culprits = tuple(str(culprit) for culprit in culprits)
        self.remedy = remedy
        self.days = tuple(sorted(set(days)))
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
        return _rebuild, (type(self), self.what, self.culprits, self.remedy, self.days)


def _rebuild(
    kind: type[RetrainingError], what: str, culprits: tuple[str, ...], remedy: str, days: tuple[date, ...]
) -> RetrainingError:
    return kind(what, culprits=culprits, remedy=remedy, days=days)


class SettingsError(RetrainingError):
    """Settings or arguments that cannot be obeyed; `culprits` lists every problem, not just the first."""

    exit_code = 2


class NotPermitted(SettingsError):
    """A decision by somebody who may not make it: no reviewer, not proven, or about their own candidate."""


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
    """A retrain that found another one under way. It did not fail: it was not begun."""


class BudgetExceeded(RetrainingError):
    """A retrain that cost more time or money than it may."""

    exit_code = 6


class DependencyUnreachable(RetrainingError):
    """Something outside that could not be read or written. Never the same as "there is nothing there"."""

    exit_code = 7


class IntegrityError(DependencyUnreachable):
    """Stored bytes that are not the bytes that were recorded. No outage: waiting and trying again help nothing."""

    exit_code = 1


class RecordAltered(IntegrityError):
    """The record of decisions is not what was written, or what is to be acted on is not what the record says.

    No re-run cures it, and automation stops: a person has to find out who changed what.
    """


class ChampionLost(IntegrityError):
    """MLflow has lost the champion that the ledger knows: its version, or the registered model, was deleted."""
