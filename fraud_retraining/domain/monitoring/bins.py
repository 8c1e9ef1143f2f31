"""Bins of the values of a feature, and counts by bin.

Here: bins of numbers and of categories, and the Ibis expressions that count a table's rows by them. Not here: distances
of two counts (`domain/monitoring/drift.py`) and which rows are counted (`adapters/days/day_counts.py`).

Missing values have a bin of their own. So have numbers below and above all that were seen when the bins were chosen,
and categories that were rare or absent then: what is new is counted, not lost in a neighbour's bin.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from fraud_retraining.domain.values.base import Value

FEATURE, BIN, ROWS, VALUE = "feature", "bin", "rows", "value"
NEWCOMERS = 5
COLUMNS_AT_ONCE, TEXTS_AT_ONCE = 32, 4
"""Features that one query counts, and columns whose categories it lists, of which there may be any number. Each has
hash tables of its own in every thread: a query over all features of a wide table needs memory by their number, and the
time to plan it grows faster still."""

T = TypeVar("T")

Numbers = NDArray[np.floating]


class Bins(Value):
    """The bins of one feature. Of numbers, bin i holds edge i-1 < value <= edge i; of categories, bin i the i-th.

    One more bin holds the rest (numbers over the last edge, other categories), and the last one what is missing.
    """

    name: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] | None = Field(None, description="None for numbers.")

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(self.edges if self.categories is None else self.categories) + 2

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        if self.categories is not None:
            return (*self.categories, "other", "missing")
        if not self.edges:
            return ("any", "missing")
        return ("below", *(f"to {edge:.4g}" for edge in self.edges[1:]), "above", "missing")

    def of(self, column: ir.Column) -> ir.IntegerColumn:
        """Return the number of each value's bin."""
        rest, missing = self.size - 2, self.size - 1
        if self.categories is not None:
            absent, matches = column.isnull(), [column == word for word in self.categories]
        else:
            # First of all cases: to DuckDB NaN is the greatest number, and would fall into the last bin.
            absent = column.isnull() | column.isnan() if column.type().is_floating() else column.isnull()
            matches = [column <= ibis.literal(edge, "float64") for edge in self.edges]
        cases = [(absent, missing), *((when, number) for number, when in enumerate(matches))]
        return ibis.cases(*((when, _number(number)) for when, number in cases), else_=_number(rest))


def number_bins(name: str, sample: Numbers, bins: int) -> Bins:
    """Return bins of equal weight over a sample of a feature's values.

    A value that is more frequent than a bin has one of its own, and the others share what is left: a feature that is
    zero nearly always still has bins for its other values.
    """
    known = sample[~np.isnan(sample)]
    if not len(known):
        return Bins(name=name)
    values, counts = np.unique(known, return_counts=True)
    inner = [values[at] for at in _closings(np.cumsum(counts), bins)]
    edges = dict.fromkeys(float(edge) for edge in (_just_below(values[0]), *inner, values[-1]))
    return Bins(name=name, edges=tuple(edges))


def _just_below(value: np.floating) -> np.floating:
    """The next smaller number, or the number itself if there is none."""
    with np.errstate(over="ignore"):
        below = np.nextafter(value, value.dtype.type(-np.inf))
    return below if np.isfinite(below) else value


def _closings(reached: NDArray[np.integer], bins: int) -> Iterator[int]:
    """Positions of the values that end a bin, each as near as can be to an equal share of what is left."""
    taken, total = 0, int(reached[-1])
    for left in range(bins, 1, -1):
        wanted = taken + (total - taken) / left
        at = int(np.searchsorted(reached, wanted))
        if at > 0 and reached[at - 1] > taken and wanted - reached[at - 1] < reached[at] - wanted:
            at -= 1
        if at >= len(reached) - 1:
            return
        yield at
        taken = int(reached[at])


def number_counts(bins: Bins, values: Numbers) -> tuple[int, ...]:
    """How many of some numbers at hand are in each bin."""
    missing = np.isnan(values)
    found = np.bincount(np.searchsorted(bins.edges, values[~missing], side="left"), minlength=bins.size - 1)
    return (*found.tolist(), int(missing.sum()))


