"""Review reports in the store: one document a fingerprint, written when the candidate was judged.

Here: writing a report and reading it back as it was recorded. Not here: making it (`domain/review/assembly.py`) and
showing it (`adapters/pages/html.py`).
"""

import json

from pydantic import ValidationError

from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError

ASSET = "review_pack"


def write_review_report(store: Store, review_report: ReviewReport) -> str:
    """Store a report, and return the digest by which the record refers to it."""
    document = review_report.document()
    store.write_document(ASSET, review_report.fingerprint, json.dumps(document, allow_nan=False).encode())
    return digest(document)


def read_review_report(store: Store, fingerprint: str, expected: str = "") -> ReviewReport | None:
    """Return the report of a fingerprint; None where none was made.

    Raises:
        IntegrityError: it is not the report whose digest was recorded (`expected`), or it cannot be read.
    """
    data = store.read_document(ASSET, fingerprint)
    if data is None:
        return None
    try:
        document = json.loads(data)
        review_report = ReviewReport.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise _changed(fingerprint, f"it cannot be understood: {type(error).__name__}") from error
    # Over the document and not the bytes: layout may differ, content may not.
    if expected and digest(document) != expected:
        raise _changed(fingerprint, "its digest is another one")
    return review_report


def _changed(fingerprint: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"the review report of {fingerprint[:12]} is not the one that was recorded: {why}",
        remedy="MLflow has a copy with the run, as review.json; find out who changed the store.",
    )
