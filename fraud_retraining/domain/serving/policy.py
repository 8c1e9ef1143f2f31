"""How the scorer answers: decisions by score, which states are good enough, and its limits.

Not here: scoring (`services/live_scoring.py`) and HTTP (`serving/score_app.py`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import SettingsError

KeyDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CostPolicy(Policy):
    """What a decision costs a day at each score, in the currency of the amounts."""

    missed: float = Field(1.0, ge=0, le=1000, description="A fraud below the score, as a share of its amount.")
    alert: float = Field(0.0, ge=0, description="A transaction that reaches it, such as its review.")
    disturbed: float = Field(0.0, ge=0, description="A genuine customer with such a transaction, once a day.")
    alerts_per_day: int | None = Field(
        None, ge=1, le=100_000_000, description="Most transactions a day that may reach it; null: any number."
    )


class DecisionPolicy(Policy):
    """A decision, and the score from which it is taken."""

    name: str = Field(min_length=1, max_length=40, description="What the answer says: block, review.")
    at: float | None = Field(None, gt=0, le=1, description="Least score; or null with one of the next two.")
    alerts_per_day: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Transactions a day that reach the least score, which each release chooses on its latest days.",
    )
    costs: CostPolicy | None = Field(
        None, description="What it costs: each release chooses the cheapest least score on its judged days."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if sum(one is not None for one in (self.at, self.alerts_per_day, self.costs)) != 1:
            raise ValueError(f"decision {self.name} needs one of at, alerts_per_day and costs")
        return self

    @property
    def choice(self) -> str | None:
        """What a release chooses its least score by; None where it is given."""
        if self.costs is not None:
            return f"costs {digest(self.costs)}"
        return None if self.alerts_per_day is None else f"{self.alerts_per_day} alerts a day"


class ServingPolicy(Policy):
    """How `serve-scores` answers."""

    decisions: tuple[DecisionPolicy, ...] = Field(
        (), description="Decisions by score; of those that a score reaches, the one with the highest threshold."
    )
    otherwise: str = Field("accept", min_length=1, max_length=40, description="The decision below every threshold.")
    reasons: int = Field(3, ge=0, le=20, description="Features that an answer names for its score; 0: none.")
    max_late_days: int = Field(
        1, ge=0, le=7, description="Days that the newest state may be older than the day before a transaction."
    )
    without_state: Literal["refuse", "score"] = Field(
        "refuse", description="What is done with transactions of days without a state, or one that is later than that."
    )
    max_ahead_seconds: int = Field(
        300,
        ge=0,
        le=86_400,
        description="How far in the future a transaction may lie: clocks differ, zones are errors.",
    )
    max_batch: int = Field(1000, ge=1, le=10_000, description="Most transactions of one request.")
    max_waiting: int = Field(
        64, ge=1, le=10_000, description="Most requests under way; further ones are refused (429)."
    )
    follow_seconds: float = Field(
        2, gt=0, le=60, description="How often the champion and the state are looked up; served within one such time."
    )
    flush_seconds: float = Field(60, gt=0, le=3600, description="How often the serving log is moved to the store.")
    sample_share: float = Field(0.01, ge=0, le=1, description="Share of answers whose features the serving log keeps.")
    state_store: Literal["file", "redis"] = Field(
        "file",
        description="Where states and the day's transactions are: files and memory of one process, or a Redis that "
        "several share.",
    )
    redis_url: str | None = Field(
        None, description="redis://host:6379/0, or rediss:// for TLS; its password is REDIS_PASSWORD."
    )
    redis_timeout_seconds: float = Field(
        0.2, gt=0, le=10, description="Longest that Redis may take to connect and to answer; then it counts as gone."
    )
    api_keys: tuple[KeyDigest, ...] = Field(
        (),
        description="SHA-256 of each key that a client may send as X-API-Key; without any, only this machine may ask.",
    )

    @model_validator(mode="after")
    def _distinct_decisions(self) -> Self:
        names = [*(one.name for one in self.decisions), self.otherwise]
        if len(set(names)) < len(names):
            raise ValueError("decisions and otherwise name one decision twice")
        if len({one.choice or one.at for one in self.decisions}) < len(self.decisions):
            raise ValueError("two decisions begin at the same score")
        return self

    @model_validator(mode="after")
    def _redis_that_can_be_asked(self) -> Self:
        if self.redis_url is None:
            if self.state_store == "redis":
                raise ValueError("state_store redis needs redis_url")
            return self
        if problem := _redis_problem(self.redis_url):
            raise ValueError(f"redis_url {problem}")
        return self

    @property
    def chooses(self) -> bool:
        """Whether releases choose the least score of a decision."""
        return any(one.choice is not None for one in self.decisions)

    def thresholds(self, chosen: Mapping[tuple[str, str], float]) -> dict[str, float]:
        """The least score of each decision, in their order.

        Args:
            chosen: by name and choice, what releases have chosen.

        Raises:
            SettingsError: names the decisions whose least score no release has chosen.
        """
        found = {
            one.name: one.at if one.choice is None else chosen.get((one.name, one.choice)) for one in self.decisions
        }
        known = {name: at for name, at in found.items() if at is not None}
        if len(known) < len(found):
            raise SettingsError(
                "no release has chosen the least score of a decision yet",
                culprits=sorted(found.keys() - known.keys()),
                remedy="the next retrain chooses it; until then give it as `at` in serving.decisions.",
            )
        return known

    def decision(self, score: float, thresholds: Mapping[str, float]) -> str:
        """The decision that a score leads to, by the least score of each."""
        reached = [name for name, at in thresholds.items() if score >= at]
        return max(reached, key=lambda name: thresholds[name]) if reached else self.otherwise


def _redis_problem(url: str) -> str | None:
    """What is wrong with an address; it may hold a password, so nothing of it is repeated."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not re.fullmatch(r"(/\d{0,5})?", parts.path) or parts.query or parts.fragment:
        return "has to be redis://host:port/number, or rediss:// for TLS, without parameters"
    if parts.password is not None:
        return "holds a password; it comes from the environment only (REDIS_PASSWORD)"
    return None
