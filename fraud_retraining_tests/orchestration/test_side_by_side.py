"""Numbers side by side are measured on the same rows, and one difference has one interval, in every channel."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.html import card_html, release_html
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.commands.implementation.audit_tables import print_history
from fraud_retraining.commands.implementation.pipeline import Retrained
from fraud_retraining.commands.implementation.retrain_output import print_retrain, retrain_answer
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.audit.period import retrains_grid
from fraud_retraining.domain.evaluation.gates import NO_CHAMPION, EvaluatedRows, collect_evidence, judge
from fraud_retraining.domain.evaluation.judged import Pair
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.release_messages.slack_request import request_message
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.review.assembly import (
    ReviewContext,
    ReviewedModel,
    ReviewedModels,
    ReviewSubject,
    assemble_review_report,
)
from fraud_retraining.domain.review.model_card import card_markdown, limits
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import metrics_grid
from fraud_retraining.orchestration.evaluation_rendering import evaluation_metadata, flat_metrics
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining_tests.support.ledger_history import with_history
from fraud_retraining_tests.support.pages_read import Read
from fraud_retraining_tests.support.recorded import Record
from fraud_retraining_tests.support.reviews import AS_OF, MATURITY, POLICY, fitted, judged, sampled

CANDIDATE = ("amount", "night", "count", "city")


@pytest.fixture(scope="module")
def shown() -> tuple[Evaluation, ReviewReport]:
    """A candidate judged on four days, two of which the champion has learnt from."""
    candidate, champion = fitted(), fitted("logistic_regression", ("amount", "count", "city"))
    whole = judged(candidate)
    fair = whole.days >= np.unique(whole.days)[2]
    pair = Pair(whole.where(fair), judged(champion).where(fair))
    evidence = collect_evidence(
        POLICY, holdout=EvaluatedRows(whole, pair), importance=candidate.importance(), alerts=NO_CHAMPION
    )
    models = ReviewedModels(
        candidate=ReviewedModel(pair.candidate, candidate),
        champion=ReviewedModel(pair.champion, champion),
        sample=sampled(candidate, champion),
    )
    subject = ReviewSubject(AS_OF, "f" * 64, champion_version=1)
    review_report = assemble_review_report(subject, models, evidence, POLICY, ReviewContext(MATURITY))
    evaluation = Evaluation(
        as_of=AS_OF,
        fingerprint="f" * 64,
        champion_version=1,
        compared_days=(),
        evidence=evidence,
        verdict=judge(POLICY, evidence),
    )
    return evaluation, review_report


@pytest.fixture(scope="module")
def history(shown: tuple[Evaluation, ReviewReport], tmp_path_factory: pytest.TempPathFactory) -> ReleaseHistory:
    folder = tmp_path_factory.mktemp("life")
    store = Store(open_location(str(folder / "store"), s3=None, cache=folder / "cache"), scratch=folder / "scratch")
    reported = read_release_history(with_history(Ledger(f"sqlite:///{folder}/ledger.db"), store), 2)
    return reported.model_copy(update={"evaluation": shown[0]})


def printed(show: Any, *arguments: Any) -> str:
    out = Console(width=300, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 (closed with the process)
    show(*arguments, out)
    return out.export_text()


def test_every_channel_shows_the_same_numbers(shown: tuple[Evaluation, ReviewReport], history: ReleaseHistory) -> None:
    evaluation, review_report = shown
    evidence = evaluation.evidence
    assert evidence.partly_compared
    whole = evidence.candidate.values["average_precision"]
    mine, rival = evidence.beside.values["average_precision"], evidence.champion.values["average_precision"]
    assert abs(whole - mine) > 0.0002, "the rows make a difference, so that a mistake would show"
    difference = evidence.comparison.difference
    assert difference.value == pytest.approx(mine - rival, abs=1e-6)

    reported = flat_metrics(evidence)  # as MLflow keeps them
    assert (reported["average_precision"], reported["champion.average_precision"]) == (mine, rival)
    assert (reported["all_holdout.average_precision"], reported["compared_rows"]) == (whole, evidence.champion.rows)
    assert reported["difference.average_precision.low"] == difference.low

    assert review_report.intervals["average_precision"].difference == difference
    regression = next(gate for gate in evaluation.verdict.gates if gate.name == "no_regression")
    assert (regression.value, regression.numbers["low"], regression.numbers["high"]) == (
        difference.value, difference.low, difference.high,
    )  # fmt: skip
    assert f"average precision {mine:.3f} against the champion's {rival:.3f}" in regression.message

    grid = metrics_grid(evidence.beside, evidence.champion, review_report.intervals)
    row = dict(zip(grid.columns, next(row for row in grid.rows if row[0] == "average_precision"), strict=True))
    assert (row["candidate"], row["champion"]) == (f"{mine:.4f}", f"{rival:.4f}")
    assert row["difference"] == f"{difference.value:+.4f}"
    assert f"{evidence.champion.rows:,} rows" in grid.note

    answer = retrain_answer(
        Retrained(as_of=AS_OF, status=RetrainStatus.AWAITING_APPROVAL, trigger=Trigger.MANUAL, evaluation=evaluation)
    )["metrics"]
    assert (answer["candidate"]["average_precision"], answer["champion"]["average_precision"]) == (mine, rival)
    assert answer["candidate_all_holdout"]["average_precision"] == whole

    metadata = evaluation_metadata(evaluation, review_report)
    assert metadata["average_precision"] == pytest.approx(mine, abs=1e-4)
    assert metadata["champion.average_precision"] == pytest.approx(rival, abs=1e-4)

    for channel, text in texts(evaluation, review_report, history).items():
        assert f"{mine:.4f}" in text and f"{rival:.4f}" in text, channel
        assert f"{difference.low:+.4f}" in text or channel in NO_INTERVALS, channel


NO_INTERVALS = {"Slack", "retrain", "period"}


def texts(evaluation: Evaluation, review_report: ReviewReport, history: ReleaseHistory) -> dict[str, str]:
    done = Retrained(as_of=AS_OF, status=RetrainStatus.AWAITING_APPROVAL, trigger=Trigger.MANUAL, evaluation=evaluation)
    record = Record()
    record.add(EventKind.RETRAIN_REQUESTED, trigger="manual")
    record.add(EventKind.MODEL_EVALUATED, **evaluation.model_dump(mode="json"))
    return {
        "page": " ".join(Read(release_html(history, review_report, None, LinkPolicy())).texts),
        "card": card_markdown(history, review_report),
        "card page": " ".join(Read(card_html(history, review_report)).texts),
        "audit show": printed(print_history, history, review_report),
        "Slack": json.dumps(request_message(history, review_report, LinkPolicy())),
        "retrain": printed(print_retrain, done),
        "period": str(retrains_grid(record.events)),
    }


def test_what_is_said_of_the_difference_has_the_interval_that_the_gate_judged(
    shown: tuple[Evaluation, ReviewReport], history: ReleaseHistory
) -> None:
    difference = shown[0].evidence.comparison.difference
    sentences = [limit for limit in limits(history, shown[1]) if "not shown to be better" in limit]
    assert all(f"{difference.low:+.4f}" in limit for limit in sentences)
