"""Whether the labels of an as-of day have arrived, and how long automation waits for them.

Here: the rule over days. Not here: which label days a feed holds (`adapters/storage/lake.py`), and what else an as-of
day needs (`orchestration/state/readiness.py`). A feed is often delivered hours after the transactions: a retrain in
between would take a day on which nothing is known yet for a day on which nothing was reported.
"""

from datetime import date, timedelta

from pydantic import Field

from fraud_retraining.domain.values.base import Value


class LabelArrival(Value):
    """The last day of transactions, the last label day of the feed, and the days that labels are waited for.

    As of each day up to `settled` automation may retrain. It never moves back while days arrive, and lies at most
    `wait_days` behind the last day of transactions, whatever the feed delivers.

    >>> arrival = LabelArrival(latest=date(2026, 3, 5), delivered=date(2026, 3, 4), wait_days=2)
    >>> str(arrival.settled), arrival.awaited(date(2026, 3, 4))
    ('2026-03-04', None)
    >>> arrival.awaited(date(2026, 3, 5))
    'labels of 2026-03-05 have not arrived (they are waited for until the transactions of 2026-03-07 have)'
    """

    latest: date = Field(description="Last day whose transactions have arrived.")
    delivered: date | None = Field(description="Last label day that the feed has delivered; None where there is none.")
    wait_days: int = Field(ge=0, description="Days of transactions that labels are waited for.")

    @property
    def settled(self) -> date:
        """The last day whose labels have arrived or are no longer waited for."""
        given_up = self.latest - timedelta(days=self.wait_days)
        return given_up if self.delivered is None else min(self.latest, max(self.delivered, given_up))

    def arrived(self, day: date) -> bool:
        """Whether the label day was delivered, or a later one: a day without any report may have no file."""
        return self.delivered is not None and self.delivered >= day

    def awaited(self, day: date) -> str | None:
        """Return what is waited for before a retrain as of the day; None where nothing is."""
        if day <= self.settled:
            return None
        until = day + timedelta(days=self.wait_days)
        return f"labels of {day} have not arrived (they are waited for until the transactions of {until} have)"
