"""Removal of runs, artifacts and history of Dagster that no audit and no rollback needs any more.

Here: reading registry and ledger, and carrying out the retention policy. Not here: the policy
(`domain/audit/retention.py`).
"""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import dagster as dg

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.leases import Heartbeat
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.runs import RunSummary
from fraud_retraining.adapters.mlflow.tags import DAGSTER_RUN, FINGERPRINT
from fraud_retraining.domain.audit.retention import (
    KeptRun,
    KeptVersion,
    PastRun,
    Removal,
    RetentionPolicy,
    forgettable,
    removals,
)
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.budget import Spent
from fraud_retraining.domain.retraining.lease_rules import Owner, Purpose
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Busy
from fraud_retraining.orchestration.names import CLEAN, INPUTS_TAG, MODEL_TAG
from fraud_retraining.orchestration.runs.spending import past_spendings, record_lost
from fraud_retraining.orchestration.tags import concerns
from fraud_retraining.services.recorded_versions import recorded_judged_fit
from fraud_retraining.settings import Settings

POLICY = "retention policy"
HISTORY = "dagster"
LISTED_RUNS = 50
"""So many forgotten runs are listed in their event; of more it has the digest."""
_RUN_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def removable(ledger: Ledger, registry: Registry, policy: RetentionPolicy) -> list[Removal]:
    """Runs and artifacts that the policy would remove now."""
    endings = {spent.spending.dagster_run_id: spent for spent in past_spendings(ledger)}
    releases = {release.version: release for release in ledger.releases()}
    versions = [
        KeptVersion(
            version=version.version,
            run_id=version.run_id,
            aliases=version.aliases,
            release=releases.get(version.version),
        )
        for version in registry.versions()
    ]
    return removals(policy, [_kept(run, endings) for run in registry.runs()], versions, _compared_fits(ledger))


def _compared_fits(ledger: Ledger) -> set[str]:
    """Runs of judged fits whose second fit serves or may serve next: later candidates are compared with them."""
    champion = ledger.champion()
    releases = [*([champion] if champion else []), *ledger.waiting()]
    fits = [recorded_judged_fit(ledger, release.fingerprint) for release in releases]
    return {fit.run_id for fit in fits if fit is not None}


def clean(ledger: Ledger, registry: Registry, settings: Settings, *, actor: str, channel: str) -> list[Removal]:
    """Remove what the policy does not keep, while no retrain and no promotion runs.

    Each removal is recorded before it is done.

    Raises:
        Busy: a retrain is under way, which may be about to use an artifact that would be removed.
    """
    # Both locks: a retrain could be about to reuse a run, a promotion to serve its artifact.
    with _no_retrain(ledger, settings), ledger.promotion_lock():
        found = removable(ledger, registry, settings.retention)
        for removal in found:
            _remove(removal, ledger, registry, actor, channel)
    return found


class Forgotten(NamedTuple):
    """Runs of Dagster that went with their events and logs, and the time before which they ended."""

    run_ids: tuple[str, ...] = ()
    before: datetime | None = None


def forgettable_runs(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings) -> Forgotten:
    """Runs of Dagster that the policy would forget now; those that an event of the ledger names stay."""
    days, now = settings.retention.history_days, ledger.now()
    if days is None:
        return Forgotten()
    runs = [_past(one) for one in instance.get_run_records() if concerns(one.dagster_run, settings)]
    old = forgettable(settings.retention, runs, (), now)
    kept = _named(ledger) if old else set()
    found = forgettable(settings.retention, runs, kept, now)
    return Forgotten(tuple(run.run_id for run in found), now - timedelta(days=days))


def _named(ledger: Ledger) -> set[str]:
    """Ids of runs that the chain names, whatever for: MLflow's tags can be changed by whoever writes MLflow."""
    found: set[str] = set()
    # Of all models: a run that one model began is named under another, or under `shared`, after the settings changed.
    for row in ledger.rows_of_all():
        # A run that a clean-up recorded and could not delete any more is none that an audit asks for.
        if row.kind != EventKind.RUNS_FORGOTTEN:
            found.update(_RUN_ID.findall(f"{row.subject} {row.payload}"))
    return found


