"""The rows that a model learns from, as blocks of numbers that an estimator can pass over again and again.

Here: labels and weights, down-sampling, category vocabularies, and the refusal of rows from which nothing can be
learnt. Not here: which rows those are (`domain/training/windows.py`) and the fits (`domain/training/estimators/`).

Rows arrive as `Batches`: a function that gives the same record batches, in the same order, each time it is called.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraud_retraining.domain.training.estimators.base import Block
from fraud_retraining.domain.training.estimators.model_input import (
    FloatColumn,
    category_texts,
    float_columns,
    stack_into,
)
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import IS_FRAUD, TRANSACTION_ID

Batches: TypeAlias = Callable[[], Iterator[pa.RecordBatch]]

WEIGHT = "weight"
BLOCK_ROWS = 1 << 18
COMPACT_AT = 1 << 20
_NOTHING_COUNTED = pa.table({"word": pa.array([], pa.string()), "rows": pa.array([], pa.int64())})
HELD_BYTES = 1 << 27
"""Memory up to which the first pass's blocks are kept for the next ones, instead of reading the rows again."""


@dataclass(frozen=True)
class TrainingRows:
    """The rows that are learnt from: every fraud, and the share of non-frauds that is kept.

    Which non-frauds are kept depends on the transaction's id and the seed alone (on the row's position where batches
    carry no id), so that a transaction stays kept when the window moves on.
    """

    batches: Batches
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    share: float | None
    seed: int

    def __iter__(self) -> Iterator[pa.Table]:
        """Blocks of exactly `BLOCK_ROWS` rows (the last one smaller), however the batches were cut."""
        held: list[pa.Table] = []
        rows = 0
        for table in self._kept():
            held.append(table)
            rows += table.num_rows
            # Blocks of a fixed size: how a store cuts its batches must not change the trees.
            while rows >= BLOCK_ROWS:
                joined = pa.concat_tables(held)
                yield joined.slice(0, BLOCK_ROWS).combine_chunks()
                rows -= BLOCK_ROWS
                held = [joined.slice(BLOCK_ROWS)] if rows else []
        if rows:
            yield pa.concat_tables(held).combine_chunks()

    def _kept(self) -> Iterator[pa.Table]:
        seen = 0
        for batch in self.batches():
            if batch.num_rows:
                # Labels are checked before sampling: a bad one among rows that are left out is a bad day all the same.
                table = self._sampled(_labelled(batch), seen)
                yield table.select([name for name in (*self.features, IS_FRAUD, WEIGHT) if name in table.column_names])
            # Counted before sampling: the position of a row does not depend on what was kept.
            seen += batch.num_rows

    def _sampled(self, table: pa.Table, first: int) -> pa.Table:
        if self.share is None or self.share >= 1:
            return table
        fraud = table.column(IS_FRAUD).to_numpy() != 0
        # Every fraud is kept; a kept non-fraud weighs 1/share, so that probabilities stay right.
        keep = fraud | (_uniform(table, first, self.seed) < self.share)
        weight = table.column(WEIGHT).to_numpy() / np.where(fraud, 1.0, self.share).astype(np.float32)
        position = table.schema.get_field_index(WEIGHT)
        return table.set_column(position, WEIGHT, pa.array(weight)).filter(pa.array(keep))


def _labelled(batch: pa.RecordBatch) -> pa.Table:
    """The batch with float32 label and weight (1 where batches carry none); unknown labels are refused."""
    table = pa.Table.from_batches([batch])
    if IS_FRAUD not in table.column_names:
        raise DataInvalid(f"The training rows have no column {IS_FRAUD}.", culprits=table.column_names)
    label = table.column(IS_FRAUD).cast(pa.float32()).combine_chunks()
    if label.null_count or not np.isin(label.to_numpy(zero_copy_only=False), (0.0, 1.0)).all():
        raise DataInvalid(
            "Rows whose label is unknown, or neither 0 nor 1, reached the fit.",
            culprits=[f"{label.null_count} without a label"],
            remedy="Only rows with a known label are training rows.",
        )
    weight = (
        table.column(WEIGHT).cast(pa.float32(), safe=False).combine_chunks()
        if WEIGHT in table.column_names
        else pa.array(np.ones(table.num_rows, np.float32))
    )
    values = weight.to_numpy(zero_copy_only=False)
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataInvalid("A training row has a weight that is not a positive number.", culprits=[WEIGHT])
    kept = [name for name in table.column_names if name not in (IS_FRAUD, WEIGHT)]
    return table.select(kept).append_column(IS_FRAUD, label).append_column(WEIGHT, weight)


