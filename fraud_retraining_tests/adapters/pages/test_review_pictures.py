"""Pictures are drawn once, kept beside their pack, and shown only as they were recorded."""

from pathlib import Path

from fraud_retraining.adapters.pages.pictures import pictures
from fraud_retraining.adapters.pages.review_pictures import ReviewPictures, pictures_key, read_pictures, write_pictures
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining_tests.support.approvals_fixture import an_evaluation
from fraud_retraining_tests.support.reviews import AS_OF, review_report

FINGERPRINT = "f" * 64
PNGS = {name: b"\x89PNG " + name.encode() for name in pictures(review_report())}


def a_store(folder: Path) -> Store:
    return Store(FolderLocation(folder / "store"), folder / "scratch")


def test_pictures_are_read_as_they_were_kept(tmp_path: Path):
    store = a_store(tmp_path)
    recorded = write_pictures(store, FINGERPRINT, PNGS)
    assert read_pictures(store, FINGERPRINT, recorded) == PNGS
    judged = an_evaluation(FINGERPRINT, AS_OF, pictures_digest=recorded, review_digest="1" * 64)
    assert ReviewPictures(store).of(judged, review_report()) == PNGS, "they are not drawn again"
    assert pictures_key(judged) == recorded[:16]


def test_pictures_that_were_changed_lost_or_never_kept_are_drawn_from_the_review_report(tmp_path: Path):
    store = a_store(tmp_path)
    recorded = write_pictures(store, FINGERPRINT, PNGS)
    judged = an_evaluation(FINGERPRINT, AS_OF, pictures_digest=recorded, review_digest="1" * 64)
    for junk in (b"{}", b"[1]", b"\xff", b'{"scores": "%%"}'):
        store.write_document("review_pictures", FINGERPRINT, junk)
        assert read_pictures(store, FINGERPRINT, recorded) is None
    assert ReviewPictures(store).of(judged, review_report()) == pictures(review_report())
    older = an_evaluation(FINGERPRINT, AS_OF, review_digest="1" * 64)
    assert ReviewPictures(store).of(older, review_report()) == pictures(review_report())
