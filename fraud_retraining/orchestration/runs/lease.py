"""A run's claim to be the only retrain, with its clock: what the as-of assets ask before they go on.

Here: taking the lease at the first as-of asset of a run (or waiting for it), keeping it, watching the budget, and the
entry in the ledger when the run ends. Not here: the rules (`domain/retraining/leases.py`,
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
from fraud_retraining.domain.retraining.leases import Lease, LeasePolicy, Owner, Purpose
from fraud_retraining.domain.retraining.statuses import RetrainStatus
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.errors import Busy
from fraud_retraining.orchestration.names import (
    INGEST_SECONDS_TAG,
)
from fraud_retraining.orchestration.runs.spending import CHANNEL, past_spendings, record_finished, record_lost
from fraud_retraining.orchestration.tags import as_of_of, trigger_of

POLL_SECONDS = 5.0
INGEST_STAGE = "ingest"
LOG = logging.getLogger("fraud_retraining.lease")


@dataclass(frozen=True)
class RunRequester:
    """The run that asks."""

    run_id: str
    as_of: date | None
    trigger: str
    ingest_seconds: float = 0.0


@dataclass
class Held:
    """The lease while it is held, since when on this process's clock, and how long it may be."""

    lease: Lease
    heartbeat: Heartbeat
    began: float
    allowed: Allowance | None = None
    stages: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    stage_began: float = 0.0
    first_round: tuple[int, float] = (0, 0.0)


class RetrainLease:
    """Held from the first as-of asset of a run to the run's end; asking again is free."""

    def __init__(
        self,
        ledger: Ledger,
        asked: RunRequester,
        budget: BudgetPolicy,
        *,
        when_busy: Literal["skip", "queue"] = "skip",
        policy: LeasePolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._asked = asked
        self._budget = budget
        self._when_busy = when_busy
        self._leases: Leases = ledger.retrain_lease(policy)
        self._clock = clock
        self._tell = tell
        self._held: Held | None = None
        self._outcome: RetrainStatus | None = None

    def hold(self, stage: str = "") -> Lease:
        """The lease, taken if this is the first time; what is written under it has to show it.

        `stage` names what begins now, so that time can be told by stage; nothing: the stage before goes on.

        Raises:
            Busy: another retrain is under way, and this one is not to wait, or has waited too long.
            Conflict: the lease was lost: this process was stopped, or could not reach the database, for too long.
            BudgetExceeded: the month's budget is used up, or this retrain's time is.
        """
        if self._held is None:
            self._held = self._begin()
        held = self._held
        held.heartbeat.require()
        if stage and stage != held.stage:
            held.stages, held.stage, held.stage_began = self._by_stage(held), stage, self._clock()
        require_time(self._allowed(held), self._elapsed(held), self._by_stage(held))
        return held.lease

    def on_round(self, done: int, total: int) -> None:
        """Asked after each round of boosting.

        Raises:
            Conflict: the lease was lost.
            BudgetExceeded: time is up, or will be before boosting ends.
        """
        self.hold()
        assert self._held is not None
        held, elapsed = self._held, self._elapsed(self._held)
        if done <= max(held.first_round[0], 1):
            held.first_round = (done, elapsed)
        first, at = held.first_round
        rounds = Rounds(done=done, total=total, timed=done - first, seconds=elapsed - at)
        require_projection(self._allowed(held), elapsed, rounds, self._by_stage(held))

    def came_to(self, outcome: RetrainStatus) -> None:
        """What the retrain came to, for the ledger."""
        self._outcome = outcome

    def close(self, failure: str | None) -> None:
        """The end of the run: entered in the ledger, and the lease given back. Nothing, if it was never taken.

        `failure` is the kind of error that ended the run, if one did.
        """
        if self._held is None:
            return
        held, self._held = self._held, None
        held.heartbeat.stop()
        record_finished(
            self._ledger,
            self._budget,
            dagster_run_id=self._asked.run_id,
            status=Ending.FAILED if failure else self._outcome or Ending.INCOMPLETE,
            seconds=self._elapsed(held),
            trigger=self._asked.trigger,
            as_of=self._asked.as_of,
            error=failure,
            stages=self._by_stage(held),
        )
        self._leases.give_back(held.lease)

    def _elapsed(self, held: Held) -> float:
        """Seconds of the retrain so far; the ingest of its missing days, before the run, counts."""
        return self._clock() - held.began + self._asked.ingest_seconds

    def _by_stage(self, held: Held) -> dict[str, float]:
        if not held.stage:
            return dict(held.stages)
        spent = held.stages.get(held.stage, 0.0) + self._clock() - held.stage_began
        return {**held.stages, held.stage: spent}

    def _allowed(self, held: Held) -> Allowance:
        if held.allowed is None:
            held.allowed = allowance(self._budget, past_spendings(self._ledger), held.lease.taken_at)
        return held.allowed

    def _begin(self) -> Held:
        lease = self._take()
        heartbeat = Heartbeat(self._leases, lease)
        heartbeat.start()
        spent = {INGEST_STAGE: self._asked.ingest_seconds} if self._asked.ingest_seconds else {}
        return Held(lease, heartbeat, began=self._clock(), stages=spent)

    def _take(self) -> Lease:
        """The lease, now or as soon as it is free; a retrain waits no longer than one may take."""
        asked_at, told = self._clock(), False
        while True:
            try:
                return self._try()
            except Busy as busy:
                if not self._waits() or self._clock() - asked_at >= self._budget.max_seconds:
                    raise self._skipped(busy) from None
                if not told:
                    self._say(f"waiting: {busy.what}: {'; '.join(busy.culprits)}")
                    told = True
            time.sleep(min(POLL_SECONDS, self._leases.policy.beat_seconds))

    def _say(self, words: str) -> None:
        """To the run's log, and to whoever watches the process."""
        LOG.info(words)
        if self._tell is not None:
            self._tell(words)

    def _waits(self) -> bool:
        """Whether to wait for whoever holds the lease.

        A backfill waits whatever the policy, because each of its days was asked for; and everybody waits for a
        clean-up, which is soon over.
        """
        if self._when_busy == "queue" or self._asked.trigger == Trigger.BACKFILL:
            return True
        holder = self._leases.holder()
        return holder is None or holder.purpose.work == "clean"

    def _try(self) -> Lease:
        owner = Owner(run_id=self._asked.run_id, process=this_process())
        lost = self._leases.abandoned()
        if lost is not None and lost.owner is not None and lost.owner.run_id != owner.run_id:
            record_lost(self._ledger, self._budget, lost)
        return self._leases.take(owner, Purpose(as_of=self._asked.as_of, trigger=self._asked.trigger))

    def _skipped(self, busy: Busy) -> Busy:
        self._ledger.append_once(
            EventKind.RETRAIN_SKIPPED,
            keys=EventKeys(subject=self._asked.run_id, as_of=self._asked.as_of),
            payload={"trigger": self._asked.trigger, "what": busy.what, "culprits": busy.culprits},
            actor="pipeline",
            channel=CHANNEL,
        )
        return busy


def requester_of(run: dg.DagsterRun) -> RunRequester:
    """Who asks, from the tags of the run."""
    return RunRequester(
        run.run_id, as_of_of(run.tags), trigger_of(run.tags), _seconds(run.tags.get(INGEST_SECONDS_TAG, "0"))
    )


def _seconds(tag: str) -> float:
    """Seconds that the run's tag tells; a tag that says none of it costs nothing."""
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
        while error is not None and error.cause is not None:
            error = error.cause
        return error.cls_name if error is not None and error.cls_name else "error"
    return None