def _uniform(table: pa.Table, first: int, seed: int) -> np.ndarray[Any, Any]:
    """A number in [0, 1) per row that depends on the transaction's id and the seed only."""
    if TRANSACTION_ID not in table.column_names:
        keys = np.arange(first, first + table.num_rows, dtype=np.uint64)
    elif pa.types.is_integer(table.schema.field(TRANSACTION_ID).type):
        keys = table.column(TRANSACTION_ID).cast(pa.int64()).to_numpy().view(np.uint64)
    else:
        from pandas.util import hash_array

        texts = table.column(TRANSACTION_ID).cast(pa.string()).to_numpy(zero_copy_only=False)
        # pandas' hash is the same in every process; Python's own is salted.
        keys = hash_array(texts, categorize=False)
    # The upper 53 bits fill a float64 exactly, so all numbers are equally likely.
    return (_mixed(keys, seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(keys: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """SplitMix64 (Steele, Lea and Flood 2014), which scatters neighbouring keys."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def vocabularies(rows: TrainingRows, limit: int) -> dict[str, tuple[str, ...]]:
    """The most frequent categories of each categorical column, most frequent first, ties in the order of the text.

    Counting is exact: memory grows with the number of distinct categories, not with the rows.
    """
    return most_frequent([category_counts(rows)], limit)


def category_counts(rows: TrainingRows) -> dict[str, pa.Table]:
    """How many rows each category of each categorical column has: tables of `word` and `rows`."""
    if not rows.categorical:
        return {}
    counts = {name: [_NOTHING_COUNTED] for name in rows.categorical}
    for table in rows:
        absent = [name for name in rows.categorical if name not in table.column_names]
        if absent:
            raise DataInvalid("The training rows lack categorical features.", culprits=absent)
        for name, parts in counts.items():
            parts.append(_counted(category_texts(table.column(name))))
            # Merged now and then: memory grows with distinct categories, not with batches.
            if sum(part.num_rows for part in parts) > COMPACT_AT:
                counts[name] = [_merged(parts)]
    return {name: _merged(parts) for name, parts in counts.items()}


def most_frequent(counts: Sequence[Mapping[str, pa.Table]], limit: int) -> dict[str, tuple[str, ...]]:
    """The vocabularies of rows whose categories were counted in several parts."""
    return {name: _most_frequent([part[name] for part in counts], limit) for name in counts[0]}


def _counted(texts: pa.ChunkedArray) -> pa.Table:
    counts = pc.value_counts(texts.drop_null())
    return pa.table({"word": counts.field("values"), "rows": counts.field("counts")})


def _merged(parts: list[pa.Table]) -> pa.Table:
    merged = pa.concat_tables(parts).group_by("word").aggregate([("rows", "sum")])
    return merged.rename_columns({"rows_sum": "rows"}).select(["word", "rows"])


def _most_frequent(parts: list[pa.Table], limit: int) -> tuple[str, ...]:
    ordered = _merged(parts).sort_by([("rows", "descending"), ("word", "ascending")])
    return tuple(ordered.column("word").slice(0, limit).to_pylist())


# ---------------------------------------------------------------- blocks of numbers


@dataclass
class Census:
    """What one pass over the training rows saw, and the law that every pass sees the same."""

    rows: int = 0
    frauds: int = 0
    weight: float = 0.0
    digest: int = 0
    first: dict[int, np.float32] = field(default_factory=dict)

    def add(self, block: Block) -> None:
        """Count a block."""
        if not self.rows:
            self.first = {position: column[0] for position, column in enumerate(block.columns)}
        # Only columns that were constant so far are looked at: after a few blocks, none is left.
        self.first = {position: value for position, value in self.first.items() if _all(block.columns[position], value)}
        self.rows += len(block.label)
        self.frauds += int(block.label.sum(dtype=np.float64))
        self.weight += float(block.weight.sum(dtype=np.float64))
        # Label, weight and one feature are enough to see another order of rows, and cheap.
        for column in (block.label, block.weight, block.columns[0]):
            self.digest = zlib.crc32(column.tobytes(), self.digest)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """The census of rows that were counted in several parts; its digest is that of no pass, and is 0."""
        some = [part for part in parts if part.rows]
        first = some[0].first if some else {}
        return cls(
            rows=sum(part.rows for part in some),
            frauds=sum(part.frauds for part in some),
            weight=sum((part.weight for part in some), 0.0),
            first={
                position: value
                for position, value in first.items()
                if all(position in part.first and _same(part.first[position], value) for part in some)
            },
        )

    def constant(self, features: tuple[str, ...]) -> list[str]:
        """Features that say the same about every row."""
        return [features[position] for position in sorted(self.first)]

    def refuse_if_degenerate(self, features: tuple[str, ...]) -> None:
        """Raise DataInvalid for rows from which nothing can be learnt."""
        problems = []
        if not self.rows:
            problems.append("no rows")
        elif self.frauds in (0, self.rows):
            problems.append(f"one class only: {self.frauds} frauds in {self.rows} rows")
        if self.rows and len(self.constant(features)) == len(features):
            problems.append("every feature is constant")
        if problems:
            raise DataInvalid(
                "Nothing can be learnt from the training rows.",
                culprits=problems,
                remedy="Look at the labels and features of the window's days; widen the window.",
            )


def _same(first: np.float32, second: np.float32) -> bool:
    return bool(first == second or (np.isnan(first) and np.isnan(second)))


def _all(column: FloatColumn, value: np.float32) -> bool:
    return bool(np.isnan(column).all() if np.isnan(value) else (column == value).all())


def as_numbers(table: pa.Table, features: tuple[str, ...], words: Mapping[str, tuple[str, ...]]) -> Block:
    """Training rows as numbers."""
    return Block(
        float_columns(table, features, words), table.column(IS_FRAUD).to_numpy(), table.column(WEIGHT).to_numpy()
    )


@dataclass
class TrainingBlocks:
    """The training rows as blocks of numbers: few are kept in memory; of more, each pass is held against the first."""

    rows: TrainingRows
    features: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    census: Census | None = field(default=None, init=False)
    held: tuple[Block, ...] | None = field(default=None, init=False, repr=False)

    def __iter__(self) -> Iterator[Block]:
        yield from self._read() if self.held is None else self.held

    def _read(self) -> Iterator[Block]:
        census = Census()
        held: list[Block] = []
        room = HELD_BYTES
        for table in self.rows:
            block = as_numbers(table, self.features, self.words)
            census.add(block)
            room -= block.nbytes
            # From the first block on that finds no room, none is kept: the memory is the estimator's.
            held = [*held, block] if room >= 0 else []
            yield block
        self._close(census)
        if room >= 0:
            self.held = tuple(held)

    def _close(self, census: Census) -> None:
        if self.census is None:
            census.refuse_if_degenerate(self.features)
            self.census = census
        elif (census.rows, census.digest) != (self.census.rows, self.census.digest):
            raise DataInvalid(
                "The training rows changed between two passes of the fit.",
                culprits=[f"first {self.census.rows} rows, then {census.rows}"],
                remedy="Read the window in a fixed order from files that are not rewritten during the fit.",
            )

    def counted(self) -> Census:
        """The census, by a pass of its own when none was made yet."""
        for _ in self if self.census is None else ():
            pass
        assert self.census is not None
        return self.census

    def in_memory(self, dtype: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The whole matrix with labels and weights, filled into memory that a counting pass allocated."""
        # A counting pass first: growing the matrix while reading would need twice its memory.
        rows = self.counted().rows
        matrix = np.empty((rows, len(self.features)), dtype)
        label, weight = np.empty(rows, np.float32), np.empty(rows, np.float32)
        first = 0
        for block in self:
            last = first + len(block.label)
            stack_into(matrix[first:last], block.columns)
            label[first:last], weight[first:last] = block.label, block.weight
            first = last
        return matrix, label, weight