def forget_runs(
    instance: dg.DagsterInstance, ledger: Ledger, settings: Settings, *, actor: str, channel: str
) -> Forgotten:
    """Forget runs of Dagster that the policy does not keep, with their events and logs; recorded before it is done."""
    forgotten = forgettable_runs(instance, ledger, settings)
    ids = sorted(forgotten.run_ids)
    if ids:
        payload = {"runs": len(ids), "ended_before": forgotten.before, "run_ids_digest": digest(ids)}
        ledger.append(
            EventKind.RUNS_FORGOTTEN,
            actor=actor,
            channel=channel,
            keys=EventKeys(subject=HISTORY),
            payload={**payload, "run_ids": ids} if len(ids) <= LISTED_RUNS else payload,
        )
    for run_id in forgotten.run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
    return forgotten


def _past(record: dg.RunRecord) -> PastRun:
    run = record.dagster_run
    # A run that was canceled before it began has no end of its own.
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp.astimezone(UTC)
    return PastRun(run_id=run.run_id, ended_at=ended if run.is_finished else None, inputs=run.tags.get(INPUTS_TAG))


def build_clean_job(model: str = "", hooks: AbstractSet[dg.HookDefinition] = frozenset()) -> dg.JobDefinition:
    """The job that a schedule runs once a day for a model; `hooks` run when its steps end."""

    @dg.op(description="Removes runs, artifacts and history beyond those that retention keeps.")
    def clean_up(
        context: dg.OpExecutionContext,
        settings: dg.ResourceParam[Settings],
        ledger: dg.ResourceParam[Ledger],
        registry: dg.ResourceParam[Registry],
    ) -> None:
        forgotten = forget_runs(context.instance, ledger, settings, actor=POLICY, channel="dagster")
        context.log.info(f"{len(forgotten.run_ids)} runs of Dagster were forgotten")
        # What several models share has no runs and no artifacts in MLflow: those are each model's own.
        if settings.models:
            return
        try:
            removed = clean(ledger, registry, settings, actor=POLICY, channel="dagster")
        # No failure: tomorrow's run removes the same.
        except Busy as busy:
            context.log.info(f"left for the next time: {busy}")
            return
        for removal in removed:
            context.log.info(f"removed {removal_message(removal)}")
        context.log.info(f"{len(removed)} removed")

    @dg.job(
        name=CLEAN,
        hooks=hooks,
        tags={MODEL_TAG: model} if model else {},
        executor_def=dg.in_process_executor,
        description="Retention: runs, artifacts and history that may go.",
    )
    def job() -> None:
        clean_up()

    return job


def removal_message(removal: Removal) -> str:
    """A removal in one line."""
    whose = f"of version {removal.version}" if removal.version else f"of run {removal.run_id[:8]}"
    what = f"run {removal.run_id[:8]}" if removal.what == "run" else f"the artifact {whose}"
    return f"{what}{f' as of {removal.as_of}' if removal.as_of else ''}: {removal.reason}"


def _remove(removal: Removal, ledger: Ledger, registry: Registry, actor: str, channel: str) -> None:
    # Recorded first: an artifact that is gone without a word in the record would look like an attack.
    event = ledger.append(
        EventKind.ARTIFACTS_REMOVED,
        actor=actor,
        channel=channel,
        keys=EventKeys(
            subject=removal.run_id, as_of=removal.as_of, version=removal.version, fingerprint=removal.fingerprint
        ),
        payload={"what": removal.what, "reason": removal.reason},
    )
    remove = registry.remove_run if removal.what == "run" else registry.remove_artifact
    remove(removal.run_id, event.at)


def _kept(run: RunSummary, endings: Mapping[str, Spent]) -> KeptRun:
    ending = endings.get(run.tags.get(DAGSTER_RUN, ""))
    return KeptRun(
        run_id=run.run_id,
        started_at=run.started_at,
        as_of=ending.as_of if ending else None,
        fingerprint=run.tags.get(FINGERPRINT),
        holds_artifact=run.holds_artifact,
        succeeded=ending.spending.succeeded if ending else None,
    )


@contextmanager
def _no_retrain(ledger: Ledger, settings: Settings) -> Iterator[None]:
    leases = ledger.retrain_lease()
    lost = leases.abandoned()
    # Taking the lease replaces an abandoned one; its time would be missing in the budget of the month.
    if lost is not None:
        record_lost(ledger, settings.budget, lost)
    lease = leases.take(Owner(run_id=f"{CLEAN} {uuid4()}", process=this_process()), Purpose(work=CLEAN))
    heartbeat = Heartbeat(leases, lease)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
        leases.give_back(lease)
