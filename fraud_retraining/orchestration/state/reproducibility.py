"""Registered versions whose days were rewritten since: the ledger says so once, and MLflow shows it as tags.

Here: reading what versions used and what the store holds now, and recording the answer. Not here: what makes a version
irreproducible (`domain/data/reproducibility.py`).
"""

from collections.abc import Iterable, Mapping
from datetime import date

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.reproducibility import Reproducibility
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.settings import Settings

TAG, REASON_TAG = "reproducible", "not_reproducible_because"


def mark_versions(
    settings: Settings, store: Store, registry: Registry, ledger: Ledger, days: Iterable[date] | None = None
) -> None:
    """Compares what registered versions used with what the store holds now; with `days`, only of those days.

    A version that turns out to be irreproducible is tagged, and so is one whose days are back; all others are left
    alone. The ledger keeps each such change once. A tag that a crash left out is made up for.
    """
    used = _used_days(ledger)
    every = {day for fingerprint in used.values() for day in fingerprint.days}
    looked_at = every if days is None else every & set(days)
    if not looked_at:
        return
    inventory = Inventory(store, settings, looked_at)
    judged = {version: _judged(version, used[version], inventory, ledger) for version in used}
    for version, found in judged.items():
        _record(version, used[version], found, ledger)
    _tag(registry, {version: found for version, found in judged.items() if found is not None})


def _used_days(ledger: Ledger) -> dict[int, Fingerprint]:
    """What determined each version, as it was recorded when it was trained."""
    trained = {
        release.version: ledger.last(EventKind.MODEL_TRAINED, fingerprint=release.fingerprint)
        for release in ledger.releases()
    }
    return {
        version: Fingerprint.model_validate(event.payload["determined_by"])
        for version, event in trained.items()
        if event is not None
    }


def _judged(version: int, fingerprint: Fingerprint, inventory: Inventory, ledger: Ledger) -> Reproducibility | None:
    """What holds of a version; None for one whose days are intact and always were."""
    same_rules = fingerprint.features_policy == digest(inventory.plan)
    used = {day: pin.digest for day, pin in fingerprint.days.items()}
    known = recorded_reproducibility(ledger, version)
    found = (known or Reproducibility()).judged_again(used, inventory.stored_days, same_rules=same_rules)
    return None if known is None and found.reproducible else found


def _record(version: int, fingerprint: Fingerprint, found: Reproducibility | None, ledger: Ledger) -> None:
    if found is None:
        return
    ledger.append_changed(
        EventKind.REPRODUCIBILITY_CHANGED,
        keys=EventKeys(
            subject=f"version {version}", version=version, fingerprint=fingerprint.digest, as_of=fingerprint.as_of
        ),
        payload={"reproducible": found.reproducible, "rewritten": found.rewritten, "reason": found.reason},
        actor="pipeline",
        channel="dagster",
    )


def _tag(registry: Registry, judged: Mapping[int, Reproducibility]) -> None:
    """Tags the versions that MLflow still has and that say otherwise."""
    if not judged:
        return
    for version in registry.versions():
        found = judged.get(version.version)
        wanted = {TAG: str(found.reproducible).lower(), REASON_TAG: found.reason} if found else {}
        if any(version.tags.get(name) != value for name, value in wanted.items()):
            registry.set_version_tags(version.version, wanted)


def recorded_reproducibility(ledger: Ledger, version: int) -> Reproducibility | None:
    """What the ledger last said about a version; None where it never had to."""
    event = ledger.last(EventKind.REPRODUCIBILITY_CHANGED, version=version)
    return Reproducibility(rewritten=event.payload["rewritten"]) if event else None


def irreproducible_versions(ledger: Ledger) -> dict[int, Reproducibility]:
    """Versions that could not be trained again, by number."""
    last = {event.version: event for event in ledger.events(EventKind.REPRODUCIBILITY_CHANGED)}
    found = {
        version: Reproducibility(rewritten=event.payload["rewritten"])
        for version, event in last.items()
        if version is not None
    }
    return {version: what for version, what in sorted(found.items()) if not what.reproducible}
