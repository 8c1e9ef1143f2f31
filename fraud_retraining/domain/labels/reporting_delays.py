"""Reporting delays: how long after a transaction its fraud becomes known, and how much a young fraud weighs.

Here: the estimate from label events, and the weight that follows from it. Not here: which rows get the weight
(`adapters/days/window_rows.py`).

Ages and delays are whole days: the day on which something became known less the day of the transaction.
"""

from collections.abc import Mapping
from datetime import date

from pydantic import Field

from fraud_retraining.domain.values.base import Value

MAX_WEIGHT = 10.0
"""Cap of a weight: a fraud that few of its age are known beside would otherwise decide alone."""
PRIOR_REPORTS, PRIOR_AT_RISK = 0.5, 1.0
"""Krichevsky-Trofimov smoothing of each hazard: no delay is impossible because no fraud has had it yet."""

FraudsByDelay = Mapping[date, Mapping[int, int]]
"""By day of the transactions: how many of their frauds became known after how many days."""


class ReportingDelays(Value):
    """The distribution of the reporting delay of frauds, with the counts that it rests on."""

    as_of: date = Field(description="Day at whose end the counts were taken.")
    delay_days: int = Field(ge=0, description="Delay after which a label is final; longer ones are not modelled.")
    counts: tuple[int, ...] = Field(description="Frauds by delay, from 0 to `delay_days`, on all days together.")
    shares: tuple[float, ...] = Field(
        description="Share of frauds known within 0, 1, ... `delay_days` days; ends at 1."
    )

    @property
    def frauds(self) -> int:
        """Frauds that the estimate rests on."""
        return sum(self.counts)

    def share(self, age: int) -> float:
        """Share of the frauds of an age in days that are known.

        >>> ReportingDelays(as_of=date(2026, 1, 9), delay_days=2, counts=(5, 3, 2), shares=(0.5, 0.8, 1.0)).share(1)
        0.8
        """
        return self.shares[age] if age < self.delay_days else 1.0

    def weight(self, age: int) -> float:
        """How many frauds a known one of an age in days stands for: 1 over the share that is known, at most 10.

        >>> ReportingDelays(as_of=date(2026, 1, 9), delay_days=2, counts=(5, 3, 2), shares=(0.5, 0.8, 1.0)).weight(0)
        2.0
        """
        share = self.share(age)
        return min(1 / share, MAX_WEIGHT) if share > 0 else MAX_WEIGHT


def estimate_delays(frauds: FraudsByDelay, as_of: date, delay_days: int, min_frauds: int) -> ReportingDelays | None:
    """The delays of frauds as known at the end of `as_of`; None with fewer than `min_frauds` of mature days.

    A fraud is only seen once it is reported, so young days show short delays alone. The estimate is the product limit
    for such right-truncated data (Lagakos, Barraj & De Gruttola 1988, "Nonparametric analysis of truncated survival
    data"; Kalbfleisch & Lawless 1989 for reporting delays): going back from the longest delay k, the share of reports
    with delay k among those with delay at most k, on days that are at least k old. It needs no assumption about the
    form of the distribution, and every day counts as far as it can be seen.

    Raises:
        ValueError: a delay that is negative.
    """
    _require_delays(frauds)
    mature = sum(
        count
        for day, by_delay in frauds.items()
        if (as_of - day).days >= delay_days
        for delay, count in by_delay.items()
        if delay <= delay_days
    )
    # Counted on mature days only: young ones have reported their fast frauds, and would look like enough.
    if mature < min_frauds:
        return None
    shares = [1.0] * (delay_days + 1)
    # From the longest delay back: the share within the longest is 1 by definition, and each hazard takes its part away.
    for delay in range(delay_days, 0, -1):
        reported, at_risk = _reports(frauds, as_of, delay)
        hazard = (reported + PRIOR_REPORTS) / (at_risk + PRIOR_AT_RISK)
        shares[delay - 1] = shares[delay] * (1 - hazard)
    counts = [_known(frauds, as_of, delay) for delay in range(delay_days + 1)]
    return ReportingDelays(as_of=as_of, delay_days=delay_days, counts=tuple(counts), shares=tuple(shares))


def _require_delays(frauds: FraudsByDelay) -> None:
    negative = [day for day, by_delay in frauds.items() if any(delay < 0 for delay in by_delay)]
    if negative:
        raise ValueError(f"frauds of {negative[0]} became known before their day")


def _reports(frauds: FraudsByDelay, as_of: date, delay: int) -> tuple[int, int]:
    """Reports with exactly this delay, and with at most this one, of days on which it could be seen."""
    seen = [by_delay for day, by_delay in frauds.items() if (as_of - day).days >= delay]
    exactly = sum(by_delay.get(delay, 0) for by_delay in seen)
    return exactly, sum(count for by_delay in seen for found, count in by_delay.items() if found <= delay)


def _known(frauds: FraudsByDelay, as_of: date, delay: int) -> int:
    return sum(by_delay.get(delay, 0) for day, by_delay in frauds.items() if (as_of - day).days >= delay)
