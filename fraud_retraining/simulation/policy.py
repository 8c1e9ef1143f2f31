"""What a simulated lake is like: its span, volume, seed and the day on which everything changes.

Here: the policy and the sizes that follow from it. Not here: how customers and fraudsters behave.
"""

from datetime import date, timedelta
from typing import Self

from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import Policy


class SimulationPolicy(Policy):
    """A simulated lake. `days` only says how far to go: it changes no day that lies within."""

    start: date = Field(description="First day of the lake; every other day is reckoned from it.")
    days: int = Field(75, ge=1, le=3660, description="How many days to simulate.")
    transactions_per_day: int = Field(
        10_000, ge=200, le=5_000_000, description="Mean transactions a day; customers and terminals scale with it."
    )
    seed: int = Field(7, ge=0, lt=2**32, description="The same seed gives the same lake.")
    shift_on: date | None = Field(
        None, description="Day on which fraudsters change tactics and customers take to wallets; none means never."
    )
    shift_days: int = Field(
        3,
        ge=1,
        le=60,
        description="Days over which fraudsters change tactics, one after the other, from `shift_on` on.",
    )
    fraud_rate: float = Field(0.008, ge=0.001, le=0.05, description="Share of frauds, once the short ramp is over.")
    wallet_share: float = Field(
        0.4, ge=0, le=0.9, description="Share of payments in person that become small wallet payments on `shift_on`."
    )

    @model_validator(mode="after")
    def _shift_within_reach(self) -> Self:
        if self.shift_on is not None and self.shift_on < self.start:
            raise ValueError(f"shift_on ({self.shift_on}) is before start ({self.start})")
        return self

    @property
    def end(self) -> date:
        """Last day of the lake."""
        return self.start + timedelta(days=self.days - 1)

    @property
    def shift_index(self) -> int | None:
        """Number of the shift day, counted from `start`."""
        return None if self.shift_on is None else (self.shift_on - self.start).days

    @property
    def customers(self) -> int:
        """Customers, who pay about twice a day."""
        return self.transactions_per_day // 2

    @property
    def terminals(self) -> int:
        """Terminals of honest merchants at any one time."""
        return self.transactions_per_day

    @property
    def frauds_per_day(self) -> float:
        """Expected frauds of a day in the steady state."""
        return self.fraud_rate * self.transactions_per_day

    def is_shifted(self, index: int) -> bool:
        """Whether the day with this number is the shift day or later."""
        return self.shift_index is not None and index >= self.shift_index
