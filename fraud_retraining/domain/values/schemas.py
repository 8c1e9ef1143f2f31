"""The canonical transaction: its columns, the entities it belongs to, and how a user's lake is mapped to it.

Here: names, types and the policies that map a day and its labels. Not here: reading files (`adapters/storage/lake.py`),
labels of a feed (`domain/labels/policy.py`),
and which rows, days and windows are refused (`domain/data/ingestion.py`, `domain/data/day_checks.py`,
`domain/training/window_checks.py`).
"""

import re
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import ExtendedValue, Policy

ColumnName = Annotated[str, Field(min_length=1)]

TRANSACTION_ID = "transaction_id"
TIMESTAMP = "timestamp"
AMOUNT = "amount"
IS_FRAUD = "is_fraud"
LABELLED_AT = "labelled_at"
PROPENSITY = "propensity"
"""Probability with which the outcome of a transaction could be seen: 1 of one that was let through in any case, less of
the control group, 0 of one that was blocked and that the control group stands for, null of one that was blocked and
that nothing stands for."""
CORE_COLUMNS = (TRANSACTION_ID, TIMESTAMP, AMOUNT, IS_FRAUD)
TRANSACTION = "transaction"
"""Name used instead of an entity where alerts are about single transactions."""


class ColumnPolicy(ExtendedValue, Policy):
    """Names of the canonical columns in the lake."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"decision", "propensity"})

    transaction_id: ColumnName = Field("TRANSACTION_ID", description="Column that names a transaction; unique.")
    timestamp: ColumnName = Field("TX_DATETIME", description="Column with the time of the transaction, UTC if naive.")
    amount: ColumnName = Field("TX_AMOUNT", description="Column with the amount, in one currency, not negative.")
    is_fraud: ColumnName | None = Field(
        "TX_FRAUD",
        description="Column with the label: 1 fraud, 0 not, missing unknown; other values: see labels. "
        "Not read where there is a label feed (labels.uri).",
    )
    labelled_at: ColumnName | None = Field(
        None,
        description="Optional column that says when the label became known; makes the label cut-off exact per row.",
    )
    decision: ColumnName | None = Field(
        None, description="Optional column with what production did; a transaction that was blocked has no outcome."
    )
    propensity: ColumnName | None = Field(
        None, description="Optional column with the probability that the transaction was let through, in (0, 1]."
    )


class EntityPolicy(Policy):
    """A kind of party that transactions belong to: customer, terminal, card or device."""

    column: ColumnName | Annotated[tuple[ColumnName, ...], Field(min_length=1)] = Field(
        description="Column in the lake with integer or text keys, or several that are one key together: [a, b]."
    )
    nullable: bool = Field(
        False, description="Whether rows may lack the key; their features are those of one that was never seen."
    )
    windows_days: tuple[Annotated[int, Field(ge=1, le=366)], ...] = Field(
        (1, 7, 30),
        min_length=1,
        description="1 is the last 24 hours exactly; n > 1 is the current day so far plus n whole days.",
    )
    fraud_share: bool | None = Field(
        None, description="Whether the entity's frauds, as known by then, are features; null: with labels as_known."
    )

    @model_validator(mode="after")
    def _distinct_windows(self) -> Self:
        if len(set(self.windows_days)) != len(self.windows_days):
            raise ValueError("windows_days names a window twice")
        return self

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        if len(set(self.parts)) != len(self.parts):
            raise ValueError("column names a column twice")
        return self

    def decided(self, fraud_share: bool) -> Self:
        """With a `fraud_share` where it is null."""
        return self if self.fraud_share is not None else self.model_copy(update={"fraud_share": fraud_share})

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns of the lake that the key consists of."""
        return (self.column,) if isinstance(self.column, str) else self.column


class ColumnFeaturePolicy(Policy):
    """Which further columns of the lake are features, and which may never be."""

    numeric: tuple[ColumnName, ...] = Field((), description="Further numeric columns of the lake that are features.")
    categorical: tuple[ColumnName, ...] = Field((), description="Further text or integer columns that are categories.")
    forbidden: tuple[ColumnName, ...] = Field(
        ("TX_FRAUD_SCENARIO",), description="Columns that hold the answer; refused as features."
    )
    retired: tuple[ColumnName, ...] = Field(
        (), description="Features, by name or pattern, that are still made for a champion but that no new model reads."
    )

    def retires(self, feature: str) -> bool:
        """Whether new models do without a feature."""
        return any(fnmatchcase(feature, pattern) for pattern in self.retired)


