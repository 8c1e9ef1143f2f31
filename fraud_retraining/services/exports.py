"""Exports for an auditor: events as Parquet and CSV, one page that needs nothing else, and the chain's head.

Here: which events belong to a version or a period, and writing them with the page. Not here: what the page says
(`adapters/pages/html.py`).

The Parquet file has every column exactly as it is stored, so that each row's hash can be computed from it. The CSV file
is for spreadsheets: a text that one would take for a formula gets an apostrophe in front.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import date
from hashlib import sha256
from pathlib import Path

from fraud_retraining.adapters.ledger.archive import columns_of, rows_table
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.verification import Verification
from fraud_retraining.adapters.pages.html import Exported, period_html, version_html
from fraud_retraining.adapters.storage.locations import reaching, replacing
from fraud_retraining.domain.audit.period import Period
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.ledger.hash_chain import Head, Row
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.base import Value
from fraud_retraining.services.release_history import events_about, read_release_history

PARQUET, CSV, REPORT, HEAD = "events.parquet", "events.csv", "report.html", "head.json"
MOST_DOUBTS = 20
"""Rows that are not acted on, of which the page says why."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Export(Value):
    """What was written where, and the head that shows later whether the chain was cut."""

    folder: str
    about: str
    events: int
    head: Head
    chain_ok: bool
    first_bad: int | None = None
    files: dict[str, str]


def export_version(ledger: Ledger, version: int, review_report: ReviewReport | None, folder: Path) -> Export:
    """Write everything about a version.

    Raises:
        Conflict: the ledger knows no such version.
    """
    history = read_release_history(ledger, version)
    found = ledger.verify()
    wanted = {event.seq for event in events_about(ledger, history.release)}
    rows = [row for row in ledger.rows() if row.seq in wanted]
    page = version_html(history, review_report, list(map(Event.of, rows)), _exported(found))
    return _write(folder, f"{ledger.model} version {version}", rows, page, found)


def export_period(ledger: Ledger, period: Period, folder: Path) -> Export:
    """Everything that happened from one day to another, by the database's clock."""
    found = ledger.verify()
    earlier: list[Row] = []
    rows: list[Row] = []
    for row in ledger.rows():
        day = _day(row)
        if day is None or period.first <= day <= period.last:
            rows.append(row)
        elif day < period.first and row.kind == EventKind.CONFIGURATION_CHANGED:
            earlier.append(row)
    # What is not acted on is in the files, and nothing that the page says is read from it.
    doubted = ledger.disbelieved(rows)
    events = [Event.of(row) for row in rows if row.seq not in doubted]
    before = {event.subject or "": event.payload for event in _believed(ledger, earlier)}
    page = period_html(ledger.model, period, events, before, _exported(found, list(doubted.values())))
    return _write(folder, f"{ledger.model} from {period.first} to {period.last}", rows, page, found)


def _day(row: Row) -> date | None:
    """The day of a row by the database's clock; None where somebody else wrote it, and no day."""
    try:
        return date.fromisoformat(row.at[:10])
    except ValueError:
        return None


def _believed(ledger: Ledger, rows: Sequence[Row]) -> Iterator[Event]:
    doubted = ledger.disbelieved(rows)
    yield from (Event.of(row) for row in rows if row.seq not in doubted)


def _exported(found: Verification, doubted: Sequence[str] = ()) -> Exported:
    return Exported(
        at=found.at, head=found.head, chain_ok=found.ok, doubted=len(doubted), doubts=tuple(doubted[:MOST_DOUBTS])
    )


def _write(folder: Path, about: str, rows: Sequence[Row], page: str, found: Verification) -> Export:
    """The four files; the head goes last, so that a folder with one is whole."""
    import pyarrow.parquet as pq

    reported = io.BytesIO()
    pq.write_table(rows_table(rows), reported, compression="zstd")
    contents = {PARQUET: reported.getvalue(), CSV: _csv(rows).encode(), REPORT: page.encode()}
    export = Export(
        folder=str(folder),
        about=about,
        events=len(rows),
        head=found.head,
        chain_ok=found.ok,
        first_bad=found.first_bad,
        files={name: sha256(data).hexdigest() for name, data in contents.items()},
    )
    with reaching("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(export.model_dump(mode="json", exclude={"folder"}), indent=1)
    for name, data in {**contents, HEAD: document.encode()}.items():
        with replacing(folder / name) as file:
            file.write(data)
    return export


def _csv(rows: Sequence[Row]) -> str:
    text, columns = io.StringIO(), columns_of(rows)
    out = csv.writer(text)
    out.writerow(columns)
    out.writerows([_cell(getattr(row, name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: str | int | None) -> str | int | None:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
