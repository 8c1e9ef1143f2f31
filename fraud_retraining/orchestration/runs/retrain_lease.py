"""The lease of a run that makes it the only retrain, with the clock of its budget; as-of assets check both.

Here: taking the lease at the first as-of asset of a run (or waiting for it), keeping it, checking the budget, and the
entry in the ledger when the run ends. Not here: the rules (`domain/retraining/lease_rules.py`,
`domain/retraining/budget.py`).
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import dagster as dg

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.leases import Heartbeat, Leases
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.budget import (
    Allowance,
    BudgetPolicy,
    Ending,
    Rounds,
    allowance,
    require_projection,
    require_time,
)
from fraud_retraining.domain.retraining.lease_rules import Lease, LeasePolicy, Owner, Purpose
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.errors import Busy
from fraud_retraining.orchestration.names import (
    INGEST_SECONDS_TAG,
)
from fraud_retraining.orchestration.runs.spending import (
    CHANNEL,
    FinishedRetrain,
    past_spendings,
    record_finished,
    record_lost,
)
from fraud_retraining.orchestration.tags import as_of_day, trigger_of

POLL_SECONDS = 5.0
INGEST_STAGE = "ingest"
LOG = logging.getLogger("fraud_retraining.lease")


@dataclass(frozen=True)
class RunRequester:
    """The run that requests the lease. `ingest_seconds` were spent before it on the days that it needs."""

    run_id: str
    as_of: date | None
    trigger: str
    ingest_seconds: float = 0.0


@dataclass(frozen=True)
class LeaseRules:
    """The budget of a retrain, what it does while another one runs, and the timing of leases."""

    budget: BudgetPolicy
    when_busy: Literal["skip", "queue"] = "skip"
    policy: LeasePolicy | None = None


@dataclass
class Held:
    """The lease while it is held: since when on this process's clock, its allowed time, and time by stage."""

    lease: Lease
    heartbeat: Heartbeat
    began: float
    allowed: Allowance | None = None
    stages: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    stage_began: float = 0.0
    first_round: tuple[int, float] = (0, 0.0)


