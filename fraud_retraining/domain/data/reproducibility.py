"""Reproducibility of a model: a day that was rewritten since is no longer the day that the model learned from.

Here: the digests that a stored day has had, and the days of a model that hold other rows now. Not here:
where days are stored and what is recorded about a version (`orchestration/state/reproducibility.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date

from pydantic import Field

from fraud_retraining.domain.values.base import Value

NAMED = 3


class StoredDay(Value):
    """A day as it is stored, and the digests that it had before.

    The digest of a day also changes with the settings and the code that read it. Only a lake that delivered other files
    has rewritten the day.
    """

    digest: str
    alike: tuple[str, ...] = Field((), description="Digests of the files that are there now, read by other rules.")
    rewritten: tuple[str, ...] = Field((), description="Digests of files that the lake no longer has.")

    def followed_by(self, digest: str, *, same_files: bool) -> "StoredDay":
        """The day after it was read again."""
        if digest == self.digest:
            return self
        if same_files:
            return StoredDay(digest=digest, alike=_joined(self.alike, self.digest), rewritten=self.rewritten)
        return StoredDay(digest=digest, rewritten=_joined(self.rewritten, *self.alike, self.digest))

    def still_holds(self, pinned: str, *, same_rules: bool) -> bool | None:
        """Whether the files that once gave the digest `pinned` are still there; None where it is unknown.

        `same_rules`: whether `pinned` was made by the settings that read the day now. Only then does a digest that is
        not recorded count against the day.
        """
        if pinned == self.digest or pinned in self.alike:
            return True
        # Other rules give the same files another digest, so an unknown digest proves nothing then.
        return False if same_rules or pinned in self.rewritten else None


def _joined(digests: Sequence[str], *more: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*digests, *more]))


class RewrittenDay(Value):
    """A day that holds other rows now than when it was used."""

    day: date
    before: str
    after: str


def rewritten_days(
    used: Mapping[date, str], stored: Mapping[date, StoredDay], *, same_rules: bool
) -> tuple[RewrittenDay, ...]:
    """The days of `used` (day, digest) that were certainly rewritten since, oldest first.

    `same_rules`: whether `used` was read by the settings that stored the days.
    """
    return tuple(
        RewrittenDay(day=day, before=digest, after=stored[day].digest)
        for day, digest in sorted(used.items())
        if day in stored and stored[day].still_holds(digest, same_rules=same_rules) is False
    )


class Reproducibility(Value):
    """Whether a version could be trained again from the lake as it is now, and which days stand in the way."""

    rewritten: tuple[date, ...] = ()

    @property
    def reproducible(self) -> bool:
        """Whether no day that the version used was rewritten."""
        return not self.rewritten

    @property
    def reason(self) -> str:
        """Reason why it is not reproducible; empty when it is."""
        if not self.rewritten:
            return ""
        named = ", ".join(map(str, self.rewritten[:NAMED]))
        more = f" and {len(self.rewritten) - NAMED} more" if len(self.rewritten) > NAMED else ""
        return f"day {named} was rewritten" if len(self.rewritten) == 1 else f"days {named}{more} were rewritten"

    def judged_again(
        self, used: Mapping[date, str], stored: Mapping[date, StoredDay], *, same_rules: bool
    ) -> "Reproducibility":
        """The same after the stored days were checked; the result for all other days stays."""
        back = {
            day
            for day in self.rewritten
            if day in stored and day in used and stored[day].still_holds(used[day], same_rules=same_rules)
        }
        rewritten = {change.day for change in rewritten_days(used, stored, same_rules=same_rules)}
        return Reproducibility(rewritten=tuple(sorted({*self.rewritten, *rewritten} - back)))
