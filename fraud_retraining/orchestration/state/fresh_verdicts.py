"""Fresh verdicts whose labels are mature and ingested: those that can be measured again now, and those that wait.

Here: comparing the days that a matured verdict reads with what has arrived and was ingested. Not here: which releases
have a fresh verdict, and measuring it (`services/matured_verdicts.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fraud_retraining.orchestration.state.readiness import Readiness
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.services.matured_verdicts import FreshVerdict, fresh_verdicts


@dataclass(frozen=True)
class DueVerdicts:
    """Fresh verdicts to be measured again, oldest as-of day first; and of each other one, what it waits for."""

    ready: tuple[FreshVerdict, ...] = ()
    waiting: tuple[str, ...] = ()

    def of(self, as_of: date) -> tuple[FreshVerdict, ...]:
        """Those of an as-of day that can be measured."""
        return tuple(one for one in self.ready if one.release.as_of == as_of)

    @property
    def summary(self) -> str:
        """What the others wait for, in a sentence."""
        return "; ".join(self.waiting) or "every fresh verdict whose labels are mature was measured again"


def due_verdicts(sources: Sources) -> DueVerdicts:
    """What can be measured again now.

    Raises:
        DataInvalid: there is no lake, or no feed.
        RecordAltered: the ledger was changed.
    """
    readiness = Readiness(sources.settings, sources.lake, sources.store)
    latest, delay = readiness.latest, sources.settings.labels.delay_days
    found = fresh_verdicts(sources.ledger, latest, delay) if latest is not None else ()
    why = [(one, _waits_for(one, readiness, delay)) for one in found]
    return DueVerdicts(
        ready=tuple(one for one, reason in why if reason is None),
        waiting=tuple(f"version {one.release.version}: {reason}" for one, reason in why if reason is not None),
    )


def _waits_for(fresh: FreshVerdict, readiness: Readiness, delay_days: int) -> str | None:
    """Why a fresh verdict cannot be measured yet; None if it can.

    Live performance takes the labels of a day as mature from the same day on.
    """
    latest, mature = readiness.latest, fresh.mature_on(delay_days)
    if latest is None or latest < mature:
        return f"its labels are not mature until {mature} has arrived (now: {latest})"
    first = fresh.days[0].day
    refused = [day for day in readiness.labels.refused if first <= day <= mature]
    if refused:
        return f"labels of {refused[0]} are refused: {readiness.labels.refused[refused[0]]}"
    pending = _pending(readiness, [day.day for day in fresh.days], mature)
    return f"{pending[0]} still has to be ingested" if pending else None


def _pending(readiness: Readiness, days: Sequence[date], mature: date) -> list[date]:
    """Days that an ingest still makes, among those that are read: rows of `days`, labels known up to `mature`."""
    rows = {*readiness.stale, *readiness.stale_features} & set(days)
    known = [day for day in (*readiness.stale, *readiness.labels.stale()) if days[0] <= day <= mature]
    return sorted({*rows, *known})
