"""Reports of fraud: when it becomes known which simulated transactions were frauds, and by whom.

Here: delays by tactic, what the analysts find at once, frauds that nobody reports, reports that are taken back. Not
here: the frauds themselves (`fraudulent_payments.py`) and writing files. The reports about a day's transactions depend
on the seed and the day alone, so a feed can be continued later like the lake.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.simulation.randomness import Stream, generator
from fraud_retraining.simulation.tactics import (
    CARD_TESTING,
    HOPPING,
    LONE_THEFT,
    MULE_TERMINAL,
    SKIMMED_TERMINAL,
    TAKEOVER,
)

DAY_MICROSECONDS = 86_400_000_000
FEED_SCHEMA = pa.schema(
    [
        ("transaction_id", pa.int64()),
        ("is_fraud", pa.int8()),
        ("known_at", pa.timestamp("us")),
        ("source", pa.string()),
    ]
)
LABELLED_AT = "LABELLED_AT"
_SPEED = {
    LONE_THEFT.scenario: 1.2,
    CARD_TESTING.scenario: 0.4,
    SKIMMED_TERMINAL.scenario: 1.3,
    TAKEOVER.scenario: 1.0,
    MULE_TERMINAL.scenario: 1.0,
    HOPPING.scenario: 0.8,
}
"""Median delay of a tactic's frauds against the median of all: small tests are seen by the issuer at once, copies of a
card only on the next statement."""
ANALYST = "analyst"
_SOURCES = np.array(["customer", "chargeback", "dispute", ANALYST])


class ReportPolicy(Policy):
    """How frauds become known. Delays are lognormal, in days after the transaction."""

    median_days: float = Field(2.5, gt=0, le=30, description="Median delay of a report.")
    spread: float = Field(0.7, ge=0, le=2, description="Standard deviation of the delay's logarithm.")
    latest_days: float = Field(28, gt=0, le=60, description="Longest delay; later reports come on that day.")
    analyst_share: float = Field(0.15, ge=0, le=1, description="Share of frauds that analysts find within the day.")
    never_share: float = Field(0.02, ge=0, le=1, description="Share of frauds that nobody reports.")
    reversed_share: float = Field(0.01, ge=0, le=1, description="Share of reports that are taken back by mistake.")
    false_alarm_rate: float = Field(
        0.0003, ge=0, le=0.1, description="Share of genuine transactions that are reported as fraud and cleared later."
    )


class DayReports(NamedTuple):
    """What becomes known of one day's transactions: labels by the day known, and the label of each row in the end."""

    by_day: dict[date, pa.Table]
    labels: NDArray[np.int8]
    labelled_at: NDArray[np.int64]


class Reports:
    """Label events of a simulated lake."""

    def __init__(self, policy: ReportPolicy, *, seed: int, start: date, label_delay_days: int = 7) -> None:
        self.policy = policy
        self._seed, self._start, self._delay = seed, start, label_delay_days

    @property
    def longest(self) -> int:
        """Days after which nothing more becomes known of a day."""
        return int(self.policy.latest_days * 2) + 1

    def of(self, day: date, transactions: pa.Table) -> DayReports:
        """What becomes known of the transactions of a day."""
        draw = generator(self._seed, Stream.REPORTS, (day - self._start).days)
        happened = transactions["TX_DATETIME"].cast(pa.int64()).to_numpy()
        fraud = transactions["TX_FRAUD"].to_numpy() == 1
        scenario = transactions["TX_FRAUD_SCENARIO"].to_numpy()
        rows, policy = len(fraud), self.policy
        delay = np.exp(draw.normal(0.0, policy.spread, rows)) * policy.median_days
        delay *= np.array([_SPEED.get(code, 1.0) for code in range(256)])[scenario.astype(np.uint8)]
        analyst = draw.random(rows) < policy.analyst_share
        delay = np.minimum(np.where(analyst, draw.uniform(0.02, 0.6, rows), delay), policy.latest_days)
        reported = fraud & (draw.random(rows) >= policy.never_share)
        reported |= ~fraud & (draw.random(rows) < policy.false_alarm_rate)
        taken_back = reported & np.where(fraud, draw.random(rows) < policy.reversed_share, True)
        back_after = delay + draw.uniform(1.0, 6.0, rows)
        source = np.where(analyst, 3, draw.integers(0, 3, rows))
        known = happened + (delay * DAY_MICROSECONDS).astype(np.int64)
        cleared = happened + (back_after * DAY_MICROSECONDS).astype(np.int64)
        ids = transactions["TRANSACTION_ID"].to_numpy()
        events = label_events(
            ids[reported], known[reported], np.ones(reported.sum(), np.int8), _SOURCES[source[reported]]
        )
        reversals = label_events(
            ids[taken_back],
            cleared[taken_back],
            np.zeros(taken_back.sum(), np.int8),
            np.full(taken_back.sum(), "dispute"),
        )
        labels = (reported & ~taken_back).astype(np.int8)
        final = happened + self._delay * DAY_MICROSECONDS
        last = np.where(taken_back, cleared, np.where(reported, known, final))
        return DayReports(dict(_by_day(pa.concat_tables([events, reversals]))), labels, last)

    def labelled(self, day: date, transactions: pa.Table) -> pa.Table:
        """The transactions with the label that they have in the end, and when it became known."""
        found = self.of(day, transactions)
        at = transactions.schema.get_field_index("TX_FRAUD")
        labelled = transactions.set_column(at, "TX_FRAUD", pa.array(found.labels))
        return labelled.append_column(LABELLED_AT, pa.array(found.labelled_at).cast(pa.timestamp("us")))


class Feed:
    """The label feed day by day: what becomes known on a day of all transactions up to it."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._pending: dict[date, list[pa.Table]] = {}

    def after(
        self, day: date, transactions: pa.Table, unseen: pa.Array | None = None, reviews: pa.Table | None = None
    ) -> pa.Table:
        """What became known on `day`, whose transactions are given; days come one after the other.

        `unseen` are ids of which nobody ever reports anything: they were blocked. `reviews` are the label events of
        those of them that an analyst reviews.
        """
        for known_on, events in _by_day(reviews) if reviews is not None else ():
            self._pending.setdefault(known_on, []).append(events)
        for known_on, events in self._reports.of(day, transactions).by_day.items():
            if unseen is not None:
                events = events.filter(pc.invert(pc.is_in(events["transaction_id"], value_set=unseen)))
            self._pending.setdefault(known_on, []).append(events)
        today = self._pending.pop(day, [])
        if not today:
            return FEED_SCHEMA.empty_table()
        return pa.concat_tables(today).sort_by([("known_at", "ascending"), ("transaction_id", "ascending")])


def label_events(
    ids: NDArray[np.int64], known_at: NDArray[np.int64], is_fraud: NDArray[np.int8], source: NDArray[np.str_]
) -> pa.Table:
    """Label events as a feed has them; `known_at` are microseconds since 1970."""
    columns = [
        pa.array(ids),
        pa.array(is_fraud),
        pa.array(known_at).cast(pa.timestamp("us")),
        pa.array(source.tolist(), pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=FEED_SCHEMA)


def _by_day(events: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    days = pc.cast(events["known_at"], pa.date32(), safe=False)
    for day in sorted(set(days.to_pylist())):
        yield day, events.filter(pc.equal(days, day))


def days_before(start: date, day: date, longest: int) -> Iterator[date]:
    """The days whose transactions a feed that goes on at `day` still gets reports of, oldest first."""
    first = max(start, day - timedelta(days=longest))
    return (first + timedelta(days=n) for n in range((day - first).days))
