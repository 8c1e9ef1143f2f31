"""Bins have equal weight where they can, lose no row, and keep apart what is new; the engine counts as numpy does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.monitoring.bins import (
    Bins,
    bin_counts,
    category_bins,
    category_counts,
    newcomers,
    number_bins,
    number_counts,
    tallies,
    words,
)

RANDOM = np.random.default_rng(3)
FLOATS = st.lists(st.floats(width=32, allow_nan=True, allow_infinity=False), min_size=1, max_size=200)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=Path(tmp_path_factory.mktemp("engine"))) as opened:
        yield opened


def counted(engine: Engine, table: pa.Table, bins: list[Bins]) -> dict[str, tuple[int, ...]]:
    return tallies(engine.to_arrow(bin_counts(engine.memtable(table), bins)), bins)


class TestNumbers:
    @pytest.mark.parametrize("wanted", [2, 10, 37])
    def test_many_different_values_are_shared_out_evenly(self, wanted: int) -> None:
        values = RANDOM.gamma(2, 40, 20_000)
        counts = number_counts(number_bins("amount", values, wanted), values)
        inner = counts[1:-2]
        assert len(inner) == wanted
        assert max(inner) - min(inner) <= 2
        assert (counts[0], *counts[-2:]) == (0, 0, 0)

    def test_a_frequent_value_has_a_bin_of_its_own_and_the_others_share_the_rest(self) -> None:
        values = np.where(np.arange(10_000) < 9_000, 0.0, RANDOM.uniform(1, 2, 10_000))
        counts = number_counts(number_bins("fraud_share", values, 10), values)
        assert counts[1] == 9_000
        assert all(100 <= rows <= 125 for rows in counts[2:-2])

    def test_a_frequent_value_in_the_middle_does_not_swallow_its_neighbours(self) -> None:
        values = np.concatenate([RANDOM.uniform(0, 1, 2_000), np.full(6_000, 1.0), RANDOM.uniform(1, 2, 2_000)])
        counts = number_counts(number_bins("ratio", values, 10), values)
        assert 5_900 <= max(counts) <= 6_100
        assert sum(rows > 0 for rows in counts) >= 5

    def test_a_constant_is_told_apart_from_what_is_below_and_above(self) -> None:
        bins = number_bins("weekend", np.full(100, 3.0, np.float32), 10)
        assert number_counts(bins, np.array([2.0, 3.0, 3.0, 4.0, np.nan])) == (1, 2, 1, 1)
        assert bins.labels == ("below", "to 3", "above", "missing")

    def test_numbers_outside_the_sample_are_counted_apart(self) -> None:
        bins = number_bins("amount", np.arange(1.0, 101.0), 4)
        counts = number_counts(bins, np.array([0.5, 1.0, 100.0, 100.5, 1e9]))
        assert counts == (1, 1, 0, 0, 1, 2, 0)

    @pytest.mark.parametrize("sample", [np.empty(0), np.full(5, np.nan)], ids=["empty", "missing"])
    def test_a_feature_that_was_never_known_still_tells_known_from_missing(self, sample: np.ndarray) -> None:
        bins = number_bins("distance", sample, 10)
        assert number_counts(bins, np.array([1.0, np.nan, 2.0])) == (2, 1)
        assert bins.labels == ("any", "missing")

    @given(sample=FLOATS, wanted=st.integers(2, 20))
    def test_edges_rise_and_no_row_is_lost(self, sample: list[float], wanted: int) -> None:
        values = np.array(sample, np.float32)
        bins = number_bins("any", values, wanted)
        counts = number_counts(bins, values)
        assert list(bins.edges) == sorted(set(bins.edges))
        assert len(bins.edges) <= wanted + 1
        assert sum(counts) == len(values)
        assert counts[-1] == np.isnan(values).sum()
        assert len(counts) == bins.size == len(bins.labels)

    @settings(max_examples=30, deadline=None)
    @given(sample=FLOATS, day=FLOATS, double=st.booleans())
    def test_the_engine_counts_as_numpy_does(
        self, engine: Engine, sample: list[float], day: list[float], double: bool
    ) -> None:
        kind = np.float64 if double else np.float32
        bins = number_bins("any", np.array(sample, np.float32), 7)
        values = np.array(day, kind)
        assert counted(engine, pa.table({"any": values}), [bins])["any"] == number_counts(bins, values)

    def test_null_and_nan_are_both_missing(self, engine: Engine) -> None:
        bins = number_bins("x", np.array([1.0, 2.0]), 2)
        table = pa.table({"x": pa.array([1.0, None, float("nan")])})
        assert counted(engine, table, [bins])["x"][-1] == 2

    def test_whole_numbers_are_counted_too(self, engine: Engine) -> None:
        bins = number_bins("n", np.array([1.0, 2.0, 3.0]), 3)
        assert counted(engine, pa.table({"n": pa.array([1, 3, None, 9], pa.int32())}), [bins])["n"] == (
            0,
            1,
            0,
            1,
            1,
            1,
        )


class TestCategories:
    TABLE = pa.table({"channel": ["chip", "chip", "online", "wallet", None, "atm", "wallet", "wallet"]})

    def test_the_most_frequent_have_a_bin_and_ties_follow_the_text(self) -> None:
        bins = category_bins("channel", [("online", 5), ("chip", 9), ("atm", 5), ("wallet", 1)], 3)
        assert bins.categories == ("chip", "atm", "online")
        assert bins.labels == ("chip", "atm", "online", "other", "missing")

    def test_new_and_missing_ones_are_counted(self, engine: Engine) -> None:
        bins = category_bins("channel", [("chip", 9), ("online", 5)], 30)
        assert counted(engine, self.TABLE, [bins])["channel"] == (2, 1, 4, 1)

    def test_newcomers_are_named_the_most_frequent_first(self, engine: Engine) -> None:
        bins = [category_bins("channel", [("chip", 9), ("online", 5)], 30)]
        found = words(engine.to_arrow(newcomers(engine.memtable(self.TABLE), bins)))
        assert found == {"channel": [("wallet", 3), ("atm", 1)]}

    def test_categories_of_an_empty_reference_are_all_new(self, engine: Engine) -> None:
        bins = category_bins("channel", [], 30)
        assert counted(engine, self.TABLE, [bins])["channel"] == (7, 1)
        assert words(engine.to_arrow(newcomers(engine.memtable(self.TABLE), [bins], 1))) == {"channel": [("wallet", 3)]}

    def test_the_most_frequent_of_several_columns_are_found_at_once(self, engine: Engine) -> None:
        table = self.TABLE.append_column("country", pa.array(["NL"] * 5 + ["DE", "DE", None]))
        found = words(engine.to_arrow(category_counts(engine.memtable(table), ["channel", "country"], 2)))
        assert found == {"channel": [("wallet", 3), ("chip", 2)], "country": [("NL", 5), ("DE", 2)]}


def test_rows_are_told_apart_by_further_columns(engine: Engine) -> None:
    rows = engine.memtable(pa.table({"x": [1.0, 2.0, 2.0], "day": [1, 1, 2]}))
    bins = number_bins("x", np.array([1.0, 2.0]), 2)
    found = engine.to_arrow(bin_counts(rows, [bins], by={"day": rows.day})).to_pylist()
    assert sorted((one["day"], one["bin"], one["rows"]) for one in found) == [(1, 1, 1), (1, 2, 1), (2, 2, 1)]
