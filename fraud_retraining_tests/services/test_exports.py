"""An export holds every event as it is stored, a page, and the head that shows a cut later."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.ledger import statements
from fraud_retraining.adapters.ledger.archive import rows_table, table_rows
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.audit.period import Period
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Row, chained, row_hash, verify_chain
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable
from fraud_retraining.services.exports import export_period, export_version
from fraud_retraining_tests.support.ledger_history import FIRST, HOSTILE, configured, waiting, with_history
from fraud_retraining_tests.support.pages_read import Read
from fraud_retraining_tests.support.signing import SIGNERS, append_forged, signed_ledger
from fraud_retraining_tests.support.tampering import tamper

pytest_plugins = ("fraud_retraining_tests.support.databases",)

EVER = Period(first=date(2020, 1, 1), last=date(2100, 1, 1))


def rows_in(folder: Path) -> list[Row]:
    return list(table_rows(pq.read_table(folder / "events.parquet")))


def test_a_period_is_exported_row_by_row_and_every_hash_can_be_recomputed(ledger: Ledger, tmp_path: Path):
    with_history(ledger)
    done = export_period(ledger, EVER, tmp_path / "out")
    rows = rows_in(tmp_path / "out")
    assert rows == list(ledger.rows())
    assert verify_chain(rows, done.head) == (done.head, None)
    assert done.events == len(rows) and done.chain_ok


def test_the_files_are_those_whose_digests_the_head_file_names(sqlite_ledger: Ledger, tmp_path: Path):
    with_history(sqlite_ledger)
    done = export_period(sqlite_ledger, EVER, tmp_path / "out")
    head_file = json.loads((tmp_path / "out" / "head.json").read_text())
    assert head_file["head"] == sqlite_ledger.head().model_dump(mode="json")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "events.csv", "events.parquet", "head.json", "report.html",
    ]  # fmt: skip
    for name, digest in head_file["files"].items():
        assert sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    assert sqlite_ledger.verify(done.head).ok


def test_a_version_comes_with_everything_about_it_and_nothing_about_others(sqlite_ledger: Ledger, tmp_path: Path):
    with_history(sqlite_ledger)
    export_version(sqlite_ledger, 2, None, tmp_path / "two")
    rows = rows_in(tmp_path / "two")
    as_of = (FIRST + timedelta(days=2)).isoformat()
    assert {row.as_of for row in rows} == {as_of}
    kinds = [row.kind for row in rows]
    assert kinds[:4] == ["retrain_requested", "window_built", "model_trained", "model_evaluated"]
    assert all(row.hash == row_hash(row) for row in rows)
    page = Read((tmp_path / "two" / "report.html").read_text())
    assert "took the place of version 1" in page.text


def test_days_of_a_period_are_those_of_the_databases_clock(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def at(day: int, hour: int = 0) -> None:
        for dialect in ("sqlite", "postgresql"):
            monkeypatch.setitem(statements.CLOCKS, dialect, f"SELECT '2026-03-{day:02d}T{hour:02d}:59:59.000Z'")

    for day, hour in ((1, 23), (2, 0), (3, 23), (4, 0)):
        at(day, hour)
        configured(ledger, {"day": day})
    done = export_period(ledger, Period(first=date(2026, 3, 2), last=date(2026, 3, 3)), tmp_path / "out")
    assert [row.at[:10] for row in rows_in(tmp_path / "out")] == ["2026-03-02", "2026-03-03"]
    page = Read((tmp_path / "out" / "report.html").read_text())
    assert [cells[2:] for cells in page.cells if len(cells) == 5 and "settings: day" in cells[2]] == [
        ["settings: day", "1", "2"], ["settings: day", "2", "3"],
    ]  # fmt: skip
    assert done.events == 2


def test_a_spreadsheet_takes_no_text_for_a_formula(sqlite_ledger: Ledger, tmp_path: Path):
    for actor in ("=HYPERLINK(1)", "+1", "-1", "@x", HOSTILE, 'quote " comma , line\nbreak'):
        sqlite_ledger.append(EventKind.RETRAIN_REQUESTED, actor=actor, payload={"reason": actor})
    export_period(sqlite_ledger, EVER, tmp_path / "out")
    with (tmp_path / "out" / "events.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [cell["actor"] for cell in cells[:4]] == ["'=HYPERLINK(1)", "'+1", "'-1", "'@x"]
    assert cells[4]["actor"] == HOSTILE and cells[5]["actor"] == 'quote " comma , line\nbreak'
    assert [cell["seq"] for cell in cells] == [str(n) for n in range(1, 7)]
    assert rows_in(tmp_path / "out")[0].actor == "=HYPERLINK(1)"


def test_the_export_of_a_chain_that_was_changed_says_so(sqlite_ledger: Ledger, sqlite_url: str, tmp_path: Path):
    with_history(sqlite_ledger)
    tamper(sqlite_url, "UPDATE audit_events SET actor = 'mallory' WHERE seq = 9")
    done = export_period(sqlite_ledger, EVER, tmp_path / "out")
    assert (done.chain_ok, done.first_bad) == (False, 9)
    assert "the ledger's chain was NOT whole" in Read((tmp_path / "out" / "report.html").read_text()).text


def test_a_model_is_exported_without_the_others_of_its_chain(sqlite_ledger: Ledger, sqlite_url: str, tmp_path: Path):
    other = Ledger(sqlite_url, model="account_takeover")
    waiting(sqlite_ledger, 1, FIRST, None)
    waiting(other, 1, FIRST, None)
    done = export_period(other, EVER, tmp_path / "out")
    assert {row.model for row in rows_in(tmp_path / "out")} == {"account_takeover"}
    assert done.head == sqlite_ledger.head(), "the head is that of the chain that both share"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda ledger, folder: export_version(ledger, 41, None, folder), Conflict),
        (lambda ledger, folder: export_period(ledger, EVER, folder / "file" / "below"), DependencyUnreachable),
    ],
    ids=["a version that nobody knows", "a folder that cannot be made"],
)
def test_what_cannot_be_exported_is_refused(
    sqlite_ledger: Ledger, tmp_path: Path, spoil: Callable[[Ledger, Path], object], expected: type[Exception]
):
    (tmp_path / "file").write_text("")
    with pytest.raises(expected):
        spoil(sqlite_ledger, tmp_path)


def test_the_time_of_the_export_is_the_databases(sqlite_ledger: Ledger, tmp_path: Path):
    export_period(sqlite_ledger, EVER, tmp_path / "out")
    assert (
        f"This was exported on {datetime.now(UTC):%Y-%m-%d}"
        in Read((tmp_path / "out" / "report.html").read_text()).text
    )


def test_the_recipe_of_the_documentation_verifies_signatures(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger = signed_ledger(sqlite_url)
    ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron")
    forged = append_forged(sqlite_url, EventKind.PROMOTION_DONE, {}, stored={"hash": "a" * 64}).seq
    ledger.void_row(forged, actor="alice", channel="cli", reason="forged")
    export_period(ledger, EVER, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
    hashes, signatures = (part.split("```")[0] for part in documentation.split("```python\n")[1:3])
    known = {name: signer.public_key for name, signer in SIGNERS.items()}
    recipe = signatures.replace('{"pipeline": "..."}', repr(known))
    found: dict[str, object] = {}
    exec(recipe, found)
    assert found["void"] == {forged: "a" * 64}
    with pytest.raises(AssertionError, match=str(forged)):
        exec(hashes, {})
    exec(hashes.replace('void = "0" * 64, {}', f'void = "0" * 64, {found["void"]}'), {})
    rows = rows_in(Path())
    for others in ([rows[0], chained(rows[1]._replace(actor="mallory"))], rows[:3]):
        pq.write_table(rows_table(others), "events.parquet")
        with pytest.raises(AssertionError):
            exec(recipe, {})


@pytest.mark.parametrize("change", [None, {"actor": "mallory"}], ids=["whole", "changed"])
def test_the_recipe_of_the_documentation_verifies_an_export(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str] | None
):
    with_history(sqlite_ledger)
    export_period(sqlite_ledger, EVER, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    rows = rows_in(Path())
    if change:
        rows[4] = rows[4]._replace(**change)
        pq.write_table(rows_table(rows), "events.parquet")
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
    recipe = documentation.split("```python\n")[1].split("```")[0]
    if change:
        with pytest.raises(AssertionError, match="5"):
            exec(recipe)
    else:
        exec(recipe)


@pytest.mark.parametrize(
    "stored",
    [
        {"payload": "no event"},
        {"payload": "[" * 99_999},
        {"at": "yesterday", "hash": ""},
        {"payload": b"\x00\xff"},
        {"version": "x"},
    ],
)
def test_a_row_that_is_not_acted_on_is_in_the_files_and_nothing_on_the_page_rests_on_it(
    sqlite_url: str, tmp_path: Path, stored: dict[str, Any]
):
    ledger = signed_ledger(sqlite_url)
    configured(ledger, {"day": 1})
    forged = append_forged(sqlite_url, EventKind.PROMOTION_DONE, {}, stored=stored).seq
    for void in (False, True):
        if void:
            ledger.void_row(forged, actor="alice", channel="cli", reason="forged")
        done = export_period(ledger, EVER, tmp_path / "out")
        assert done.chain_ok is void and forged in [row.seq for row in rows_in(tmp_path / "out")]
        text = Read((tmp_path / "out" / "report.html").read_text()).text
        assert "0 promotions" in text and "not acted on: 1." in text and "is not signed" in text
