"""The simulator: any day of a lake as a table, one day at a time.

Here: putting the day together, the lake's layout, and handing days to a sink. Not here: writing files, which is the
sink's business. A day's content depends on the policy's start, volume, seed, rates and shift alone: neither on
`days` nor on which days were made before, so a lake can be continued later by a simulator made afresh.
"""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pyarrow as pa

from fraud_retraining.simulation.behaviour import honest_payments
from fraud_retraining.simulation.crews import Roster
from fraud_retraining.simulation.fraudulent_payments import fraudulent_payments
from fraud_retraining.simulation.payments import Payments, day_table
from fraud_retraining.simulation.policy import SimulationPolicy
from fraud_retraining.simulation.population import Population


class Simulator:
    """A lake in the making: iterating gives each day with its table, in order, one in memory at a time."""

    def __init__(self, policy: SimulationPolicy) -> None:
        self.policy = policy
        self._population = Population(policy)
        self._roster = Roster(policy)
        self._terminal_ids = policy.terminals + self._roster.mule_terminals()

    def __iter__(self) -> Iterator[tuple[date, pa.Table]]:
        return self.since(self.policy.start)

    def since(self, first: date) -> Iterator[tuple[date, pa.Table]]:
        """The days from `first` to the end of the lake; the earlier ones are reckoned with but not made."""
        index = max((first - self.policy.start).days, 0)
        for number in range(index, self.policy.days):
            day = self.policy.start + timedelta(days=number)
            yield day, self.table(day)

    def table(self, day: date) -> pa.Table:
        """The transactions of a day, by time; days after the lake's end are possible.

        Raises:
            ValueError: a day before the lake's start.
        """
        index = (day - self.policy.start).days
        if index < 0:
            raise ValueError(f"{day} is before the start of the lake, {self.policy.start}")
        payments = self._payments(index)
        return day_table(
            day,
            payments,
            terminal_id=payments.terminal + payments.generation * self._terminal_ids,
            distance=self._population.distance(payments.customer, payments.terminal),
        )

    def _payments(self, index: int) -> Payments:
        honest = honest_payments(self.policy, self._population, index)
        frauds = fraudulent_payments(self._population, self.policy.seed, index, self._roster.on(index))
        return Payments.together([honest, *frauds]).in_order()


def lake_path(day: date) -> str:
    """Where a day lies under the root of a lake."""
    return f"year={day.year:04d}/month={day.month:02d}/day={day.day:02d}/transactions.parquet"


def write_lake(policy: SimulationPolicy, put: Callable[[date, pa.Table], None], *, since: date | None = None) -> int:
    """Hand every day of the lake, or those from `since`, to `put` in order; the number of transactions handed over."""
    rows = 0
    for day, table in Simulator(policy).since(since or policy.start):
        put(day, table)
        rows += table.num_rows
    return rows
