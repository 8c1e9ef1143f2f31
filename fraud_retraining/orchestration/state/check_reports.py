"""Reports of checks as they are stored, and the refusal of a window whose checks failed.

Here: reading reports back. Not here: making them (`orchestration/checks/data_checks.py`).
"""

from pydantic import ValidationError

from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.rule_results import Report
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import WINDOW_REPORT


def readable_report(data: bytes | None) -> Report | None:
    """A stored report; None for one that cannot be read back: its checks then count as without a result."""
    try:
        return Report.model_validate_json(data) if data is not None else None
    except ValidationError:
        return None


def require_window_checks(store: Store, window: TrainingWindow) -> None:
    """Refuses a window whose checks failed or have no result, in any run.

    Raises:
        DataInvalid: names the checks.
    """
    as_of = window.days.as_of.isoformat()
    data = store.read_document(WINDOW_REPORT, as_of)
    report = readable_report(data)
    named = {result.name for result in report.results} if report is not None else set()
    if report is None or report.digest != digest(window) or named != set(WINDOW_CHECKS):
        raise DataInvalid(
            f"the checks of training_window of {as_of} gave no result",
            remedy="materialize training_window of that day again, with its checks.",
        )
    refuse_failed(f"the training window as of {as_of} is not fit to be trained on", report)


def refuse_failed(what: str, report: Report) -> None:
    """Raises the failed checks of a report, if there are any.

    Raises:
        DataInvalid: names the checks.
    """
    if report.failed:
        raise DataInvalid(
            what,
            culprits=[f"{result.name}: {result.message}" for result in report.failed],
            remedy="the thresholds stand under validation in the settings; the data, or they, have to change.",
        )
