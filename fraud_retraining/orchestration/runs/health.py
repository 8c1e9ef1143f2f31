"""Health of the automation: a daemon that stopped, schedules and sensors that keep failing.

Here: reading it from the Dagster instance. Not here: showing it (`fraud-retraining status`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.scheduler.instigation import InstigatorState, TickStatus

from fraud_retraining.domain.values.base import Value

SILENT_AFTER = timedelta(minutes=2)
FAILURES_IN_A_ROW = 3


class Automation(Value):
    """State of the daemon, and problems of schedules and sensors."""

    daemon: str
    problems: tuple[str, ...]


def automation_health(instance: dg.DagsterInstance, now: datetime, of: str = "") -> Automation:
    """Return the health of the daemon, its schedules and its sensors; of several models only those of `of`."""
    seen = _last_heartbeat(instance)
    problems = list(_failing(instance, of))
    if seen is None:
        return Automation(daemon="never ran; nothing happens by itself until it does", problems=tuple(problems))
    if now - seen > SILENT_AFTER:
        state = f"stopped: last heard of {seen:%Y-%m-%d %H:%M} UTC"
        return Automation(daemon=state, problems=(f"the Dagster daemon {state}", *problems))
    return Automation(daemon=f"at work, heard of {int((now - seen).total_seconds())} s ago", problems=tuple(problems))


def _last_heartbeat(instance: dg.DagsterInstance) -> datetime | None:
    """The oldest of the latest heartbeats: a daemon is several loops, and it works only while each of them does."""
    # Heartbeats of loops that are switched off stay in the database, and only grow older.
    required = [str(kind) for kind in instance.get_required_daemon_types()]
    beats = {kind: beat.timestamp for kind, beat in instance.get_daemon_heartbeats().items() if kind in required}
    return datetime.fromtimestamp(min(beats.values()), UTC) if beats else None


def _failing(instance: dg.DagsterInstance, of: str) -> Iterator[str]:
    for state in instance.all_instigator_state():
        # Of several models each has a repository, by its name; one model has none of a name. States of repositories
        # that there were once stay in the instance for ever.
        whose = state.origin.repository_origin.repository_name
        failed = _failures_in_a_row(instance, state) if whose == (of or SINGLETON_REPOSITORY_NAME) else None
        if failed:
            named = f"{state.name} of {whose}" if of else state.name
            yield f"{named} failed {FAILURES_IN_A_ROW} times in a row: {failed}"


def _failures_in_a_row(instance: dg.DagsterInstance, state: InstigatorState) -> str | None:
    """The error of the last tick, if it and those before it all failed."""
    # Without ticks that are under way: the newest one is, most of the time.
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILURES_IN_A_ROW, statuses=ended)
    if len(ticks) < FAILURES_IN_A_ROW or any(tick.status != TickStatus.FAILURE for tick in ticks):
        return None
    error = ticks[0].error
    lines = (error.cause.message if error and error.cause else error.message if error else "").strip().splitlines()
    return lines[0] if lines else "no reason given"
