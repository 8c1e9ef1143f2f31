"""A window is trained on only if every check has a result for exactly this window, and none failed."""

from pathlib import Path

import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.rule_results import CheckResult, Report
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import WINDOW_REPORT
from fraud_retraining.orchestration.state.check_reports import readable_report, require_window_checks
from fraud_retraining_tests.support.registries import a_window

WINDOW = a_window()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), scratch=tmp_path / "scratch")


def result(name: str, passed: bool = True) -> CheckResult:
    message = f"{name} m"
    return CheckResult(name=name, passed=passed, severity="error", value=1.0, threshold="at most 2", message=message)


def keep(store: Store, window: TrainingWindow, *results: CheckResult) -> None:
    report = Report(digest=digest(window), rules="", results=results)
    store.write_document(WINDOW_REPORT, str(WINDOW.days.as_of), report.model_dump_json().encode())


ALL = tuple(result(name) for name in WINDOW_CHECKS)


def test_a_window_with_all_checks_passed_is_accepted(store: Store) -> None:
    keep(store, WINDOW, *ALL)
    require_window_checks(store, WINDOW)


def test_a_window_without_a_report_is_refused(store: Store) -> None:
    with pytest.raises(DataInvalid, match="gave no result"):
        require_window_checks(store, WINDOW)


def test_a_report_that_lacks_one_check_is_no_result(store: Store) -> None:
    keep(store, WINDOW, *ALL[1:])
    with pytest.raises(DataInvalid, match="gave no result"):
        require_window_checks(store, WINDOW)


def test_a_report_of_another_window_does_not_count(store: Store) -> None:
    keep(store, WINDOW.model_copy(update={"features_policy": "another"}), *ALL)
    with pytest.raises(DataInvalid, match="gave no result"):
        require_window_checks(store, WINDOW)


def test_a_failed_check_refuses_the_window_and_is_named(store: Store) -> None:
    failed, *passed = ALL
    keep(store, WINDOW, failed.model_copy(update={"passed": False}), *passed)
    with pytest.raises(DataInvalid, match="is not fit to be trained on") as refused:
        require_window_checks(store, WINDOW)
    assert refused.value.culprits == (f"{failed.name}: {failed.name} m",)


@pytest.mark.parametrize("data", [None, b"", b"no json", b"{}"])
def test_a_report_that_cannot_be_read_is_none(data: bytes | None) -> None:
    assert readable_report(data) is None
