"""The pictures of a review report, drawn once and kept beside it.

Here: keeping them in the store, and giving them as they were recorded. Not here: drawing (`adapters/pages/pictures.py`)
and the report itself (`adapters/days/review_reports.py`).

The record of a verdict has the digest of its pictures, so that a writer of the store cannot show others. What
an older record lacks, or what the store lost, is drawn again from the report, one at a time, and kept in memory.
"""

import base64
import binascii
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping

from fraud_retraining.adapters.pages.pictures import CAPTIONS, SHADOW, pictures, shadow_picture
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import RetrainingError

ASSET = "review_pictures"
KEY_CHARACTERS = 16
KEPT = 16
LOG = logging.getLogger(__name__)


def write_pictures(store: Store, fingerprint: str, drawn: Mapping[str, bytes]) -> str:
    """Store the pictures of a report, and return the digest by which the record refers to them."""
    document = {name: base64.b64encode(png).decode() for name, png in drawn.items()}
    store.write_document(ASSET, fingerprint, json.dumps(document).encode())
    return digest(document)


def read_pictures(store: Store, fingerprint: str, expected: str) -> dict[str, bytes] | None:
    """The pictures whose digest was recorded; none where they are gone or are not those."""
    data = store.read_document(ASSET, fingerprint)
    if data is None or not expected:
        return None
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or digest(document) != expected:
            raise ValueError("their digest is another one")
        return {name: base64.b64decode(document[name], validate=True) for name in CAPTIONS if name in document}
    except (ValueError, TypeError, binascii.Error) as error:
        LOG.warning("the pictures of %s are drawn again: %s", fingerprint[:12], error)
        return None


class ReviewPictures:
    """The pictures of the latest review reports that were viewed, for many readers at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def of(self, judged: Evaluation, review_report: ReviewReport) -> dict[str, bytes]:
        """Every picture of a report by its name, as PNG."""
        key = pictures_key(judged)
        with self._one_at_a_time:
            if key not in self._kept:
                self._keep(key, self._stored(judged) or pictures(review_report))
            self._kept.move_to_end(key)
            return self._kept[key]

    def of_shadow(self, shadow: CandidateShadow) -> bytes | None:
        """The picture of a candidate that waited; None where its alerts were not counted."""
        key = shadow_key(shadow)
        with self._one_at_a_time:
            if key not in self._kept:
                drawn = shadow_picture(shadow)
                self._keep(key, {SHADOW: drawn} if drawn is not None else {})
            self._kept.move_to_end(key)
            return self._kept[key].get(SHADOW)

    def _keep(self, key: str, drawn: dict[str, bytes]) -> None:
        self._kept[key] = drawn
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _stored(self, judged: Evaluation) -> dict[str, bytes] | None:
        try:
            return read_pictures(self._store, judged.fingerprint, judged.pictures_digest)
        except RetrainingError as error:
            LOG.warning("the pictures of %s cannot be read: %s", judged.fingerprint[:12], error)
            return None


def pictures_key(judged: Evaluation) -> str:
    """What distinguishes the pictures of a verdict from any others, short enough for an address."""
    return (judged.pictures_digest or judged.review_digest)[:KEY_CHARACTERS]


def shadow_key(shadow: CandidateShadow) -> str:
    """What distinguishes the picture of a shadow from any other, short enough for an address."""
    return digest(shadow)[:KEY_CHARACTERS]