def category_bins(name: str, counts: Iterable[tuple[str, int]], most: int) -> Bins:
    """A bin for each of the most frequent categories, equally frequent ones in the order of the text."""
    # Ties in the order of the text: which category gets a bin may not depend on threads.
    ranked = sorted(counts, key=lambda one: (-one[1], one[0]))
    return Bins(name=name, categories=tuple(word for word, _ in ranked[:most]))


def parcels(columns: Sequence[T], size: int = COLUMNS_AT_ONCE) -> Iterator[Sequence[T]]:
    """The columns in order, as many at a time as one query takes."""
    return (columns[start : start + size] for start in range(0, len(columns), size))


def bin_counts(rows: ir.Table, bins: Sequence[Bins], by: Mapping[str, ir.Column] | None = None) -> ir.Table:
    """Rows by feature and bin, one line each, in one pass over the columns; empty bins are left out.

    The memory that it takes grows with the number of `bins`: pass `parcels` of them. `by` groups rows by
    further columns, such as their day.
    """
    keys = dict(by or {})
    counted = [
        rows.group_by(**keys, **{BIN: one.of(rows[one.name])})
        .agg(**{ROWS: rows.count()})
        .mutate(**{FEATURE: _text(one.name)})
        for one in bins
    ]
    return ibis.union(*counted) if len(counted) > 1 else counted[0]


def category_counts(rows: ir.Table, names: Sequence[str], most: int) -> ir.Table:
    """The most frequent values of each column of text, and how often each occurs; missing ones are left out."""
    return _most_frequent(rows, {name: rows[name].notnull() for name in names}, most)


def newcomers(rows: ir.Table, bins: Sequence[Bins], most: int = NEWCOMERS, by: Sequence[str] = ()) -> ir.Table:
    """The most frequent categories without a bin of their own, and how often each occurs; `by` as in `bin_counts`."""
    # SQL has no empty list.
    other = {one.name: rows[one.name].notin(one.categories or ("",)) for one in bins}
    return _most_frequent(rows, other, most, by)


def _most_frequent(rows: ir.Table, kept: dict[str, ir.BooleanValue], most: int, by: Sequence[str] = ()) -> ir.Table:
    counted = [
        _first_of(
            rows.filter(where).group_by([*by, ibis._[name].name(VALUE)]).agg(**{ROWS: ibis._.count()}), most, by
        ).mutate(**{FEATURE: _text(name)})
        for name, where in kept.items()
    ]
    return ibis.union(*counted) if len(counted) > 1 else counted[0]


def _first_of(counted: ir.Table, most: int, by: Sequence[str]) -> ir.Table:
    order = [ibis.desc(ROWS), ibis.asc(VALUE)]
    if not by:
        return counted.order_by(order).limit(most)
    place = ibis.row_number().over(ibis.window(group_by=list(by), order_by=order))
    return counted.mutate(__place=place).filter(ibis._["__place"] < most).drop("__place")


def tallies(counted: pa.Table, bins: Sequence[Bins]) -> dict[str, tuple[int, ...]]:
    """What `bin_counts` found: rows of every bin by feature, empty ones included."""
    found = {one.name: [0] * one.size for one in bins}
    for name, number, rows in zip(*(counted[column].to_pylist() for column in (FEATURE, BIN, ROWS)), strict=True):
        found[name][number] = rows
    return {name: tuple(rows) for name, rows in found.items()}


def words(counted: pa.Table) -> dict[str, list[tuple[str, int]]]:
    """What `category_counts` or `newcomers` found: values with their rows by feature, the most frequent first."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, value, rows in zip(*(counted[column].to_pylist() for column in (FEATURE, VALUE, ROWS)), strict=True):
        found.setdefault(name, []).append((value, rows))
    return {name: sorted(values, key=lambda one: (-one[1], one[0])) for name, values in found.items()}


def _number(number: int) -> ir.IntegerScalar:
    return ibis.literal(number, "int16")


def _text(name: str) -> ir.StringScalar:
    return ibis.literal(name, "string")
