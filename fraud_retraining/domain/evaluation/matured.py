"""The matured verdict: the comparison of a release once more, when the labels that judged it are mature.

Here: whether a release was judged on labels as known, when those labels are mature, and what the second comparison says
of the first. Not here: reading rows and models (`services/matured_verdicts.py`), and what follows from a refuted
promotion (`services/release_watch.py`).

A fresh verdict rests on the frauds that were known by its as-of day. The same two models on the same rows are compared
again with the labels then known, by the same metric and the same resampling of customers.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from enum import StrEnum

from pydantic import Field

from fraud_retraining.domain.evaluation.comparison import Comparison, NotCompared
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval


class MaturedOutcome(StrEnum):
    """What mature labels say of a fresh verdict. The values are stored and never change."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not_measured"


class Difference(Value):
    """One comparison of candidate and champion; average precision, difference is candidate minus champion."""

    rows: int
    frauds: int = Field(description="Frauds that were known among the rows.")
    candidate: float
    champion: float
    difference: Interval

    @classmethod
    def of(cls, found: Comparison | NotCompared | None) -> "Difference | None":
        """The difference of a comparison; None where the rows did not compare the two."""
        if not isinstance(found, Comparison):
            return None
        return cls(
            rows=found.rows,
            frauds=found.frauds,
            candidate=found.candidate.value,
            champion=found.champion.value,
            difference=found.difference,
        )

    @property
    def summary(self) -> str:
        """Difference, interval and frauds, as a clause."""
        low, high = self.difference.low, self.difference.high
        return f"{self.difference.value:+.3f} ({low:+.3f} to {high:+.3f}) with {self.frauds:,} known frauds"


class MaturedVerdict(Value):
    """What the comparison of a release gave with mature labels, beside what it gave when it was judged."""

    version: int
    as_of: date
    champion_version: int = Field(description="Version that it was compared with.")
    days: tuple[date, ...] = Field(description="Holdout days that neither model had learnt from.")
    mature_on: date = Field(description="Day from whose end on the labels of all these days are mature.")
    then: Difference | None = Field(description="With the labels known by the as-of day; None: not compared then.")
    now: Difference | None = Field(None, description="With mature labels; None: they could not compare the two.")
    allowed_loss: float = Field(ge=0, description="Average precision that a candidate may lose (gates.max_regression).")
    outcome: MaturedOutcome
    reason: str = Field("", description="Why there is no comparison with mature labels.")

    @property
    def refuted(self) -> bool:
        """Whether mature labels refute the promotion."""
        return self.outcome is MaturedOutcome.REFUTED

    @property
    def summary(self) -> str:
        """The outcome with both differences, in a sentence."""
        if self.outcome is MaturedOutcome.NOT_MEASURED:
            return f"Cannot be measured: {self.reason}."
        now = self.now.summary if self.now else f"not compared, {self.reason}"
        then = self.then.summary if self.then else "not compared"
        first, last = self.days[0], self.days[-1]
        return (
            f"{self.outcome.capitalize()} with the mature labels of {first} to {last}: average precision differs from "
            f"version {self.champion_version} by {now}; when it was judged: {then}. "
            f"A loss of {self.allowed_loss:g} is allowed."
        )


def outcome_of(difference: Interval | None, allowed_loss: float) -> MaturedOutcome:
    """What a paired difference says of a verdict: refuted below the allowed loss, confirmed above it, as a whole.

    >>> outcome_of(Interval(value=-0.05, low=-0.08, high=-0.02, deviation=0.01), allowed_loss=0.01).value
    'refuted'
    >>> outcome_of(Interval(value=0.0, low=-0.02, high=0.02, deviation=0.01), allowed_loss=0.01).value
    'undecided'
    """
    if difference is None:
        return MaturedOutcome.UNDECIDED
    if difference.high < -allowed_loss:
        return MaturedOutcome.REFUTED
    return MaturedOutcome.CONFIRMED if difference.low >= -allowed_loss else MaturedOutcome.UNDECIDED


def is_fresh(window: TrainingWindow) -> bool:
    """Whether the holdout of a window had days whose labels were not mature on the as-of day."""
    young = (window.days.as_of - window.days.holdout.end).days < window.label_delay_days
    return window.labels is not None and young


def mature_on(days: Iterable[date], delay_days: int) -> date:
    """The day that has to have arrived for the labels of all `days` to be mature."""
    return max(days) + timedelta(days=delay_days)


class MaturedCounts(Value):
    """How often fresh verdicts were judged again, by outcome."""

    confirmed: int = 0
    refuted: int = 0
    undecided: int = 0
    not_measured: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[str]) -> "MaturedCounts":
        """Counts of stored outcomes."""
        found = [MaturedOutcome(outcome) for outcome in outcomes]
        return cls(**{outcome.value: found.count(outcome) for outcome in MaturedOutcome})

    @property
    def summary(self) -> str:
        """The counts, as a clause."""
        unmeasured = f", {self.not_measured} could not be measured" if self.not_measured else ""
        decided = f"{self.confirmed} confirmed, {self.refuted} refuted, {self.undecided} undecided"
        return f"{decided} by mature labels{unmeasured}"
