"""A chain shows the first row that was edited, deleted, put elsewhere, or cut off."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import (
    NO_HASH,
    NOT_HASHED,
    Head,
    Row,
    canonical_json,
    chained,
    verify_chain,
)


def chain(length: int) -> list[Row]:
    """A chain as the ledger writes it."""
    rows: list[Row] = []
    for seq in range(1, length + 1):
        row = Row(
            seq=seq,
            at=f"2026-11-22T13:00:{seq:02d}.000Z",
            model="fraud_detector",
            kind=EventKind.MODEL_TRAINED,
            actor="pipeline",
            channel="dagster",
            subject=None,
            as_of="2026-11-20",
            version=seq,
            fingerprint=f"f{seq}",
            payload=canonical_json({"n": seq}),
            txn=f"t{seq}",
            prev_hash=rows[-1].hash if rows else NO_HASH,
            hash="",
        )
        rows.append(chained(row))
    return rows


def head_of(rows: list[Row]) -> Head:
    return Head(seq=rows[-1].seq, hash=rows[-1].hash)


def test_a_chain_that_nobody_touched_verifies():
    rows = chain(8)
    assert verify_chain(rows, head_of(rows)) == (head_of(rows), None)
    assert verify_chain([]) == (Head(), None)


def test_the_hash_can_be_recomputed_without_this_software():
    first, second = chain(2)
    content = {name: value for name, value in second._asdict().items() if name not in NOT_HASHED}
    text = first.hash + json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert second.hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("field", [name for name in Row._fields if name not in {"seq", *NOT_HASHED}])
def test_an_edit_of_any_field_is_found_at_its_row(field: str):
    rows = chain(6)
    rows[3] = rows[3]._replace(**{field: 99 if field == "version" else "2026-01-01"})
    head, bad = verify_chain(rows)
    assert bad is not None and bad.seq == 4 and "not what was written" in bad.why
    assert head.seq == 3


def test_an_edit_with_a_hash_that_fits_is_found_at_the_row_after_it():
    rows = chain(6)
    rows[3] = chained(rows[3]._replace(actor="mallory"))
    _, bad = verify_chain(rows)
    assert bad is not None and bad.seq == 5 and "does not follow from row 4" in bad.why


def test_a_chain_written_anew_from_an_edit_on_is_found_by_a_known_head():
    rows = chain(6)
    known = head_of(rows)
    rows[3] = chained(rows[3]._replace(actor="mallory"))
    for n in (4, 5):
        rows[n] = chained(rows[n]._replace(prev_hash=rows[n - 1].hash))
    assert verify_chain(rows)[1] is None
    _, bad = verify_chain(rows, known)
    assert bad is not None and bad.seq == 6 and "known as the head" in bad.why


@settings(max_examples=50)
@given(data=st.data())
def test_a_deleted_row_is_named(data: st.DataObject):
    rows = chain(8)
    gone = data.draw(st.integers(1, 7))
    _, bad = verify_chain([row for row in rows if row.seq != gone], head_of(rows))
    assert bad == (gone, f"row {gone} is missing: row {gone + 1} follows row {gone - 1}")


@settings(max_examples=50)
@given(data=st.data())
def test_two_rows_that_changed_places_are_found_at_the_first_of_them(data: st.DataObject):
    rows = chain(8)
    first = data.draw(st.integers(1, 7))
    second = data.draw(st.integers(first + 1, 8))
    a, b = rows[first - 1], rows[second - 1]
    rows[first - 1], rows[second - 1] = b._replace(seq=first), a._replace(seq=second)
    _, bad = verify_chain(rows, head_of(chain(8)))
    assert bad is not None and bad.seq == first


@pytest.mark.parametrize("left", range(8))
def test_a_tail_that_was_cut_off_is_found_by_a_known_head(left: int):
    rows = chain(8)
    assert verify_chain(rows[:left])[1] is None
    _, bad = verify_chain(rows[:left], head_of(rows))
    assert bad == (left + 1, f"the chain was cut: it ends at row {left}, a known head is row 8")


def test_a_row_that_comes_twice_is_found():
    rows = chain(3)
    _, bad = verify_chain([*rows, rows[2]])
    assert bad == (3, "row 3 comes after row 3")
