"""Parts of the serving log as the ledger names them, and whether they are still what they were.

Here: digests over many parts, so that an event stays small however often the log is flushed. Not here: the parts
themselves (`adapters/online/served_days.py`), and when they are recorded (`services/live_scoring.py`).

A part is named `<scorer>-<number>`; numbers have one length and rise within a scorer.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.digests import digest

RANGES = "ranges"
"""Where an event `answers_logged` has its ranges."""


class PartRange(Value):
    """Parts that one scorer wrote one after the other, by name, with a digest over their names and contents."""

    first: str
    last: str
    parts: int
    digest: str

    @property
    def summary(self) -> str:
        """Which parts, in words."""
        return self.first if self.parts == 1 else f"{self.first} to {self.last}"


def ranges_of(parts: Mapping[str, str]) -> tuple[PartRange, ...]:
    """Parts, by name the SHA-256 of each, as a range for each scorer."""
    return tuple(
        PartRange(first=names[0], last=names[-1], parts=len(names), digest=_digest(names, parts))
        for names in (list(group) for _, group in groupby(sorted(parts, key=_key), _scorer))
    )


def changed_ranges(recorded: Iterable[PartRange], found: Mapping[str, str]) -> Iterator[PartRange]:
    """Those of the recorded ranges whose parts are not all as they were: changed, missing, or more than there were."""
    for one in recorded:
        scorer = _scorer(one.first)
        names = [name for name in found if _scorer(name) == scorer and one.first <= name <= one.last]
        if _digest(sorted(names, key=_key), found) != one.digest:
            yield one


def _digest(names: Iterable[str], parts: Mapping[str, str]) -> str:
    return digest([[name, parts[name]] for name in names])


def _key(name: str) -> tuple[str, str]:
    return _scorer(name), name


def _scorer(name: str) -> str:
    return name.rpartition("-")[0]
