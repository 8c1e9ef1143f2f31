"""Each gate is a blocking check; an exception, a missing result and an old verdict have their own severity."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.evaluation.gates import GATES, GateResult, Verdict
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.orchestration.checks.model_checks import ADDED_SINCE, FIXED_AGE, NO_RESULT, build_checks
from fraud_retraining.orchestration.names import EVALUATION
from fraud_retraining.orchestration.partitions import day_partitions
from fraud_retraining.settings import Settings
from fraud_retraining_tests.support.approvals_fixture import an_evaluation

AS_OF = date(2024, 3, 1)
DAYS = day_partitions(date(2024, 1, 1))
FIRST_GATE = next(iter(GATES))


@dg.asset(name=EVALUATION, partitions_def=DAYS)
def judged() -> None:
    """Stands for the asset that the checks belong to."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    yield Store(FolderLocation(tmp_path / "store"), scratch=tmp_path / "scratch")


def checked(store: Store, **more: Any) -> dict[str, dg.AssetCheckEvaluation]:
    """The results of the checks of a stored evaluation, by name."""
    evaluation: Evaluation = an_evaluation("f" * 64, AS_OF, **more)
    store.write_document(EVALUATION, str(AS_OF), evaluation.model_dump_json().encode())
    done = dg.materialize(
        [judged, *build_checks(DAYS)],
        partition_key=str(AS_OF),
        resources={"settings": Settings(), "store": store},
        raise_on_error=False,
    )
    return {result.check_name: result for result in done.get_asset_check_evaluations()}


def verdict(*gates: GateResult) -> Verdict:
    return Verdict(passed=all(gate.passed for gate in gates), gates=gates)


PASSED = tuple(GateResult(name=name, passed=True, message="It did.") for name in GATES)
FAILED = PASSED[0].model_copy(update={"passed": False, "message": "It did not."})


def test_every_gate_of_a_passed_verdict_is_a_passed_check(store: Store) -> None:
    found = checked(store)
    assert set(found) == {*GATES, FIXED_AGE}
    assert all(result.passed for result in found.values())


def test_a_failed_gate_blocks_with_its_message(store: Store) -> None:
    failed = checked(store, verdict=verdict(FAILED, *PASSED[1:]))[FIRST_GATE]
    assert (failed.passed, failed.severity, failed.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert failed.description == "It did not."


def test_a_gate_without_a_result_has_failed(store: Store) -> None:
    absent = checked(store, verdict=verdict(*PASSED[1:]))[FIRST_GATE]
    assert (absent.passed, absent.severity, absent.description) == (False, dg.AssetCheckSeverity.ERROR, NO_RESULT)


def test_a_gate_that_is_newer_than_a_reused_verdict_only_warns(store: Store) -> None:
    absent = checked(store, verdict=verdict(*PASSED[1:]), reused=True)[FIRST_GATE]
    assert (absent.passed, absent.severity, absent.description) == (False, dg.AssetCheckSeverity.WARN, ADDED_SINCE)


def test_a_candidate_older_than_the_champion_is_judged_without_blocking(store: Store) -> None:
    failed = checked(store, verdict=verdict(FAILED, *PASSED[1:]), newer_champion=7)[FIRST_GATE]
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "newer as-of day" in str(failed.description)
