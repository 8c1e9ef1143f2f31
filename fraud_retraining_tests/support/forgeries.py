"""Forgeries by an attacker who can write to the ledger's file, guards put back afterwards so that only rows differ."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from fraud_retraining.adapters.ledger import append_only_triggers
from fraud_retraining.domain.ledger.hash_chain import Row, canonical_json, chained

Change = Callable[[sqlite3.Connection], None]


def past_the_guards(file: Path, *changes: str | Change) -> None:
    """Changes in one transaction; the triggers are taken away before and put up again after."""
    with closing(sqlite3.connect(file)) as raw:
        for name in append_only_triggers.SQLITE:
            raw.execute(f"DROP TRIGGER IF EXISTS {name}")
        for change in changes:
            if isinstance(change, str):
                raw.executescript(change)
            else:
                change(raw)
        for made_by in append_only_triggers.SQLITE.values():
            raw.execute(made_by)
        raw.commit()


def all_rows(raw: sqlite3.Connection) -> list[Row]:
    return [Row(*row) for row in raw.execute(f"SELECT {', '.join(Row._fields)} FROM audit_events ORDER BY seq")]


def forged_event(
    kind: str, release: Mapping[str, Any], payload: Mapping[str, Any] | None = None, **columns: Any
) -> Change:
    """A new last row with a right hash, a right head, and the table of releases made to fit."""

    def change(raw: sqlite3.Connection) -> None:
        last = all_rows(raw)[-1]
        current = _release(raw, release["version"]) or {}
        values = {"actor": "alice", "channel": "cli, unverified", "at": last.at, "txn": "f" * 32, **columns}
        forged = {**current, "moved_by": values["actor"], "moved_at": values["at"], **release}
        row = chained(
            Row(
                seq=last.seq + 1,
                model=forged["model"],
                kind=kind,
                subject=None,
                as_of=forged["as_of"],
                version=forged["version"],
                fingerprint=forged["fingerprint"],
                payload=canonical_json({"release": forged, **(payload or {})}),
                prev_hash=last.hash,
                hash="",
                **values,
            )
        )
        raw.execute(f"INSERT INTO audit_events ({', '.join(Row._fields)}) VALUES ({', '.join('?' * len(row))})", row)
        raw.execute("UPDATE ledger_head SET seq = ?, hash = ?", (row.seq, row.hash))
        names = list(forged)
        raw.execute(
            f"INSERT OR REPLACE INTO releases ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            list(forged.values()),
        )

    return change


def rewritten_history(seq: int, edit: Callable[[dict[str, Any]], None]) -> Change:
    """One payload edited, and every hash from there on computed anew, the head too."""

    def change(raw: sqlite3.Connection) -> None:
        before = None
        for row in all_rows(raw):
            if row.seq == seq:
                payload = json.loads(row.payload)
                edit(payload)
                row = row._replace(payload=canonical_json(payload))
            row = chained(row._replace(prev_hash=before or row.prev_hash))
            raw.execute(
                "UPDATE audit_events SET payload = ?, prev_hash = ?, hash = ? WHERE seq = ?",
                (row.payload, row.prev_hash, row.hash, row.seq),
            )
            before = row.hash
        raw.execute("UPDATE ledger_head SET hash = ?", (before,))

    return change


def _release(raw: sqlite3.Connection, version: int) -> dict[str, Any] | None:
    raw.row_factory = sqlite3.Row
    found = raw.execute("SELECT * FROM releases WHERE version = ?", (version,)).fetchone()
    raw.row_factory = None
    if found is None:
        return None
    release = dict(found)
    return {**release, "verdict_passed": bool(release["verdict_passed"])}
