"""Digests: equal for equal values in any layout in memory, different for any other value."""

from datetime import date, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
)
from fraud_retraining.domain.values.digests import ColumnDigests, digest, table_digest

TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1))

COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy]] = {
    "id": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "at": (pa.timestamp("us"), TIMES),
    "amount": (pa.float64(), st.floats(allow_nan=False)),
    "share": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "label": (pa.int8(), st.integers(-128, 127)),
    "flag": (pa.bool_(), st.booleans()),
    "card": (pa.string(), st.text(max_size=4)),
    "day": (pa.date32(), st.dates(date(1990, 1, 1), date(2200, 1, 1))),
    "price": (pa.decimal128(10, 2), st.decimals(-999, 999, places=2)),
}


@st.composite
def tables(draw, min_rows: int = 0) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(min_rows, 8))
    values = {name: [draw(st.none() | COLUMNS[name][1]) for _ in range(rows)] for name in names}
    return pa.table({name: pa.array(column, COLUMNS[name][0]) for name, column in values.items()})


def rechunked(table: pa.Table, cuts: list[int]) -> pa.Table:
    ends = sorted({0, len(table), *(cut % (len(table) + 1) for cut in cuts)})
    parts = [table.slice(start, end - start) for start, end in pairwise(ends)]
    return pa.concat_tables(parts) if parts else table


EXAMPLES = settings(max_examples=60, deadline=None)


class TestTableDigest:
    @EXAMPLES
    @given(tables(), st.lists(st.integers(0, 100), max_size=4))
    def test_chunks_do_not_matter(self, table, cuts):
        assert table_digest(rechunked(table, cuts)) == table_digest(table)

    @EXAMPLES
    @given(tables(min_rows=1), st.integers(1, 4))
    def test_a_round_trip_through_parquet_does_not_matter(self, table, rows):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=rows)
        assert table_digest(pq.read_table(pa.BufferReader(sink.getvalue()))) == table_digest(table)

    @EXAMPLES
    @given(tables(min_rows=1), st.data())
    def test_any_changed_value_matters(self, table, data):
        name = data.draw(st.sampled_from(table.column_names))
        row = data.draw(st.integers(0, len(table) - 1))
        kind, strategy = COLUMNS[name]
        values = table[name].to_pylist()
        other = data.draw(st.none() | strategy)
        assume(other != values[row])
        changed = table.set_column(
            table.column_names.index(name), name, pa.array([*values[:row], other, *values[row + 1 :]], kind)
        )
        assert table_digest(changed) != table_digest(table)

    @EXAMPLES
    @given(tables(min_rows=2), st.randoms())
    def test_the_order_of_rows_matters(self, table, random):
        order = list(range(len(table)))
        random.shuffle(order)
        shuffled = table.take(order)
        alike = str(shuffled.to_pylist()) == str(table.to_pylist())
        assert (table_digest(shuffled) == table_digest(table)) == alike, "zero and minus zero are two values"

    @pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.timestamp("us"), pa.int8()])
    def test_what_lies_under_a_null_does_not_matter(self, kind):
        width = kind.bit_width // 8
        mask = pa.py_buffer(b"\x05")
        arrays = [
            pa.Array.from_buffers(kind, 3, [mask, pa.py_buffer(b"\1" * width + under * width + b"\2" * width)])
            for under in (b"\0", b"\x7f")
        ]
        assert arrays[0].null_count == 1
        assert table_digest(pa.table({"c": arrays[0]})) == table_digest(pa.table({"c": arrays[1]}))

    def test_text_under_a_null_does_not_matter(self):
        def under(text: bytes) -> pa.Table:
            ends = np.array([0, 1, 1 + len(text), 2 + len(text)], np.int32)
            buffers = [pa.py_buffer(b"\x05"), pa.py_buffer(ends), pa.py_buffer(b"a" + text + b"b")]
            return pa.table({"c": pa.Array.from_buffers(pa.string(), 3, buffers)})

        plain = pa.table({"c": ["a", None, "b"]})
        assert table_digest(under(b"hidden")) == table_digest(under(b"")) == table_digest(plain)

    def test_text_is_text_however_it_is_stored(self):
        plain = pa.array(["a", None, "", "bc", "a"])
        stored = [plain, plain.cast(pa.large_string()), plain.cast(pa.string_view()), plain.dictionary_encode()]
        assert len({table_digest(pa.table({"c": array})) for array in stored}) == 1

    def test_which_nan_does_not_matter_but_nan_is_not_null(self):
        odd = np.array([1.0, np.nan])
        odd.view(np.uint64)[1] |= 1
        usual = table_digest(pa.table({"c": [1.0, float("nan")]}))
        assert table_digest(pa.table({"c": odd})) == usual != table_digest(pa.table({"c": [1.0, None]}))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (pa.table({"a": [1]}), pa.table({"b": [1]})),
            (pa.table({"a": [1]}), pa.table({"a": pa.array([1], pa.int32())})),
            (pa.table({"a": [1], "b": [2]}), pa.table({"b": [2], "a": [1]})),
            (pa.table({"a": ["ab", "c"]}), pa.table({"a": ["a", "bc"]})),
            (pa.table({"a": [None, ""]}), pa.table({"a": ["", None]})),
            (pa.table({"a": pa.nulls(1)}), pa.table({"a": pa.nulls(2)})),
            (pa.table({"a": pa.array([0], pa.timestamp("us"))}), pa.table({"a": pa.array([0], pa.timestamp("ms"))})),
        ],
    )
    def test_names_types_order_and_boundaries_matter(self, one, other):
        assert table_digest(one) != table_digest(other)

    def test_it_stays_the_same_from_release_to_release(self):
        table = pa.table({"n": [1, None], "text": ["é", None], "at": pa.array([0, None], pa.timestamp("us"))})
        assert table_digest(table) == "f181b1399a317d143a5ab8cfa498c4b4f31ce49281db527f41a055be508b4b65"


class TestColumnDigests:
    @EXAMPLES
    @given(tables(), st.data())
    def test_a_selection_has_the_digest_of_its_own_table(self, table, data):
        names = data.draw(st.lists(st.sampled_from(table.column_names), unique=True)) if table.column_names else []
        assert ColumnDigests.of(table).table(names) == table_digest(table.select(names))


class TestDigest:
    def test_the_order_of_keys_does_not_matter_and_that_of_lists_does(self):
        assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
        assert digest([1, 2]) != digest([2, 1])

    def test_sets_have_no_order(self):
        assert digest({"days": {"x", "y", "z"}}) == digest({"days": frozenset(("z", "x", "y"))})

    def test_policies_and_days_are_plain_values(self):
        assert digest(HoldoutPolicy(days=7)) == digest(HoldoutPolicy(days=7).model_dump(mode="json"))
        assert digest(date(2024, 2, 29)) == digest("2024-02-29")

    def test_what_is_not_a_number_is_refused(self):
        with pytest.raises(ValueError, match="JSON"):
            digest({"threshold": float("nan")})
