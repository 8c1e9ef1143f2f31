"""Each row of the record, edited, deleted, put elsewhere or cut off, one at a time and past the guards, is found."""

from collections.abc import Callable

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.verification import Verification
from fraud_retraining.domain.ledger.hash_chain import Head, Row
from fraud_retraining_tests.support.ledgers import promoted, waiting
from fraud_retraining_tests.support.tampering import put_back, run_sql, tamper

pytest_plugins = ("fraud_retraining_tests.support.databases",)

Change = tuple[list[str], int]
"""What is done to the rows, and the row that has to be named."""


def edits(rows: list[Row]) -> list[Change]:
    """Every column of every row, but for signatures, which nobody demands of this ledger."""
    columns = [name for name in Row._fields if name not in ("seq", "signer", "signature")]
    values = {"version": "77"}
    return [
        (
            [f"UPDATE audit_events SET {column} = {values.get(column, chr(39) + 'x' + chr(39))} WHERE seq = {row.seq}"],
            row.seq,
        )
        for row in rows
        for column in columns
    ]


def deletions(rows: list[Row]) -> list[Change]:
    return [([f"DELETE FROM audit_events WHERE seq = {row.seq}"], row.seq) for row in rows]


def reorderings(rows: list[Row]) -> list[Change]:
    """Each row changes places with the next."""
    return [
        (
            [
                f"UPDATE audit_events SET seq = -1 WHERE seq = {row.seq}",
                f"UPDATE audit_events SET seq = {row.seq} WHERE seq = {row.seq + 1}",
                f"UPDATE audit_events SET seq = {row.seq + 1} WHERE seq = -1",
            ],
            row.seq,
        )
        for row in rows[:-1]
    ]


def insertions(rows: list[Row]) -> list[Change]:
    """A row is written twice, at the end."""
    columns = ", ".join(name for name in Row._fields if name != "seq")
    last = rows[-1].seq + 1
    copied = "INSERT INTO audit_events (seq, {0}) SELECT {1}, {0} FROM audit_events WHERE seq = {2}"
    return [([copied.format(columns, last, row.seq)], last) for row in rows]


def only_guards_are_gone(found: Verification) -> bool:
    """Whether the rows are whole, and nothing but the missing guards is named."""
    return found.first_bad is None and not found.releases and bool(found.guards)


@pytest.mark.parametrize("changes", [edits, deletions, reorderings, insertions], ids=lambda make: make.__name__)
def test_every_change_of_every_row_is_found_at_that_row(
    ledger: Ledger, ledger_url: str, changes: Callable[[list[Row]], list[Change]]
):
    promoted(ledger, 1)
    waiting(ledger, 2, day=3)
    rows = list(ledger.rows())
    tamper(ledger_url)
    assert only_guards_are_gone(ledger.verify(ledger.head()))
    for statements, named in changes(rows):
        run_sql(ledger_url, *statements)
        verification = ledger.verify()
        assert (verification.ok, verification.first_bad) == (False, named), statements
        put_back(ledger_url, rows)
    assert only_guards_are_gone(ledger.verify())


def test_every_cut_is_found_even_where_the_head_row_was_put_right(ledger: Ledger, ledger_url: str):
    promoted(ledger, 1)
    waiting(ledger, 2, day=3)
    rows = list(ledger.rows())
    exported = ledger.head()
    for left in range(len(rows)):
        last = Head(seq=rows[left - 1].seq, hash=rows[left - 1].hash) if left else Head()
        cut = f"DELETE FROM audit_events WHERE seq > {left}"
        tamper(ledger_url, cut)
        assert ledger.verify().first_bad == left + 1, "the head row still knows"
        run_sql(ledger_url, f"UPDATE ledger_head SET seq = {last.seq}, hash = '{last.hash}'")
        verification = ledger.verify(exported)
        assert (verification.ok, verification.first_bad) == (False, left + 1)
        put_back(ledger_url, rows)
    assert only_guards_are_gone(ledger.verify(exported))
