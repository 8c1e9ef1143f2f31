"""How a source of labels is doing: whether reports still come, and whether they come later than they did.

Here: the newest label days against those before, and labels that were kept aside. Not here: the distribution of delays
(`domain/labels/reporting_delays.py`), and why a label is kept aside (`domain/labels/events.py`). A feed that falls
silent would otherwise look like days without fraud.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from statistics import median

from pydantic import Field

from fraud_retraining.domain.values.base import Value

TRAILING_DAYS = 14
RECENT_DAYS, EARLIER_DAYS = 7, 21
MIN_USUAL_REPORTS = 3
"""Median of reports a day below which a day without any is nothing unusual."""
MIN_RATIO, MAX_SLOWDOWN = 0.2, 1.5
WITHIN_DAYS = (1, 2, 3, 7, 14)

Reports = Mapping[date, Mapping[int, int]]
"""By day known: first reports of frauds by their delay in days."""


class Reporting(Value):
    """Reports of a label day against the days before it."""

    day: date
    frauds: int = Field(description="Frauds of which the first report came on the day.")
    usual_frauds: float | None = Field(description="Median a day of the 14 days before; None without such days.")
    delay: float | None = Field(description="Mean delay in days of the reports of the last 7 days.")
    usual_delay: float | None = Field(description="The same of the 21 days before those.")

    @property
    def silent(self) -> bool:
        """Whether far fewer reports came than usual."""
        usual = self.usual_frauds
        # Where few reports come, a day without any is chance.
        return usual is not None and usual >= MIN_USUAL_REPORTS and self.frauds < MIN_RATIO * usual

    @property
    def slow(self) -> bool:
        """Whether reports come much later than usual."""
        return self.delay is not None and bool(self.usual_delay) and self.delay > MAX_SLOWDOWN * (self.usual_delay or 0)

    def summary(self) -> str:
        """What came, and what is usual."""
        known = self.usual_frauds is not None
        usual = f"{self.usual_frauds:g} are usual" if known else "there is no day to compare with"
        late = f", {self.delay:.1f} days after the transaction" if self.delay is not None else ""
        before = f" ({self.usual_delay:.1f} before)" if self.usual_delay is not None else ""
        return f"{self.frauds} frauds were reported on {self.day} ({usual}); in the last week{late}{before}"


def shares_within(delays: Mapping[int, int]) -> dict[int, float]:
    """Share of reports that came within 1, 2, 3, 7 and 14 days; `delays` counts them by days, empty without any.

    >>> shares_within({0: 1, 3: 3})
    {1: 0.25, 2: 0.25, 3: 1.0, 7: 1.0, 14: 1.0}
    """
    total = sum(delays.values())
    return {n: sum(c for delay, c in delays.items() if delay <= n) / total for n in WITHIN_DAYS} if total else {}


def kept_aside(rejects: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Labels that do not count, by reason, the most frequent first; `rejects` has the counts of each label day.

    >>> kept_aside([{"known before": 1}, {"unknown transaction": 2}, {}])
    {'unknown transaction': 2, 'known before': 1}
    """
    total: Counter[str] = Counter()
    for one in rejects:
        total.update(one)
    return dict(sorted(total.items(), key=lambda one: (-one[1], one[0])))


def reasons(counts: Mapping[str, int]) -> str:
    """Counts by reason in words.

    >>> reasons({"unknown transaction": 1200, "known before": 1})
    'unknown transaction 1,200, known before 1'
    """
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items())


def reporting_on(day: date, reports: Reports) -> Reporting:
    """The reports of a label day beside those before it; `reports` has every label day that was made.

    >>> days = {date(2026, 3, n): {2: 10} for n in range(1, 20)} | {date(2026, 3, 20): {}}
    >>> reporting_on(date(2026, 3, 20), days).silent
    True
    """

    def within(first: int, last: int) -> list[Mapping[int, int]]:
        days = (day - timedelta(days=n) for n in range(first, last + 1))
        return [reports[one] for one in days if one in reports]

    trailing = [sum(one.values()) for one in within(1, TRAILING_DAYS)]
    return Reporting(
        day=day,
        frauds=sum(reports.get(day, {}).values()),
        usual_frauds=median(trailing) if trailing else None,
        delay=_mean_delay(within(0, RECENT_DAYS - 1)),
        usual_delay=_mean_delay(within(RECENT_DAYS, RECENT_DAYS + EARLIER_DAYS - 1)),
    )


def _mean_delay(days: Sequence[Mapping[int, int]]) -> float | None:
    count = sum(sum(one.values()) for one in days)
    return sum(delay * n for one in days for delay, n in one.items()) / count if count else None
