"""The form in Dagster's UI: it describes its fields, decides as other channels do, and a refusal fails the run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.promotion_mode import PromotionPolicy
from fraud_retraining.orchestration.names import (
    DECIDE,
)
from fraud_retraining.orchestration.resources import open_outbox
from fraud_retraining.orchestration.runs.failed_runs import notify_unreported
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.settings import LedgerPolicy, Settings
from fraud_retraining_tests.support.approvals_fixture import Backend


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))


def settings_of(backend: Backend, promotion: dict[str, Any] | None = None) -> Settings:
    return Settings(
        promotion=PromotionPolicy.model_validate(promotion or {}),
        ledger=LedgerPolicy(url=backend.ledger._url),
        model={"name": backend.ledger.model},
    )


def launch(
    backend: Backend,
    promotion: dict[str, Any] | None = None,
    registry: Registry | None = None,
    instance: dg.DagsterInstance | None = None,
    **form: Any,
) -> dg.ExecuteInProcessResult:
    """What the launchpad does with a filled form."""
    hard = dg.ResourceDefinition.hardcoded_resource
    definitions = build_definitions(settings_of(backend, promotion), registry=hard(registry or backend.registry))
    return definitions.resolve_job_def(DECIDE).execute_in_process(
        run_config={"ops": {"decide": {"config": form}}}, raise_on_error=False, instance=instance
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    described = event.step_failure_data.user_failure_data
    assert described is not None
    return str(described.description)


def test_the_form_has_version_decision_reviewer_and_reason_in_words() -> None:
    job = build_definitions(Settings()).resolve_job_def(DECIDE)
    fields = job.run_config_schema.config_type.fields["ops"].config_type.fields["decide"].config_type.fields["config"]
    form = fields.config_type.fields
    assert set(form) == {"version", "decision", "reviewer", "reason"}
    assert all(field.description for field in form.values())
    assert {name for name, field in form.items() if field.is_required} == {"version", "decision", "reviewer"}


def test_an_approval_by_form_makes_it_champion(backend: Backend) -> None:
    version = backend.waiting(0).version
    result = launch(backend, version=version, decision="approve", reviewer="alice", reason="fine")
    assert result.success
    release = backend.ledger.release_by_version(version)
    assert (backend.serving(), release.decided_by) == (version, "alice")
    assert release.decided_via == "Dagster UI, unverified"


def test_a_rejection_by_form_keeps_the_champion(backend: Backend) -> None:
    champion, candidate = backend.champion(0), backend.waiting(1)
    assert launch(backend, version=candidate.version, decision="reject", reviewer="alice", reason="no").success
    assert (backend.serving(), backend.states()[candidate.version]) == (champion.version, "rejected")


@pytest.mark.parametrize(
    ("promotion", "form", "expected"),
    [
        ({}, {"decision": "reject", "reviewer": "alice"}, "without a reason"),
        ({}, {"decision": "approve", "reviewer": "alice", "version": 9}, "no release of version 9"),
        ({"reviewers": ["bob"]}, {"decision": "approve", "reviewer": "mallory"}, "mallory is not a reviewer"),
        (
            {"reviewers": [{"name": "bob", "os_user": "root"}]},
            {"decision": "approve", "reviewer": "bob"},
            "bob has not proven to be bob",
        ),
        (
            {"reviewers": ["bob"], "require_verified": True},
            {"decision": "approve", "reviewer": "bob"},
            "present your own token",
        ),
    ],
    ids=["no reason", "no such version", "a stranger", "a reviewer who could prove it elsewhere", "proof is required"],
)
def test_a_refusal_fails_the_run_in_words_and_is_recorded(
    backend: Backend, promotion: dict[str, Any], form: dict[str, Any], expected: str
) -> None:
    version = backend.waiting(0).version
    assert expected in failure(launch(backend, promotion, **{"version": version, "reason": "", **form}))
    assert backend.states() == {version: "awaiting_approval"}
    assert backend.kinds(EventKind.DECISION_REFUSED) == ["decision_refused"]


def test_the_second_form_names_who_decided(backend: Backend) -> None:
    version = backend.waiting(0).version
    assert launch(backend, version=version, decision="approve", reviewer="alice", reason="").success
    assert "it was promoted by alice" in failure(
        launch(backend, version=version, decision="reject", reviewer="bob", reason="no")
    )


ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


def test_an_outage_during_a_decision_is_reported_and_ended_by_the_next_decision(backend: Backend) -> None:
    version, instance = backend.waiting(0).version, dg.DagsterInstance.ephemeral()
    outbox = open_outbox(settings_of(backend))
    form = {"version": version, "decision": "approve", "reviewer": "alice", "reason": "fine"}
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    assert not launch(backend, registry=nowhere, instance=instance, **form).success
    (failed,) = backend.ledger.events(EventKind.DECISION_FAILED)
    assert (failed.payload["category"], failed.payload["cause"]) == ("dependency", "dependency:decision")
    (open_,) = outbox.open_notices()
    assert (open_.notice.title, open_.notice.severity) == (
        "A dependency did not answer: decision by form",
        "critical",
    )
    assert notify_unreported(instance, open_outcomes(settings_of(backend)), ALWAYS) == [], "the hook has recorded it"
    assert launch(backend, instance=instance, **form).success
    assert backend.serving() == version
    assert outbox.open_notices() == []


def test_a_refusal_is_for_the_requester_and_no_alert(backend: Backend) -> None:
    version, instance = backend.waiting(0).version, dg.DagsterInstance.ephemeral()
    refused = {"version": version, "decision": "approve", "reviewer": "mallory", "reason": "mine"}
    assert not launch(backend, {"reviewers": ["bob"]}, instance=instance, **refused).success
    assert not launch(backend, instance=instance, **{**refused, "version": 9}).success
    assert notify_unreported(instance, open_outcomes(settings_of(backend)), ALWAYS) == []
    assert backend.kinds(EventKind.DECISION_FAILED) == []
    assert open_outbox(settings_of(backend)).open_notices() == []
