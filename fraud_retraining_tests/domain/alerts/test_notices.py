"""A notice says what failed in whole sentences, and a success resolves only the notices that it is about."""

from datetime import date

import pytest

from fraud_retraining.domain.alerts.notices import Job, Passed, Success, gate_lines, remaining_notice, sentences
from fraud_retraining.domain.evaluation.gates import GateResult
from fraud_retraining_tests.support.notices import AS_OF, a_notice

D1, D2 = date(2026, 11, 1), date(2026, 11, 2)


def test_a_failed_gate_says_by_how_much_and_when_it_last_passed() -> None:
    failed = [
        GateResult(name="floor", passed=False, value=0.231, threshold=0.3, margin=-0.069, message="too low"),
        GateResult(name="leakage", passed=False, message="raised KeyError"),
    ]
    assert gate_lines(failed, {"floor": Passed(0.4123, AS_OF)}) == (
        "floor: 0.231 against 0.3, missed by 0.069; last passed with 0.4123 as of 2026-11-20",
        "leakage: raised KeyError; has not passed before",
    )


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("it failed its gates", "version 11 serves"), "It failed its gates. Version 11 serves."),
        (("Done.", "", "why so? ", "average_precision: 0.3"), "Done. Why so? average_precision: 0.3."),
        (("`resume` lets it go on", "see:"), "`resume` lets it go on. See:"),
        ((), ""),
    ],
)
def test_parts_of_a_message_do_not_run_together(parts: tuple[str, ...], joined: str) -> None:
    assert sentences(*parts) == joined


@pytest.mark.parametrize(
    ("job", "success", "resolved"),
    [
        ("clean", Success(job="clean"), True),
        ("clean", Success(job="retrain", as_of=AS_OF), False),
        ("retrain", Success(job="retrain", as_of=AS_OF), True),
        ("retrain", Success(job="retrain", as_of=D1), False),
        ("ingest", Success(job="retrain", as_of=AS_OF), False),
    ],
)
def test_a_success_resolves_the_notices_of_its_job_up_to_its_day(job: Job, success: Success, resolved: bool) -> None:
    notice = a_notice().model_copy(update={"job": job, "as_of": AS_OF, "days": ()})
    assert remaining_notice(notice, success) == (None if resolved else notice)


def test_an_ingest_resolves_a_notice_day_by_day() -> None:
    notice = a_notice().model_copy(update={"job": "ingest", "days": (D1, D2)})
    left = remaining_notice(notice, Success(job="ingest", days=(D1,)))
    assert left is not None and left.days == (D2,)
    assert remaining_notice(left, Success(job="ingest", days=(D1,))) == left
    assert remaining_notice(left, Success(job="monitor", days=(D2,))) == left, "monitoring ingests nothing"
    assert remaining_notice(left, Success(job="ingest", days=(D2,))) is None
