"""Which column of a user's lake is which canonical column.

Here: the mapping as settings give it. Not here: which types a column may have (`domain/data/lake_columns.py`) and how
its values become canonical (`domain/data/canonical.py`).
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import ExtendedValue
from fraud_retraining.domain.values.schemas import (
    CORE_COLUMNS,
    LABELLED_AT,
    PROPENSITY,
    TRANSACTION_ID,
    BlockedPolicy,
    ColumnName,
    ColumnPolicy,
    EntityPolicy,
    LabelValues,
)

REASON = "reason"
SURPLUS = "surplus"
DELIVERED_LABEL = "delivered_label"
DELIVERED_DECISION = "delivered_decision"


class LakeMapping(ExtendedValue):
    """Which column of the lake is which canonical column."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"blocked"})

    columns: ColumnPolicy = Field(default_factory=ColumnPolicy, description="Lake names of the canonical columns.")
    entities: dict[str, EntityPolicy] = Field(description="Whom transactions belong to: name and lake column.")
    numeric: tuple[ColumnName, ...] = Field((), description="Further numeric columns, kept under their lake names.")
    categorical: tuple[ColumnName, ...] = Field((), description="Further categories, kept under their lake names.")
    slices: tuple[ColumnName, ...] = Field((), description="Categories that only group the evaluation.")
    labels: LabelValues = Field(LabelValues(), description="How the lake writes labels; by default 1 and 0.")
    blocked: BlockedPolicy | None = Field(None, description="How decisions are read; None where no column has them.")
    asked_by: dict[str, tuple[str, ...]] = Field(
        {},
        exclude=True,
        description="Columns that single models alone ask for, and the settings that do; in no digest. A day may lack "
        "them.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        reserved = [*CORE_COLUMNS, LABELLED_AT, REASON, SURPLUS, DELIVERED_LABEL]
        reserved += [PROPENSITY, DELIVERED_DECISION] if self.blocked is not None else []
        same: dict[str, list[str]] = {}
        for name in (*reserved, *self.entities, *self.numeric, *self.categories):
            same.setdefault(name.casefold(), []).append(name)
        if twice := [" and ".join(names) for names in same.values() if len(names) > 1]:
            raise ValueError(f"columns named twice (letter case is ignored) or reserved: {'; '.join(twice)}")
        return self

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Canonical key columns and the lake columns of each: the transaction id and every entity."""
        return {TRANSACTION_ID: (self.columns.transaction_id,)} | {
            name: entity.parts for name, entity in self.entities.items()
        }

    @property
    def key_parts(self) -> dict[str, tuple[str, str]]:
        """The columns of keys that consist of several: entity and lake column, by a name that no other column has."""
        return {
            f"__{name}.{part}": (name, part)
            for name, entity in self.entities.items()
            if len(entity.parts) > 1
            for part in entity.parts
        }

    @property
    def required_keys(self) -> tuple[str, ...]:
        """Key columns that no row may lack."""
        return (TRANSACTION_ID, *(name for name, entity in self.entities.items() if not entity.nullable))

    def key_label(self, name: str) -> str:
        """A key as messages show it: its lake columns, and its canonical name."""
        lake = " + ".join(self.keys[name])
        return lake if lake == name else f"{lake} ({name})"

    @property
    def categories(self) -> tuple[str, ...]:
        """Categorical columns, those that only slice the evaluation last."""
        return tuple(dict.fromkeys((*self.categorical, *self.slices)))

    @property
    def decision_columns(self) -> tuple[str, ...]:
        """The lake's columns of decision and propensity, as far as they are mapped."""
        return tuple(name for name in (self.columns.decision, self.columns.propensity) if name is not None)

    @property
    def lake_names(self) -> dict[str, tuple[str, ...]]:
        """Every canonical column, in canonical order, and the columns of the lake that it is made of: one, or more."""
        columns = {name: getattr(self.columns, name) for name in CORE_COLUMNS} | {LABELLED_AT: self.columns.labelled_at}
        lake: dict[str, tuple[str, ...]] = {name: (column,) for name, column in columns.items() if column is not None}
        lake |= {PROPENSITY: self.decision_columns} if self.blocked is not None else {}
        further = {name: (name,) for name in (*self.numeric, *self.categories)}
        return lake | self.keys | further
