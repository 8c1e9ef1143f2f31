"""A ledger that an older version of this software left still says what it said."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining_tests.support.ledgers import waiting

OLD = Path(__file__).parents[2] / "support" / "ledger_0002.sql"
"""Revision 0002: promotions, a rollback, decisions of one and of two people, an alias that was moved by hand, ..."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as raw:
        raw.executescript(OLD.read_text())
    return file


def test_an_older_ledger_verifies_after_its_migration_as_it_did_before(file: Path):
    ledger = Ledger(f"sqlite:///{file}")
    found = ledger.verify()
    assert (found.ok, found.count) == (True, 58), found.problems
    assert found.head.hash == "350a425192ecd01870407c81f0ac626139a3bbac14206b386976cd3ff10e3ead"
    assert found.pinned is None, "no head of it was ever kept elsewhere"
    assert [str(one.state) for one in ledger.releases()] == [
        *("superseded", "superseded", "promoted", "superseded", "superseded"),
        *("expired", "gate_failed", "withdrawn", "superseded", "awaiting_approval"),
    ]


def test_an_older_ledger_goes_on(file: Path):
    ledger = Ledger(f"sqlite:///{file}")
    waiting(ledger, 11, day=21)
    assert ledger.verify().ok and ledger.releases(ReleaseState.AWAITING_APPROVAL)[0].version == 11


def test_a_change_made_before_the_migration_is_still_found(file: Path):
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE releases SET state = 'approved', decided_by = 'alice' WHERE version = 10")
        raw.commit()
    ledger = Ledger(f"sqlite:///{file}")
    assert "version 10: decided_by, state differ" in ledger.verify().why
    with pytest.raises(RecordAltered):
        ledger.champion()
