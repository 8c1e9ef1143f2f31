"""Review reports in the store: read back only as they were recorded."""

from pathlib import Path

import pytest

from fraud_retraining.adapters.days.review_reports import ASSET, read_review_report, write_review_report
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining_tests.support.reviews import review_report

FINGERPRINT = "f" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), tmp_path / "scratch")


def test_a_report_is_read_back_as_it_was_written(store: Store) -> None:
    report = review_report("logistic_regression", against=None)
    recorded = write_review_report(store, report)
    found = read_review_report(store, FINGERPRINT, recorded)
    assert found is not None
    assert found.document() == report.document()


def test_a_fingerprint_without_a_report_has_none(store: Store) -> None:
    assert read_review_report(store, FINGERPRINT, "any digest") is None


def test_a_report_with_another_digest_than_the_record_s_is_refused(store: Store) -> None:
    write_review_report(store, review_report("logistic_regression", against=None))
    with pytest.raises(IntegrityError, match="digest is another one"):
        read_review_report(store, FINGERPRINT, "0" * 64)


@pytest.mark.parametrize("damage", [b"", b"not json", b"{}", b"\xff"])
def test_a_damaged_report_is_refused_and_says_where_a_copy_is(store: Store, damage: bytes) -> None:
    store.write_document(ASSET, FINGERPRINT, damage)
    with pytest.raises(IntegrityError, match="cannot be understood") as refusal:
        read_review_report(store, FINGERPRINT)
    assert "review.json" in refusal.value.remedy
