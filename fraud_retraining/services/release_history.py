"""Finding what the ledger has about a version.

Here: the events that a history is built from. Not here: building it (`domain/audit/history.py`).
"""

from collections.abc import Iterator
from itertools import chain

from fraud_retraining.adapters.ledger.event_log import EventLog
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.audit.history import ReleaseHistory, build_release_history
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.values.errors import Conflict

ANYWHERE = (EventKind.CHAMPION_MOVED_OUTSIDE, EventKind.NOTICE_OPENED, EventKind.NOTICE_RESOLVED)
"""Events that may be about a version under any as-of day."""


def read_release_history(ledger: Ledger, version: int) -> ReleaseHistory:
    """Return the history of a version.

    Raises:
        Conflict: the ledger knows no such version.
    """
    release = ledger.release_by_version(version)
    if release is None:
        known = ", ".join(str(one.version) for one in ledger.releases()) or "none"
        raise Conflict(f"the ledger knows no version {version}", remedy=f"versions that it knows: {known}.")
    return build_release_history(
        release,
        events_about(ledger, release),
        _champion_trained(ledger, release),
        ledger.events(EventKind.CONFIGURATION_CHANGED),
    )


def events_about(ledger: EventLog, release: Release) -> list[Event]:
    """Every event that may belong to a release's history, once each, in order."""
    found: Iterator[Event] = chain(
        ledger.events(fingerprint=release.fingerprint),
        ledger.events(version=release.version),
        ledger.events(as_of=release.as_of),
        ledger.events(ANYWHERE),
    )
    return list({event.seq: event for event in sorted(found, key=lambda event: event.seq)}.values())


def _champion_trained(ledger: Ledger, release: Release) -> Event | None:
    """The training of the champion that it was judged against."""
    judged = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
    champion = judged.payload.get("champion_version") if judged else release.champion_before
    before = ledger.release_by_version(champion) if champion is not None else None
    return ledger.last(EventKind.MODEL_TRAINED, fingerprint=before.fingerprint) if before else None
