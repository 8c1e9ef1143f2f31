"""What triggers that fire together come to, and what a running, failed, paused or unfinished retrain changes."""

from datetime import date, timedelta
from typing import Any

import pytest

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.retraining.triggers.decision import (
    INTEGRITY,
    begins_again,
    decide,
    first_reason,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.new_data import NewDataTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import (
    Failed,
    Pause,
    Paused,
    Retrain,
    Running,
    Skip,
    Trigger,
    Unfinished,
)
from fraud_retraining_tests.support.trigger_inputs import DAY, LAST, LATE, ONLY_SCHEDULE, drifting, known


def test_triggers_that_fire_together_make_one_retrain_as_of_the_latest_day_that_names_them_all() -> None:
    ready = {date(2024, 2, 28): "grid", date(2024, 2, 29): "latest"}
    decision = decide(TriggerPolicy(), known(ready=ready, drift=drifting(0.3, 0.3)))
    assert isinstance(decision, Retrain)
    assert decision.triggers == (Trigger.SCHEDULE, Trigger.DRIFT)
    assert (decision.as_of, decision.inputs) == (date(2024, 2, 29), "latest")
    assert "schedule: " in decision.reason
    assert "drift: " in decision.reason


def test_a_trigger_that_comes_while_a_retrain_runs_is_kept() -> None:
    busy = Running(as_of=LAST, since=LATE - timedelta(hours=1), by="Dagster run 1234")
    skipped = decide(ONLY_SCHEDULE, known(running=busy))
    assert isinstance(skipped, Skip)
    assert "under way since 2024-02-29 01:00 UTC (Dagster run 1234)" in skipped.reason
    assert isinstance(decide(ONLY_SCHEDULE, known()), Retrain)


def failure(minutes: int, cause: str = "unexpected: ValueError", inputs: str = "abc") -> Failed:
    return Failed(at=LATE - timedelta(minutes=minutes), as_of=date(2024, 2, 28), cause=cause, inputs=inputs)


@pytest.mark.parametrize(
    ("failed", "kind", "why"),
    [
        ((failure(5),), Skip, "the next try comes ten minutes after the last"),
        ((failure(11),), Retrain, "one failure is tried again"),
        ((failure(30), failure(11)), Pause, "two with the same cause"),
        ((failure(30), failure(11, cause="other")), Retrain, "two with different causes"),
        ((failure(30, inputs="old"), failure(20, inputs="old")), Retrain, "another input"),
    ],
)
def test_a_retrain_that_failed_is_not_tried_again_and_again(failed: tuple[Failed, ...], kind: type, why: str) -> None:
    assert isinstance(decide(ONLY_SCHEDULE, known(failed=failed)), kind), why


def left(as_of: date = date(2024, 2, 27), *triggers: Trigger, **more: Any) -> Unfinished:
    return Unfinished(as_of=as_of, triggers=triggers or (Trigger.DRIFT,), cause="worker_died", **more)


EARLIER, NEWER = date(2024, 2, 27), date(2024, 2, 28)


BOTH_READY = {EARLIER: "earlier", NEWER: "newer"}


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_retrain_that_died_keeps_its_window_whatever_requested_it_though_a_day_has_arrived(trigger: Trigger) -> None:
    policy = TriggerPolicy(drift=DriftTriggerPolicy(), new_data=NewDataTriggerPolicy(rows=1))
    more = {"reason": "why it was asked for", "drift_since": EARLIER if trigger is Trigger.DRIFT else None}
    given = {"ready": BOTH_READY, "drift": drifting(0.3, 0.3), "new_rows": 5, "now": LATE - DAY}
    again = decide(policy, known(unfinished=left(EARLIER, trigger, **more), **given))
    assert isinstance(again, Retrain)
    assert (again.as_of, again.triggers, again.inputs) == (EARLIER, (trigger,), "earlier")
    assert again.reason == "again as of 2024-02-27, as the last try ended with worker_died: why it was asked for"
    assert first_reason(again.reason) == "why it was asked for"
    assert again.drift_since == more["drift_since"]
    other = decide(policy, known(**given))
    assert isinstance(other, Retrain) and other.as_of == NEWER, "without it, the latest day"


@pytest.mark.parametrize(
    ("changes", "as_of", "why"),
    [
        ({"last_as_of": EARLIER}, NEWER, "it was answered meanwhile"),
        ({"ready": {NEWER: "newer"}}, NEWER, "its window cannot be built any more"),
        ({"now": LATE}, NEWER, "the next one of the grid is due"),
        ({"last_as_of": None}, EARLIER, "before the first model every day would be due"),
        ({"ready": {NEWER: "newer"}, "unready": {EARLIER: "x"}, "pending": frozenset({EARLIER})}, None, "it waits"),
        ({"running": Running(as_of=EARLIER, since=LATE, by="it")}, None, "one at a time"),
    ],
)
def test_when_an_unfinished_retrain_is_begun_again(changes: dict[str, Any], as_of: date | None, why: str) -> None:
    policy = TriggerPolicy(new_data=NewDataTriggerPolicy(rows=1), drift=None)
    given = {"ready": BOTH_READY, "new_rows": 5, "now": LATE - DAY, **changes}
    decision = decide(policy, known(unfinished=left(), **given))
    assert (decision.as_of if isinstance(decision, Retrain) else None) == as_of, why


@pytest.mark.parametrize(
    ("failed", "kind", "as_of", "why"),
    [
        ((5,), Skip, None, "its retry pause holds the newer day back too"),
        ((11,), Retrain, EARLIER, "then it is tried again"),
        ((30, 11), Retrain, NEWER, "it has had its tries: what a new day brings goes on"),
    ],
)
def test_an_unfinished_retrain_has_its_pause_and_its_tries(
    failed: tuple[int, ...], kind: type, as_of: date | None, why: str
) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, new_data=NewDataTriggerPolicy(rows=1))
    failures = tuple(failure(minutes, "worker_died", "earlier") for minutes in failed)
    decision = decide(policy, known(unfinished=left(), ready=BOTH_READY, new_rows=5, failed=failures))
    assert isinstance(decision, kind), why
    assert getattr(decision, "as_of", None) == as_of, why


