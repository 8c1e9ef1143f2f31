"""Comparison of stored state with the chain of events.

Here: a release's working row against its last event, a version of the registry against what was recorded of it, and the
refusal where they differ. Not here: whether the chain is whole (`domain/ledger/hash_chain.py`), whether its moves are
legal (`domain/audit/state_replay.py`), and reading any of it (`adapters/`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fraud_retraining.domain.audit.archiving import release_digest, release_key
from fraud_retraining.domain.ledger.hash_chain import Row, row_hash
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.values.errors import RecordAltered

VERIFY = "run `fraud-retraining audit verify`, which names the first bad row, and find out who changed it"
RESTORE = (
    "`fraud-retraining audit restore --by WHO --reason TEXT` writes the table of releases anew from an intact chain; a "
    "chain that is not intact is restored from a backup. Then `fraud-retraining resume`, and `resume --promotion`."
)


UNSIGNED = (
    "`fraud-retraining audit void ROW --by WHO --reason TEXT` takes a row that nobody should have written out of the "
    "record, and `audit restore` then writes the table of releases anew. Then `fraud-retraining resume`, and "
    "`resume --promotion`."
)


def record_altered(problems: Sequence[str], restore: str = RESTORE) -> RecordAltered:
    """Return the refusal to act on an altered record, with how it is put right."""
    return RecordAltered(
        "The record of decisions was changed; nothing is promoted, compared or scored by it.",
        culprits=problems,
        remedy=f"{VERIFY}; {restore}",
    )


def recorded_releases(
    rows: Mapping[int, Row], stored: Iterable[Mapping[str, Any]], archived: Mapping[str, str]
) -> list[Release]:
    """Return the releases of one model as their last events have them.

    Args:
        rows: the last row of the chain about each version.
        stored: the working rows of the table of releases.
        archived: digest of each release whose events were all moved out, by `model/version`.

    Raises:
        RecordAltered: names every release whose working row is another one, or that only one of them knows.
    """
    events = {version: _release_in(row) for version, row in rows.items()}
    known = {row["version"]: row for row in stored}
    releases: dict[int, Release] = {}
    problems: list[str] = []
    for version in sorted(events.keys() | known.keys()):
        problem = row_difference(known.get(version), events.get(version), archived)
        if problem is None:
            releases[version] = events[version] if version in events else Release.model_validate(known[version])
        else:
            problems.append(f"{problem}{_row_of(rows.get(version))}")
    if problems:
        raise record_altered(problems)
    return list(releases.values())


def row_difference(
    stored: Mapping[str, Any] | None, recorded: Release | None, archived: Mapping[str, str]
) -> str | None:
    """Return how a release's working row differs from the chain, as a clause; None where they agree."""
    if stored is None:
        assert recorded is not None
        return f"release {recorded.model} version {recorded.version} is in the chain but not in the table of releases"
    named = f"release {stored['model']} version {stored['version']}"
    if recorded is None:
        if archived.get(release_key(stored["model"], stored["version"])) == release_digest(stored):
            return None
        return f"{named} is in the table of releases, but no event made it"
    try:
        row = Release.model_validate(stored)
    except ValidationError as error:
        return f"{named}: its row is no release ({', '.join(str(one['loc'][0]) for one in error.errors())})"
    names = sorted(name for name in Release.model_fields if getattr(row, name) != getattr(recorded, name))
    differences = "; ".join(f"{name} is {_short(row, name)}, recorded {_short(recorded, name)}" for name in names)
    return f"{named}: {', '.join(names)} differ from its last event ({differences})" if names else None


def _short(release: Release, name: str) -> str:
    value = getattr(release, name)
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _row_of(row: Row | None) -> str:
    return f", row {row.seq}" if row is not None else ""


def _release_in(row: Row) -> Release:
    """The release in the payload of a row of the chain.

    Raises:
        RecordAltered: its content does not give its hash, or it holds none.
    """
    if row.hash != row_hash(row):
        raise record_altered([f"row {row.seq} is not what was written: its content does not give its hash"])
    try:
        return Release.model_validate(json.loads(row.payload)["release"])
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise record_altered([f"row {row.seq} holds no release: {str(error)[:200]}"]) from error


def require_recorded(what: str, found: Mapping[str, object], recorded: Mapping[str, object]) -> None:
    """Refuse a version of the registry whose tags differ from the chain.

    Raises:
        RecordAltered: names every tag that differs.
    """
    differing = [
        f"tag {name}: {found.get(name, 'missing')}, recorded {value}"
        for name, value in recorded.items()
        if str(found.get(name)) != str(value)
    ]
    if differing:
        raise RecordAltered(
            f"{what} is not in MLflow what the ledger recorded; it is not compared, scored with or promoted.",
            culprits=differing,
            remedy="Set the tags back to what was recorded, and find out who changed them; or roll back to another "
            "version: `fraud-retraining rollback --to VERSION`.",
        )
