"""Settings of labels: when a label counts, and the label feed.

Here: the label delay, the use of labels, and the columns of a feed. Not here: how labels are written
(`domain/values/schemas.py`), because lake and feed share that.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import ExtendedValue, Policy
from fraud_retraining.domain.values.schemas import BlockedPolicy, ColumnName, LabelValues


class LabelColumns(Policy):
    """What the label feed calls its columns."""

    transaction_id: ColumnName = Field("transaction_id", description="Column that names the transaction.")
    is_fraud: ColumnName | None = Field(
        "is_fraud", description="Column with the label; null: every row of the feed is a fraud."
    )
    known_at: ColumnName = Field("known_at", description="Column with the time at which the label became known, UTC.")
    source: ColumnName | None = Field(
        None, description="Optional column with the origin: chargeback, dispute, analyst, customer, rule; free text."
    )


class LabelPolicy(ExtendedValue, LabelValues):
    """The label delay, and how the lake writes labels."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"wait_days", "blocked"})

    delay_days: int = Field(7, ge=0, le=365, description="Days until a transaction's label is trustworthy.")
    use: Literal["mature", "as_known"] = Field(
        "mature",
        description="mature: labels count from the label delay on; as_known: each from the day after it became known. "
        "By default as_known where there are label times (uri, or columns.labelled_at).",
    )
    uri: str | None = Field(
        None,
        min_length=1,
        description="Label feed by the day known: folder or s3:// URI, <uri>/year=YYYY/month=MM/day=DD/*.parquet.",
    )
    columns: LabelColumns = Field(LabelColumns(), description="What the label feed calls its columns.")
    reach_days: int = Field(
        120, ge=1, le=3660, description="Age in days up to which a transaction is looked up for a label of the feed."
    )
    min_delay_frauds: int = Field(
        50, ge=1, description="Frauds of mature days that an estimate of the reporting delay needs, as_known."
    )
    wait_days: int = Field(
        1,
        ge=0,
        le=14,
        description="Days of transactions that an automatic retrain waits for the feed's labels of its as-of day.",
    )

    blocked: BlockedPolicy = Field(
        BlockedPolicy(), description="Which decisions of columns.decision block, and what stands for the blocked."
    )

    @property
    def lag_days(self) -> int:
        """Days from the holdout's last day to the as-of day: the label delay, or none as known."""
        return 0 if self.use == "as_known" else self.delay_days

    @model_validator(mode="after")
    def _feed_is_read_as_known(self) -> Self:
        if self.uri is not None and self.use == "mature":
            raise ValueError("a label feed (uri) says when each label became known: set use: as_known")
        return self