@pytest.mark.parametrize(
    ("category", "trigger", "again"),
    [
        (Category.WORKER_DIED, Trigger.MANUAL, True),
        (Category.OUT_OF_RESOURCES, Trigger.SCHEDULE, True),
        (Category.DEPENDENCY, Trigger.PERFORMANCE, True),
        (Category.INTERRUPTED, Trigger.DRIFT, True),
        (Category.INTERRUPTED, Trigger.MANUAL, False),
        (Category.INTERRUPTED, Trigger.BACKFILL, False),
        (Category.DATA_VALIDATION, Trigger.SCHEDULE, False),
        (Category.GATE_FAILED, Trigger.DRIFT, False),
        (Category.INTEGRITY, Trigger.DRIFT, False),
    ],
)
def test_what_is_begun_again(category: Category, trigger: Trigger, again: bool) -> None:
    assert begins_again(category, (trigger,)) is again


def test_paused_automation_stays_so_until_its_input_is_another_one() -> None:
    paused = Paused(since=LATE - timedelta(hours=3), cause="unexpected: ValueError", inputs="abc")
    still = decide(ONLY_SCHEDULE, known(paused=paused))
    assert isinstance(still, Skip)
    assert "paused since 2024-02-28 23:00 UTC" in still.reason
    assert "fraud-retraining resume" in still.reason
    again = decide(ONLY_SCHEDULE, known(paused=paused, ready={date(2024, 2, 28): "delivered again"}))
    assert isinstance(again, Retrain)
    assert again.resumes


def test_an_integrity_failure_pauses_at_once_and_only_a_person_resumes() -> None:
    failed = (failure(300, cause="integrity:f00d", inputs="an older input"),)
    paused = decide(ONLY_SCHEDULE, known(failed=failed))
    assert isinstance(paused, Pause)
    assert (paused.cause, INTEGRITY) == ("integrity:f00d", str(Category.INTEGRITY))
    stopped = Paused(since=LATE - timedelta(hours=3), cause=paused.cause, inputs="abc")
    again = decide(ONLY_SCHEDULE, known(paused=stopped, ready={date(2024, 2, 28): "delivered again"}))
    assert isinstance(again, Skip)
    assert "automation is stopped since" in again.reason
    since_then = (*failed, failure(20, cause="dependency:x"))
    assert isinstance(decide(ONLY_SCHEDULE, known(failed=since_then)), Retrain)


def test_with_every_trigger_off_nothing_is_requested() -> None:
    assert decide(TriggerPolicy(schedule=None, drift=None), known()) == Skip(reason="every trigger is off")
