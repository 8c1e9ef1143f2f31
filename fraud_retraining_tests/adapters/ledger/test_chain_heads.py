"""Heads that are kept outside of the database: in a file that is only added to, or as objects of their own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.chain_heads import HeadFile, HeadObjects
from fraud_retraining.adapters.storage.locations import Location
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.values.errors import IntegrityError

NOW = datetime(2026, 11, 26, tzinfo=UTC)
FIRST, SECOND = Head(seq=9, hash="a" * 64), Head(seq=120, hash="b" * 64)


def test_objects_are_read_back_in_order_and_one_that_is_no_head_is_named(location: Location):
    heads = HeadObjects(location)
    assert heads.heads() == []
    heads.pin(SECOND, NOW)
    heads.pin(FIRST, NOW)
    assert heads.heads() == [FIRST, SECOND]
    location.write_bytes("note.txt", b"hello")
    with pytest.raises(IntegrityError, match="no hash of the chain"):
        heads.pin(Head(seq=130, hash="../x"), NOW)
    with pytest.raises(IntegrityError, match=r"note\.txt is no head"):
        heads.heads()


def test_a_file_is_appended_to_and_private(tmp_path: Path):
    heads = HeadFile(tmp_path / "kept" / "heads")
    assert heads.heads() == []
    heads.pin(FIRST, NOW)
    heads.pin(SECOND, NOW)
    assert heads.heads() == [FIRST, SECOND]
    assert (tmp_path / "kept" / "heads").read_text().splitlines()[0] == f"9:{'a' * 64} 2026-11-26T00:00:00+00:00"
    assert (tmp_path / "kept" / "heads").stat().st_mode & 0o77 == 0


def test_what_is_no_hash_is_not_kept(tmp_path: Path):
    """A line that could not be read back would stop every verification."""
    heads = HeadFile(tmp_path / "heads")
    with pytest.raises(IntegrityError, match="no hash of the chain"):
        heads.pin(Head(seq=9, hash=f"{'a' * 64}\n10:{'b' * 64}"), NOW)
    assert heads.heads() == []