class RetrainLease:
    """Held from the first as-of asset of a run to the run's end; holding it again costs nothing."""

    def __init__(
        self,
        ledger: Ledger,
        requester: RunRequester,
        rules: LeaseRules,
        *,
        # A wall clock that is set while a retrain runs would use up its budget, or give it more.
        clock: Callable[[], float] = time.monotonic,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._requester = requester
        self._budget = rules.budget
        self._when_busy = rules.when_busy
        self._leases: Leases = ledger.retrain_lease(rules.policy)
        self._clock = clock
        self._notify = notify
        self._held: Held | None = None
        self._outcome: RetrainStatus | None = None

    def hold(self, stage: str = "") -> Lease:
        """Return the lease, taken at the first call. Writes to the ledger pass it on, so that a lost lease stops them.

        `stage` names the stage that begins now, for the time by stage; empty: the stage before goes on.

        Raises:
            Busy: another retrain is under way, and this one does not wait, or has waited too long.
            Conflict: the lease was lost: this process was stopped, or could not reach the database, for too long.
            BudgetExceeded: the month's budget is used up, or this retrain's time is.
        """
        if self._held is None:
            self._held = self._begin()
        held = self._held
        # First: once the lease is lost, nothing may be written, whatever the budget says.
        held.heartbeat.require()
        if stage and stage != held.stage:
            held.stages, held.stage, held.stage_began = self._by_stage(held), stage, self._clock()
        require_time(self._allowed(held), self._elapsed(held), self._by_stage(held))
        return held.lease

    def on_round(self, done: int, total: int) -> None:
        """Checks lease and time after each round of boosting.

        Raises:
            Conflict: the lease was lost.
            BudgetExceeded: time is up, or will be before boosting ends.
        """
        self.hold()
        assert self._held is not None
        held, elapsed = self._held, self._elapsed(self._held)
        # The first round also pays for binning the rows: later rounds are projected from the time after it.
        if done <= max(held.first_round[0], 1):
            held.first_round = (done, elapsed)
        first, at = held.first_round
        rounds = Rounds(done=done, total=total, timed=done - first, seconds=elapsed - at)
        require_projection(self._allowed(held), elapsed, rounds, self._by_stage(held))

    def record_outcome(self, outcome: RetrainStatus) -> None:
        """Keeps the outcome of the retrain, for the ledger."""
        self._outcome = outcome

    def close(self, failure: str | None) -> None:
        """Records the end of the run in the ledger and releases the lease; does nothing if it was never taken.

        `failure` is the kind of error that ended the run, if one did.
        """
        if self._held is None:
            return
        held, self._held = self._held, None
        # A beat that is under way could otherwise renew the lease after it was given back.
        held.heartbeat.stop()
        finished = FinishedRetrain(
            dagster_run_id=self._requester.run_id,
            status=Ending.FAILED if failure else self._outcome or Ending.INCOMPLETE,
            seconds=self._elapsed(held),
            trigger=self._requester.trigger,
            as_of=self._requester.as_of,
            error=failure,
            stages=self._by_stage(held),
        )
        # Recorded before the lease is free: the next retrain must count what this one has spent.
        record_finished(self._ledger, self._budget, finished)
        self._leases.give_back(held.lease)

    def _elapsed(self, held: Held) -> float:
        """Seconds of the retrain so far; the ingest of its missing days, before the run, counts."""
        return self._clock() - held.began + self._requester.ingest_seconds

    def _by_stage(self, held: Held) -> dict[str, float]:
        if not held.stage:
            return dict(held.stages)
        spent = held.stages.get(held.stage, 0.0) + self._clock() - held.stage_began
        return {**held.stages, held.stage: spent}

    def _allowed(self, held: Held) -> Allowance:
        if held.allowed is None:
            # Once a retrain: what other retrains spend meanwhile does not shorten this one.
            held.allowed = allowance(self._budget, past_spendings(self._ledger), held.lease.taken_at)
        return held.allowed

    def _begin(self) -> Held:
        lease = self._take()
        heartbeat = Heartbeat(self._leases, lease)
        heartbeat.start()
        spent = {INGEST_STAGE: self._requester.ingest_seconds} if self._requester.ingest_seconds else {}
        return Held(lease, heartbeat, began=self._clock(), stages=spent)

    def _take(self) -> Lease:
        """The lease, now or as soon as it is free; a retrain waits no longer than a retrain may take."""
        requested_at, reported = self._clock(), False
        while True:
            try:
                return self._try()
            except Busy as busy:
                if not self._waits() or self._clock() - requested_at >= self._budget.max_seconds:
                    raise self._skipped(busy) from None
                if not reported:
                    self._report(f"waiting: {busy.what}: {'; '.join(busy.culprits)}")
                    reported = True
            time.sleep(min(POLL_SECONDS, self._leases.policy.beat_seconds))

    def _report(self, message: str) -> None:
        """To the log of the process, and to the log of the run."""
        LOG.info(message)
        if self._notify is not None:
            self._notify(message)

    def _waits(self) -> bool:
        """Whether to wait for the holder of the lease.

        A backfill waits under every policy, because each of its days was requested; and every run waits for a
        clean-up, which is short.
        """
        if self._when_busy == "queue" or self._requester.trigger == Trigger.BACKFILL:
            return True
        holder = self._leases.holder()
        return holder is None or holder.purpose.work == "clean"

    def _try(self) -> Lease:
        owner = Owner(run_id=self._requester.run_id, process=this_process())
        lost = self._leases.abandoned()
        # Taking the lease removes the last sign of a retrain that died: its time is recorded first.
        if lost is not None and lost.owner is not None and lost.owner.run_id != owner.run_id:
            record_lost(self._ledger, self._budget, lost)
        return self._leases.take(owner, Purpose(as_of=self._requester.as_of, trigger=self._requester.trigger))

    def _skipped(self, busy: Busy) -> Busy:
        self._ledger.append_once(
            EventKind.RETRAIN_SKIPPED,
            keys=EventKeys(subject=self._requester.run_id, as_of=self._requester.as_of),
            payload={"trigger": self._requester.trigger, "what": busy.what, "culprits": busy.culprits},
            actor="pipeline",
            channel=CHANNEL,
        )
        return busy


def requester_of(run: dg.DagsterRun) -> RunRequester:
    """The requester, from the tags of the run."""
    return RunRequester(
        run.run_id, as_of_day(run.tags), trigger_of(run.tags), _seconds(run.tags.get(INGEST_SECONDS_TAG, "0"))
    )


def _seconds(tag: str) -> float:
    """Seconds in the run's tag; 0 for a tag that is no finite number."""
    try:
        seconds = float(tag)
    except ValueError:
        return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def failure_of(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The kind of error that made a step of the run fail; None if none failed."""
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1, ascending=False)
    for record in found.records:
        event = record.event_log_entry.dagster_event
        error = event.step_failure_data.error if event else None
        # Dagster wraps the error of a step; the innermost one says what happened.
        while error is not None and error.cause is not None:
            error = error.cause
        return error.cls_name if error is not None and error.cls_name else "error"
    return None
