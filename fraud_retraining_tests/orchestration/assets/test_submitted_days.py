"""Days that a job makes: what it is asked for, what it answers, and that only what the store holds counts as made."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from fraud_retraining.domain.values.errors import (
    DataInvalid,
    DependencyUnreachable,
    IntegrityError,
    RetrainingError,
    SettingsError,
)
from fraud_retraining.orchestration.assets.day_runs import DayParts, DayWork
from fraud_retraining.orchestration.assets.days_job import answered
from fraud_retraining.orchestration.assets.ingestion import transactions_work
from fraud_retraining.orchestration.assets.submitted_days import (
    Refused,
    SubmittedDays,
    as_answer,
    read_answers,
    request_of,
    requested_settings,
)
from fraud_retraining.orchestration.names import TRANSACTIONS
from fraud_retraining.orchestration.resources import open_engine, open_lake, open_store
from fraud_retraining.orchestration.state.inventory import Recipes
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.project_homes import START, ProjectHome

DAYS = [START, START + timedelta(days=1)]


def request(days: Sequence[date], **changes: Any) -> dict[str, Any]:
    """A request as it reaches the job, which then computes by DuckDB."""
    asked = json.loads(json.dumps(request_of(TRANSACTIONS, days, load_settings())))
    return {**asked, "settings": {**asked["settings"], "engine": {"kind": "duckdb"}}, **changes}


def job(days: Sequence[date]) -> Refused:
    refused, error = read_answers([json.loads(json.dumps(answered(request(days), lambda _: None)))])
    if error is not None:
        raise error
    return refused


def work() -> DayWork:
    settings = load_settings()
    return transactions_work(DAYS, DayParts(settings, open_lake(settings), open_store(settings), open_engine(settings)))


def test_a_request_makes_the_same_days_and_holds_no_address_with_a_password(project: ProjectHome) -> None:
    secret = "postgresql://user:hunter2@db/ledger"
    project.configure(
        labels={"delay_days": 3, "fraud_values": ["chargeback", "1"], "genuine_values": ["0"]},
        window={"strategy": "weighted", "days": 9, "recent_days": 2, "recent_weight": 2.5},
        models=[{"name": "large", "where": {"TX_AMOUNT": {"at_least": 12.5}}}],
    )
    settings = load_settings()
    settings = settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"url": secret})})
    asked = json.dumps(request_of(TRANSACTIONS, DAYS, settings))
    assert "hunter2" not in asked
    found = requested_settings(json.loads(asked))
    assert Recipes(found).every() == Recipes(settings).every()
    assert (found.lake_uri, found.store_uri) == (settings.lake_uri, settings.store_uri)
    assert (found.window, found.labels, found.models) == (settings.window, settings.labels, settings.models)


def test_every_day_counts_as_made_only_by_its_record(project: ProjectHome) -> None:
    def half(days: Sequence[date]) -> Refused:
        return job(days[:1])

    with pytest.raises(DependencyUnreachable, match=f"not made transactions of {DAYS[1]}") as caught:
        SubmittedDays(TRANSACTIONS, work(), work, half).ahead(DAYS)
    assert caught.value.days == (DAYS[1],)

    asked: list[Sequence[date]] = []
    days = SubmittedDays(TRANSACTIONS, work(), work, lambda some: asked.append(some) or job(some))  # type: ignore[func-returns-value]
    days.ahead(DAYS)
    assert [days.refresh(day).day for day in DAYS] == DAYS
    SubmittedDays(TRANSACTIONS, work(), work, lambda some: asked.append(some) or job(some)).ahead(DAYS)  # type: ignore[func-returns-value]
    assert asked == [DAYS]


def test_a_day_that_the_job_refuses_is_refused_with_its_reason_and_the_others_stand(project: ProjectHome) -> None:
    table = project.read_day(DAYS[1])
    project.write_day(DAYS[1], table.drop_columns(["TX_AMOUNT"]))
    days = SubmittedDays(TRANSACTIONS, work(), work, job)
    days.ahead(DAYS)
    assert days.refresh(DAYS[0]).facts["rows"] > 0
    with pytest.raises(DataInvalid, match="TX_AMOUNT") as caught:
        days.refresh(DAYS[1])
    assert caught.value.remedy


@pytest.mark.parametrize("kind", [SettingsError, DataInvalid, DependencyUnreachable, IntegrityError])
def test_what_ended_a_job_is_raised_where_it_is_waited_for(kind: type[RetrainingError]) -> None:
    error = kind("what", culprits=["a", "b"], remedy="do", days=DAYS)
    _, found = read_answers(["another message", json.loads(json.dumps(as_answer({}, error)))])
    assert (type(found), str(found)) == (kind, str(error))
    assert found is not None and found.days == error.days


def test_a_job_with_other_code_makes_nothing(project: ProjectHome) -> None:
    refused, error = read_answers([answered(request(DAYS, code="another"), lambda _: None)])
    assert refused == {}
    assert isinstance(error, SettingsError) and "another version" in str(error)
    assert open_store(load_settings()).partitions(TRANSACTIONS, DAYS) == {}
