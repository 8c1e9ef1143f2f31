"""What is kept of runs and artifacts, and what goes.

Here: the policy and the rule. Not here: deleting (`adapters/mlflow/registry.py`).

What an audit needs always stays: every version with its run, its documents and its tags, and what
the ledger remembers. What goes is the model file of a candidate that can never serve any more, and the run of a
retrain that came to no version. What may still be served or rolled back to is not touched, nor is what the ledger does
not know. Of Dagster's own history the runs that the ledger names stay; the rest may be forgotten after some time.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Literal

from pydantic import Field

from fraud_retraining.domain.releases.lifecycle import OPEN
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.values.base import Policy, Value

LIVE = OPEN | {ReleaseState.PROMOTING, ReleaseState.PROMOTED}


class RetentionPolicy(Policy):
    """How many ended retrains stay, beyond what the ledger needs for an audit."""

    successful_runs: int = Field(5, ge=1, le=10_000, description="Latest successful retrains whose runs are kept.")
    failed_runs: int = Field(5, ge=0, le=10_000, description="Latest failed retrains whose runs are kept.")
    rejected_artifacts: int = Field(
        5, ge=0, le=10_000, description="Latest candidates that never served whose artifacts are kept."
    )
    former_champions: int | None = Field(
        None, ge=1, le=10_000, description="Latest former champions whose artifacts are kept for a rollback; null: all."
    )
    history_days: int | None = Field(
        None,
        ge=30,
        le=10_000,
        description="Days that Dagster keeps ended runs with their events and logs; null: all. "
        "Runs that an event of the ledger names stay.",
    )


class KeptRun(Value):
    """A run of the tracking server, and what the ledger knows of how its retrain ended."""

    run_id: str
    started_at: datetime
    as_of: date | None = None
    fingerprint: str | None = None
    holds_artifact: bool = Field(description="Whether a model was uploaded completely and is still there.")
    succeeded: bool | None = Field(description="None while the ledger has no end of it: it may be under way.")


class KeptVersion(Value):
    """A version of the registry, and its release if the ledger knows one."""

    version: int
    run_id: str
    aliases: tuple[str, ...]
    release: Release | None

    @property
    def idle(self) -> bool:
        """Whether nothing names it and its release has come to an end."""
        return self.release is not None and self.release.state not in LIVE and not self.aliases

    @property
    def served(self) -> bool:
        """Whether it was champion once."""
        return self.release is not None and self.release.was_promoted


class PastRun(Value):
    """A run of Dagster: when it ended, None while it has not; and the inputs it was requested for, if by a sensor."""

    run_id: str
    ended_at: datetime | None
    inputs: str | None = None


class Removal(Value):
    """Something that goes, and why."""

    what: Literal["run", "artifact"]
    run_id: str
    version: int | None = None
    as_of: date | None = None
    fingerprint: str | None = None
    reason: str


def removals(
    policy: RetentionPolicy,
    runs: Iterable[KeptRun],
    versions: Iterable[KeptVersion],
    compared: Collection[str] = (),
) -> list[Removal]:
    """What goes, the oldest first. `compared` are runs that later candidates are compared with: they stay."""
    by_id = {run.run_id: run for run in runs}
    known = [version for version in versions if version.run_id in by_id]
    registered = {version.run_id for version in known}
    # Without an end in the ledger a run may be under way, or none of ours.
    loose = [run for run in by_id.values() if run.run_id not in registered and run.succeeded is not None]
    # Two versions may share one artifact: it stays while either of them may serve.
    idle = [version for version in known if version.idle and _alone(version, known)]
    artifacts = [*_rejected(policy, by_id, idle, loose), *_former(policy, by_id, idle)]
    spared = {run.run_id for run in loose if run.holds_artifact} - {gone.run_id for gone in artifacts}
    gone_runs = [gone for gone in _runs(policy, loose) if gone.run_id not in spared]
    with_run = {gone.run_id for gone in gone_runs}
    found = [*gone_runs, *(gone for gone in artifacts if gone.run_id not in with_run)]
    return sorted(
        (gone for gone in found if gone.run_id not in compared), key=lambda gone: by_id[gone.run_id].started_at
    )


def forgettable(
    policy: RetentionPolicy, runs: Sequence[PastRun], kept: Collection[str], now: datetime
) -> list[PastRun]:
    """Runs of Dagster that may go with their events, the first that ended first.

    Nothing that is decided rests on them: days, verdicts and decisions are in store and ledger. But the sensors count
    the tries for one input: as long as one of them stays, all stay.

    Parameters
    ----------
    policy
        Its `history_days`; None keeps everything.
    runs
        Every run, those that are under way included.
    kept
        Ids of runs that stay, whatever their age: those that an audit may ask for.
    now
        The present, aware, UTC.
    """
    if policy.history_days is None:
        return []
    before = now - timedelta(days=policy.history_days)
    old = [run for run in runs if run.ended_at is not None and run.ended_at < before and run.run_id not in kept]
    going = {run.run_id for run in old}
    tried = {run.inputs for run in runs if run.run_id not in going and run.inputs is not None}
    return sorted((run for run in old if run.inputs not in tried), key=lambda run: (run.ended_at, run.run_id))


def _alone(version: KeptVersion, known: Sequence[KeptVersion]) -> bool:
    """Whether no other version shares its artifact."""
    return all(other.version == version.version for other in known if other.run_id == version.run_id)


def _rejected(
    policy: RetentionPolicy, runs: Mapping[str, KeptRun], idle: Sequence[KeptVersion], loose: Sequence[KeptRun]
) -> Iterator[Removal]:
    """Artifacts of candidates that never served: refused by a gate or a reviewer, expired, overtaken, abandoned."""
    never = {version.run_id: version for version in idle if not version.served}
    candidates = [run for run in [*(runs[run_id] for run_id in never), *loose] if run.holds_artifact]
    for run in _beyond(policy.rejected_artifacts, candidates):
        version = never.get(run.run_id)
        state = version.release.state.replace("_", " ") if version and version.release else "never registered"
        yield _artifact(run, version, f"{state}; the latest {policy.rejected_artifacts} that never served are kept")


def _former(policy: RetentionPolicy, runs: Mapping[str, KeptRun], idle: Sequence[KeptVersion]) -> Iterator[Removal]:
    """Artifacts of former champions that are too old to be rolled back to, where a number is set at all."""
    if policy.former_champions is None:
        return
    served = [(one.release.promoted_at, one) for one in idle if one.release and one.release.promoted_at]
    ordered = [version for _, version in sorted(served, key=itemgetter(0), reverse=True)]
    for version in ordered[policy.former_champions :]:
        if runs[version.run_id].holds_artifact:
            reason = f"former champion; the latest {policy.former_champions} are kept for a rollback"
            yield _artifact(runs[version.run_id], version, reason)


def _runs(policy: RetentionPolicy, loose: Sequence[KeptRun]) -> Iterator[Removal]:
    """Runs of retrains that came to no version."""
    for succeeded, kept, word in (
        (True, policy.successful_runs, "successful"),
        (False, policy.failed_runs, "failed"),
    ):
        for run in _beyond(kept, [one for one in loose if one.succeeded is succeeded]):
            yield Removal(
                what="run",
                run_id=run.run_id,
                as_of=run.as_of,
                fingerprint=run.fingerprint,
                reason=f"{word}, without a version; the latest {kept} are kept",
            )


def _beyond(kept: int, runs: Iterable[KeptRun]) -> list[KeptRun]:
    # With the id, so that runs of one second are always removed in the same order.
    return sorted(runs, key=lambda run: (run.started_at, run.run_id), reverse=True)[kept:]


def _artifact(run: KeptRun, version: KeptVersion | None, reason: str) -> Removal:
    return Removal(
        what="artifact",
        run_id=run.run_id,
        version=version.version if version else None,
        as_of=version.release.as_of if version and version.release else run.as_of,
        fingerprint=run.fingerprint,
        reason=reason,
    )
