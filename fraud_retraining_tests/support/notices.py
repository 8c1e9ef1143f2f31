"""Notices as values, for tests."""

from datetime import date
from typing import Any

from fraud_retraining.domain.alerts.failures import About, Category, ErrorText, Failure, Judgement, failure_of
from fraud_retraining.domain.alerts.notices import Job, LinkPolicy, Notice, Occasion, failure_notice

AS_OF = date(2026, 11, 20)
FINGERPRINT = "f00d" * 16
LINKS = LinkPolicy(dagster="https://dagster.example", mlflow="https://mlflow.example", runbook="https://docs.example/r")


def a_failure(category: Category, **about: Any) -> Failure:
    about = about or {"as_of": AS_OF}
    return failure_of(Judgement(category), About(**about), ErrorText(f"{category} happened", "Error", ["one", "two"]))


def an_occasion(job: Job = "retrain", **more: Any) -> Occasion:
    values: dict[str, Any] = {
        "model": "fraud_detector",
        "job": job,
        "as_of": AS_OF if job == "retrain" else None,
        "trigger": "schedule",
        "window": "2026-10-07 to 2026-11-05, holdout 2026-11-06 to 2026-11-13",
        "serving": "version 7, as of 2026-11-18, keeps serving",
        "dagster_run_id": "run-1",
    }
    return Occasion(**{**values, **more})


def a_notice(category: Category = Category.DEPENDENCY, job: Job = "retrain", **more: Any) -> Notice:
    occasion = an_occasion(job, **more)
    about = {"as_of": occasion.as_of, "days": occasion.days, "fingerprint": occasion.fingerprint}
    return failure_notice(a_failure(category, **about), occasion, LINKS)