LabelValue = bool | int | float | str
_SPELLINGS = {True: ("true", "yes", "on"), False: ("false", "no", "off")}
"""Texts that YAML 1.1 reads as one boolean: a listed `yes` may come from text or from a boolean."""
BLANKS = " \t\n\r\v\f"


def label_texts(value: LabelValue) -> tuple[str, ...]:
    """A listed label as text: lower case, without outer blanks, a whole number without decimals.

    >>> label_texts(" Fraud "), label_texts(1.0), label_texts(True)
    (('fraud',), ('1',), ('true', 'yes', 'on'))
    """
    if isinstance(value, bool):
        return _SPELLINGS[value]
    # YAML reads 1.0 as a float, and the lake may hold it as the text "1".
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (str(value).strip(BLANKS).lower(),)


class LabelValues(Policy):
    """What the lake writes for fraud and for no fraud, where it does not write 1 and 0 or true and false."""

    fraud_values: tuple[LabelValue, ...] = Field(
        (), description="What a fraud is labelled with, where not 1 or true: [fraud], [Y]. Capitals do not matter."
    )
    genuine_values: tuple[LabelValue, ...] = Field(
        (), description="What anything else is labelled with, where not 0 or false. Other values are rejected by name."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if bool(self.fraud_values) != bool(self.genuine_values):
            raise ValueError("fraud_values and genuine_values are given together, or neither of them")
        if "" in (*self.frauds, *self.genuine):
            raise ValueError("an empty label is always unknown: fraud_values and genuine_values cannot list it")
        if both := sorted({*self.frauds} & {*self.genuine}):
            raise ValueError(f"fraud_values and genuine_values both list {', '.join(both)} (capitals do not matter)")
        return self

    @property
    def frauds(self) -> tuple[str, ...]:
        """Labels of frauds, as `label_texts` spells them."""
        return tuple(text for value in self.fraud_values for text in label_texts(value))

    @property
    def genuine(self) -> tuple[str, ...]:
        """Labels of everything else, as `label_texts` spells them."""
        return tuple(text for value in self.genuine_values for text in label_texts(value))


_BLOCKS = re.compile(r"block(ed)?|declined?|reject(ed)?|den(y|ied)|refused?|stop(ped)?")


def reads_like_blocking(decision: str) -> bool:
    """Whether a decision of a lake is a usual word for a transaction that was stopped.

    >>> [reads_like_blocking(one) for one in ("Declined", " BLOCK ", "approve")]
    [True, True, False]
    """
    return _BLOCKS.fullmatch(decision.strip().lower()) is not None


class BlockedPolicy(Policy):
    """Which transactions were blocked, and which were let through by chance to stand for them: the control group."""

    decisions: tuple[LabelValue, ...] = Field(
        ("block", "decline"),
        min_length=1,
        description="Decisions that stop a transaction, in columns.decision; any other lets it through.",
    )
    control_decisions: tuple[LabelValue, ...] = Field(
        (), description="Decisions of the control group: let through by chance, though it was to be blocked."
    )
    control_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the transactions to be blocked that is let through by chance, where it is the same for "
        "all; otherwise columns.propensity.",
    )
    max_weight: float = Field(
        20.0, ge=1, le=1000, description="Most rows that one of the control group stands for; caps 1 / propensity."
    )

    @property
    def blocking(self) -> tuple[str, ...]:
        """Decisions that block, as `label_texts` spells them."""
        return tuple(text for value in self.decisions for text in label_texts(value))

    @property
    def letting_through(self) -> tuple[str, ...]:
        """Decisions of the control group, as `label_texts` spells them."""
        return tuple(text for value in self.control_decisions for text in label_texts(value))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "" in (*self.blocking, *self.letting_through):
            raise ValueError("an empty decision is always missing: decisions and control_decisions cannot list it")
        if both := sorted({*self.blocking} & {*self.letting_through}):
            raise ValueError(f"decisions and control_decisions both list {', '.join(both)} (capitals do not matter)")
        if bool(self.control_decisions) != (self.control_share is not None):
            raise ValueError("control_decisions and control_share are given together, or neither of them")
        return self
