"""The watch over a promotion: a champion and the version before it on the same live rows, as their labels come in.

Here: which days a look compares, what a look has to show, and the value that is recorded. Not here: reading scores and
labels (`services/promotion_watches.py`), when a look is taken (`orchestration/state/promotion_watch.py`), and what
follows from a promotion that is refuted (`services/release_watch.py`).

A watch looks at growing data several times. An interval of 95 % that is looked at on 14 days would call one of several
sound models worse: so the chance of error is shared among the looks (Bonferroni), which widens each interval.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from statistics import NormalDist

from pydantic import Field

from fraud_retraining.domain.evaluation.matured import Difference, MaturedOutcome
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.interval import Interval

CATCH_UP_DAYS = 30
"""Days after the end of a watch in which its last look is still taken: a daemon that stood still leaves it out."""


class WatchedPromotion(Value):
    """A promotion and the version that it replaced; `days` are those that are compared."""

    version: int
    as_of: date
    fingerprint: str
    predecessor_version: int
    serves: bool = Field(description="Whether the version is the champion now.")
    days: DayRange = Field(description="The days after its as-of day, as many as are watched.")
    learnt: tuple[DayRange, ...] = Field((), description="Days that either version has learnt from.")
    obstacle: str = Field("", description="Why no comparison of the two is fair; empty for almost every promotion.")

    def live_days(self, until: date) -> tuple[date, ...]:
        """The watched days up to one that neither version has learnt from."""
        fair = () if self.obstacle else self.days
        return tuple(day for day in fair if day <= until and not any(day in days for days in self.learnt))

    def is_over(self, known_by: date, age: timedelta) -> bool:
        """Whether the last watched day has the age at which days are judged."""
        return known_by >= self.days.end + age

    def is_due(self, known_by: date, age: timedelta) -> bool:
        """Whether a look is taken: each day at the champion, once at the end at a version that was replaced since."""
        return self.is_over(known_by, age) or (self.serves and known_by >= self.days.start + age)


class PromotionWatch(Value):
    """What a look at a promotion gave; recorded is the first that refutes it, else the last."""

    version: int
    as_of: date
    predecessor_version: int = Field(description="Version that it took the place of.")
    known_by: date = Field(description="Day at whose end the labels were known.")
    days: tuple[date, ...] = Field((), description="Days that were compared.")
    difference: Difference | None = Field(None, description="None: the rows could not compare the two.")
    allowed_loss: float = Field(ge=0, description="Average precision that it may lose (gates.max_regression).")
    looks: int = Field(ge=1, description="Looks among which the chance of error is shared.")
    outcome: MaturedOutcome
    ends: bool = Field(description="Whether no further look follows.")
    reason: str = Field("", description="Why the two were not compared.")

    @property
    def refuted(self) -> bool:
        """Whether it is clearly worse than the version before it."""
        return self.outcome is MaturedOutcome.REFUTED

    @property
    def summary(self) -> str:
        """What the look says, in a sentence."""
        before = f"version {self.predecessor_version}"
        if self.outcome is MaturedOutcome.NOT_MEASURED:
            return f"Cannot be compared with {before}: {self.reason}."
        found = self.difference.summary if self.difference else f"not compared, {self.reason}"
        over = f"{self.days[0]} to {self.days[-1]}" if self.days else "no day yet"
        return (
            f"{_WORDS[self.outcome]} on live rows of {over}, labels known by {self.known_by}: average precision "
            f"differs from {before} by {found}. A loss of {self.allowed_loss:g} is allowed."
        )

    @property
    def standing(self) -> str:
        """Outcome and stage, in a few words."""
        words = str(_WORDS.get(self.outcome, "not measured")).lower()
        return f"{words}, {'ended' if self.ends else 'goes on'}"


_WORDS = {
    MaturedOutcome.REFUTED: "Clearly worse",
    MaturedOutcome.CONFIRMED: "Not worse",
    MaturedOutcome.UNDECIDED: "Undecided",
}


class WatchReport(Value):
    """The looks that were taken on a day."""

    day: date
    watches: tuple[PromotionWatch, ...]
    shadow: CandidateShadow | None = Field(None, description="The candidate that waited then, beside the champion.")

    def of(self, version: int) -> PromotionWatch | None:
        """The look at a version; None where none was taken."""
        return next((one for one in self.watches if one.version == version), None)


def shared_among(interval: Interval, looks: int, confidence: float) -> Interval:
    """An interval of a confidence widened for one of several looks, so that all of them together keep it.

    Each end moves outward by as many standard deviations as the normal quantile of the smaller error lies further out.
    The ends of the bootstrap stay where they are for one look; far ends would need many times the resamples.

    >>> wide = shared_among(Interval(value=-0.05, low=-0.09, high=-0.01, deviation=0.02), 14, 0.95)
    >>> round(wide.low, 3), round(wide.high, 3)
    (-0.109, 0.009)
    """
    normal = NormalDist()
    one, each = (normal.inv_cdf(1 - (1 - confidence) / (2 * n)) for n in (1, looks))
    out = (each - one) * interval.deviation
    return interval.model_copy(update={"low": interval.low - out, "high": interval.high + out})


def watched_days(as_of: date, count: int) -> DayRange:
    """The days of the watch over a promotion as of a day."""
    return DayRange(start=as_of + timedelta(days=1), end=as_of + timedelta(days=count))


def needed_versions(watched: Iterable[WatchedPromotion], day: date) -> set[int]:
    """The versions whose scores of a day the watches read."""
    return {
        version for one in watched if day in one.live_days(day) for version in (one.version, one.predecessor_version)
    }
