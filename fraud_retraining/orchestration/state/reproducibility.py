"""Registered versions that cannot be trained again because their days were rewritten: an event, and tags in MLflow.

Here: comparing the digests that versions used with those in the store, and recording the result. Not here: what makes a
version irreproducible (`domain/data/reproducibility.py`).
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
    """Compares the days that registered versions used with the store; with `days`, only those days.

    A version that became irreproducible is tagged, and so is one whose days are as before again; others stay as they
    are. The ledger records each change once. A tag that is missing after a crash is written by the next call.
    """
    used = _used_days(ledger)
    every = {day for fingerprint in used.values() for day in fingerprint.days}
    looked_at = every if days is None else every & set(days)
    if not looked_at:
        return
    inventory = Inventory(store, settings, looked_at)
    judged = {version: _judged(version, used[version], inventory, ledger) for version in used}
    # Ledger before tags: tags are derived from it and are written again by the next call.
    for version, found in judged.items():
        _record(version, used[version], found, ledger)
    _tag(registry, {version: found for version, found in judged.items() if found is not None})


def _used_days(ledger: Ledger) -> dict[int, Fingerprint]:
    """The recorded fingerprint of each version."""
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
    """The reproducibility of a version; None if its days were never rewritten."""
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
    """Writes the tags of versions that MLflow still has, where they differ."""
    if not judged:
        return
    for version in registry.versions():
        found = judged.get(version.version)
        wanted = {TAG: str(found.reproducible).lower(), REASON_TAG: found.reason} if found else {}
        if any(version.tags.get(name) != value for name, value in wanted.items()):
            registry.set_version_tags(version.version, wanted)


def recorded_reproducibility(ledger: Ledger, version: int) -> Reproducibility | None:
    """The last recorded reproducibility of a version; None without a record."""
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
