"""A run's claim to be the only retrain: taken once, watched over, and entered in the ledger when the run ends."""

import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy, Owner, Purpose
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.values.errors import BudgetExceeded, Busy, Conflict
from fraud_retraining.orchestration.runs.resource_definitions import retrain_lease
from fraud_retraining.orchestration.runs.retrain_lease import LeaseRules, RetrainLease, RunRequester, requester_of
from fraud_retraining.orchestration.runs.spending import FinishedRetrain, record_finished
from fraud_retraining.settings import Settings

AS_OF = date(2026, 11, 23)
SHORT = LeasePolicy(expires_seconds=1.2)


class Clock:
    """Time as a test lets it pass."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def lease_of(ledger: Ledger, run: str = "a", **more: Any) -> RetrainLease:
    rules = LeaseRules(**{"budget": BudgetPolicy(), **{k: v for k, v in more.items() if k != "clock"}})
    clock = {"clock": more["clock"]} if "clock" in more else {}
    return RetrainLease(ledger, RunRequester(run, AS_OF, "schedule+drift"), rules, **clock)


def finished(ledger: Ledger) -> list[tuple[str, str]]:
    """Run and status of every retrain that the ledger says has ended."""
    events = ledger.events(EventKind.RETRAIN_FINISHED)
    return [(event.payload["dagster_run_id"], event.payload["status"]) for event in events]


def only(ledger: Ledger, kind: EventKind) -> Event:
    (event,) = ledger.events(kind)
    return event


class TestHolding:
    def test_takes_it_once_and_asking_again_is_free(self, ledger: Ledger) -> None:
        lease = lease_of(ledger)
        assert lease.hold() == lease.hold()
        lease.close(None)

    def test_a_run_that_never_held_it_leaves_nothing(self, ledger: Ledger) -> None:
        lease_of(ledger).close("SomeError")
        assert finished(ledger) == []
        assert ledger.retrain_lease().take(Owner(run_id="b", process=this_process()), Purpose()).token == 1

    def test_the_end_is_entered_once_with_what_it_took(self, ledger: Ledger) -> None:
        clock = Clock()
        lease = lease_of(ledger, budget=BudgetPolicy(price_per_hour=12), clock=clock)
        lease.hold()
        lease.record_outcome(RetrainStatus.PROMOTED)
        clock.seconds = 1800
        lease.close(None)
        lease.close(None)
        event = only(ledger, EventKind.RETRAIN_FINISHED)
        assert event.as_of == AS_OF
        assert event.payload == {
            "dagster_run_id": "a",
            "trigger": "schedule+drift",
            "status": "promoted",
            "error": None,
            "seconds": 1800.0,
            "cost": 6.0,
            "stages": {},
        }
        assert ledger.retrain_lease().holder() is None

    @pytest.mark.parametrize(
        ("outcome", "failure", "status"),
        [
            (None, None, "incomplete"),
            (None, "GateFailed", "failed"),
            (RetrainStatus.AWAITING_APPROVAL, "OSError", "failed"),
            (RetrainStatus.ALREADY_TRAINED, None, "already_trained"),
        ],
        ids=["only some assets", "failed", "failed after the release", "nothing new"],
    )
    def test_the_end_says_how(
        self, ledger: Ledger, outcome: RetrainStatus | None, failure: str | None, status: str
    ) -> None:
        lease = lease_of(ledger)
        lease.hold()
        if outcome is not None:
            lease.record_outcome(outcome)
        lease.close(failure)
        payload = only(ledger, EventKind.RETRAIN_FINISHED).payload
        assert (payload["status"], payload["error"]) == (status, failure)

    def test_of_two_records_of_one_run_the_first_counts(self, ledger: Ledger) -> None:
        reported = [
            record_finished(ledger, BudgetPolicy(), FinishedRetrain("a", status, seconds=1, trigger="manual"))
            for status in ("lost", "promoted")
        ]
        assert reported[1] is None
        assert finished(ledger) == [("a", "lost")]


class TestStages:
    def test_the_ingest_before_the_run_counts_and_time_is_recorded_by_stage(self, ledger: Ledger) -> None:
        clock = Clock()
        requester = RunRequester("a", AS_OF, "manual", ingest_seconds=100.0)
        rules = LeaseRules(BudgetPolicy(max_hours=180 / 3600, price_per_hour=36))
        lease = RetrainLease(ledger, requester, rules, clock=clock)
        lease.hold("training_window")
        clock.seconds = 10
        lease.hold("fraud_model")
        clock.seconds = 60
        lease.hold("model_evaluation")
        lease.hold()
        clock.seconds = 81
        with pytest.raises(BudgetExceeded, match=r"took 3 min|took 181") as refused:
            lease.hold()
        spent = "spent on ingest 100.0 s, training_window 10.0 s, fraud_model 50.0 s, model_evaluation 21.0 s"
        assert spent in refused.value.culprits
        lease.close("BudgetExceeded")
        reported = only(ledger, EventKind.RETRAIN_FINISHED).payload
        assert (reported["seconds"], reported["cost"]) == (181.0, 1.81)
        assert reported["stages"]["model_evaluation"] == 21.0

    @pytest.mark.parametrize(("tag", "seconds"), [("12.5", 12.5), ("-3", 0), ("nan", 0), ("inf", 0), ("soon", 0)])
    def test_a_tag_that_says_no_seconds_costs_nothing(self, tag: str, seconds: float) -> None:
        run = dg.DagsterRun(job_name="retrain", tags={"fraud_retraining/ingest_seconds": tag})
        assert requester_of(run).ingest_seconds == seconds


class TestTheSecondOne:
    def test_is_skipped_by_name_and_the_ledger_says_so(self, ledger: Ledger) -> None:
        first, second = lease_of(ledger), lease_of(ledger, "b")
        first.hold()
        for _ in range(2):
            with pytest.raises(Busy, match="run a"):
                second.hold()
        second.close("Busy")
        event = only(ledger, EventKind.RETRAIN_SKIPPED)
        assert (event.subject, event.as_of, event.payload["trigger"]) == ("b", AS_OF, "schedule+drift")
        assert "run a" in event.payload["culprits"][0]
        assert finished(ledger) == [], "it was not begun"
        first.hold()
        first.close(None)

    @pytest.mark.parametrize(
        ("trigger", "when_busy"), [("schedule", "queue"), ("backfill", "skip")], ids=["policy", "backfill"]
    )
    def test_waits_for_its_turn_where_the_policy_says_so_or_it_is_a_backfill(
        self, ledger: Ledger, trigger: str, when_busy: str
    ) -> None:
        messages: list[str] = []
        first = lease_of(ledger, policy=SHORT)
        rules = LeaseRules(BudgetPolicy(), when_busy, SHORT)
        second = RetrainLease(ledger, RunRequester("b", AS_OF, trigger), rules, notify=messages.append)
        token = first.hold().token
        ending = threading.Timer(1.5, first.close, [None])
        ending.start()
        assert second.hold().token == token + 1
        ending.join()
        second.close(None)
        assert finished(ledger) == [("a", "incomplete"), ("b", "incomplete")]
        assert len(messages) == 1
        assert "waiting: another retrain is under way: run a" in messages[0]

    def test_waits_no_longer_than_a_retrain_may_take(self, ledger: Ledger) -> None:
        first = lease_of(ledger)
        second = lease_of(ledger, "b", when_busy="queue", budget=BudgetPolicy(max_hours=0.5 / 3600), policy=SHORT)
        first.hold()
        with pytest.raises(Busy):
            second.hold()
        assert only(ledger, EventKind.RETRAIN_SKIPPED).subject == "b"
        first.close(None)

    def test_waits_for_a_clean_up_under_every_policy(self, ledger: Ledger) -> None:
        leases = ledger.retrain_lease(SHORT)
        cleaning = leases.take(Owner(run_id="clean", process=this_process()), Purpose(work="clean"))
        ending = threading.Timer(0.5, leases.give_back, [cleaning])
        ending.start()
        lease = lease_of(ledger, policy=SHORT)
        assert lease.hold().token == 2
        lease.close(None)
        ending.join()
        assert finished(ledger) == [("a", "incomplete")]


class TestTheLostOne:
    def test_is_entered_by_the_next_and_refused_when_it_goes_on(self, ledger: Ledger) -> None:
        silent = Owner(run_id="silent", process=this_process())
        ledger.retrain_lease(SHORT).take(silent, Purpose(as_of=AS_OF, trigger="schedule"))
        time.sleep(SHORT.expires_seconds)
        lease = lease_of(ledger, policy=SHORT)
        lease.hold()
        lease.close(None)
        assert finished(ledger) == [("silent", "lost"), ("a", "incomplete")]
        event = next(iter(ledger.events(EventKind.RETRAIN_FINISHED)))
        assert (event.as_of, event.payload["trigger"]) == (AS_OF, "schedule")

    def test_a_run_that_goes_on_in_another_process_was_not_lost(self, ledger: Ledger) -> None:
        elsewhere = this_process().model_copy(update={"pid": 1, "started": "never"})
        ledger.retrain_lease().take(Owner(run_id="a", process=elsewhere), Purpose())
        lease = lease_of(ledger)
        assert lease.hold().token == 2
        lease.close(None)
        assert finished(ledger) == [("a", "incomplete")]


class TestTheBudget:
    def test_of_time_ends_it_between_stages(self, ledger: Ledger) -> None:
        clock = Clock()
        lease = lease_of(ledger, budget=BudgetPolicy(max_hours=1), clock=clock)
        lease.hold()
        clock.seconds = 3601
        with pytest.raises(BudgetExceeded, match="may take 60 min"):
            lease.hold()
        lease.close("BudgetExceeded")
        assert only(ledger, EventKind.RETRAIN_FINISHED).payload["error"] == "BudgetExceeded"

    def test_of_time_ends_boosting_when_its_end_is_foreseen_too_late(self, ledger: Ledger) -> None:
        clock = Clock()
        lease = lease_of(ledger, budget=BudgetPolicy(max_hours=1), clock=clock)
        lease.hold()
        clock.seconds = 600
        requested = []
        with pytest.raises(BudgetExceeded, match="would take"):
            for done in range(1, 101):
                clock.seconds += 60
                requested.append(done)
                lease.on_round(done, 100)
        assert requested[-1] == 11, "ten timed rounds are enough to know"
        lease.close("BudgetExceeded")

    def test_a_fit_that_begins_again_is_timed_again(self, ledger: Ledger) -> None:
        clock = Clock()
        lease = lease_of(ledger, budget=BudgetPolicy(max_hours=1), clock=clock)
        for _ in range(2):
            for done in range(1, 21):
                clock.seconds += 1
                lease.on_round(done, 20)
            clock.seconds += 1000
        lease.close(None)

    def test_of_the_month_refuses_the_retrain_and_lets_the_lease_go(self, ledger: Ledger) -> None:
        budget = BudgetPolicy(max_monthly_cost=10, price_per_hour=100)
        record_finished(ledger, budget, FinishedRetrain("x", "promoted", seconds=3600, trigger="manual"))
        lease = lease_of(ledger, budget=budget)
        with pytest.raises(BudgetExceeded, match="used up"):
            lease.hold()
        lease.close("BudgetExceeded")
        assert finished(ledger)[-1] == ("a", "failed")
        assert ledger.retrain_lease().holder() is None


def runs(ledger: Ledger, work: Callable[[RetrainLease], object], **more: Any) -> dg.ExecuteInProcessResult:
    """A Dagster run whose one step does `work` with the resource."""

    @dg.op(required_resource_keys={"retrain_lease"}, **more)
    def step(context: dg.OpExecutionContext) -> None:
        work(context.resources.retrain_lease)

    @dg.job(
        executor_def=dg.in_process_executor,
        resource_defs={
            "ledger": dg.ResourceDefinition.hardcoded_resource(ledger),
            "retrain_lease": retrain_lease(Settings(), SHORT),
        },
    )
    def job() -> None:
        step()

    return job.execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), raise_on_error=False, tags={"trigger": "drift", "as_of": str(AS_OF)}
    )


class TestAsAResource:
    def test_a_run_that_ends_well_is_entered_under_its_tags(self, ledger: Ledger) -> None:
        def work(lease: RetrainLease) -> None:
            lease.hold()
            lease.record_outcome(RetrainStatus.PROMOTED)

        done = runs(ledger, work)
        assert done.success
        event = only(ledger, EventKind.RETRAIN_FINISHED)
        assert (event.subject, event.as_of, event.payload["trigger"]) == (done.run_id, AS_OF, "drift")
        assert event.payload["status"] == "promoted"

    def test_a_run_that_fails_is_entered_with_the_kind_of_error(self, ledger: Ledger) -> None:
        def work(lease: RetrainLease) -> None:
            lease.hold()
            raise Conflict("another run was first")

        assert not runs(ledger, work).success
        payload = only(ledger, EventKind.RETRAIN_FINISHED).payload
        assert (payload["status"], payload["error"]) == ("failed", "Conflict")
        assert ledger.retrain_lease().holder() is None

    def test_a_run_that_is_interrupted_has_failed(self, ledger: Ledger) -> None:
        def work(lease: RetrainLease) -> None:
            lease.hold()
            raise KeyboardInterrupt

        assert not runs(ledger, work).success
        assert only(ledger, EventKind.RETRAIN_FINISHED).payload["status"] == "failed"
        assert ledger.retrain_lease().holder() is None

    def test_a_step_that_is_tried_again_holds_the_same_lease(self, ledger: Ledger) -> None:
        tokens: list[int] = []

        def work(lease: RetrainLease) -> None:
            tokens.append(lease.hold().token)
            if len(tokens) == 1:
                raise OSError("for a moment")
            lease.record_outcome(RetrainStatus.PROMOTED)

        assert runs(ledger, work, retry_policy=dg.RetryPolicy(max_retries=1)).success
        assert tokens == [1, 1]
        assert only(ledger, EventKind.RETRAIN_FINISHED).payload["status"] == "promoted"

    def test_a_run_that_does_not_retrain_holds_nothing(self, ledger: Ledger) -> None:
        assert runs(ledger, lambda lease: None).success
        assert finished(ledger) == []
