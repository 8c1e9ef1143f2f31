"""How the scorer answers: decisions by score, which states are good enough, and its limits.

Not here: scoring (`services/live_scoring.py`) and HTTP (`serving/score_app.py`).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from fraud_retraining.domain.values.base import Policy

KeyDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class DecisionPolicy(Policy):
    """A decision, and the score from which it is taken."""

    name: str = Field(min_length=1, max_length=40, description="What the answer says: block, review.")
    at: float = Field(gt=0, le=1, description="Least score, a probability of fraud.")


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
    api_keys: tuple[KeyDigest, ...] = Field(
        (),
        description="SHA-256 of each key that a client may send as X-API-Key; without any, only this machine may ask.",
    )

    @model_validator(mode="after")
    def _distinct_decisions(self) -> Self:
        names = [*(one.name for one in self.decisions), self.otherwise]
        if len(set(names)) < len(names):
            raise ValueError("decisions and otherwise name one decision twice")
        if len({one.at for one in self.decisions}) < len(self.decisions):
            raise ValueError("two decisions begin at the same score")
        return self

    def decision(self, score: float) -> str:
        """The decision that a score leads to."""
        reached = [one for one in self.decisions if score >= one.at]
        return max(reached, key=lambda one: one.at).name if reached else self.otherwise
