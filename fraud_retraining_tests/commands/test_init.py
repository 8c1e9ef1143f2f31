"""`init` as a new user would: own file, settings, doctor, first champion; and what it refuses or asks."""

import os
import pty
import re
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run

OWN_NAMES = {
    "TRANSACTION_ID": "payment_id",
    "TX_DATETIME": "created_at",
    "CUSTOMER_ID": "card_number",
    "TERMINAL_ID": "shop",
    "TX_AMOUNT": "Betrag",
    "TX_FRAUD": "isFraud",
}
DAYS = 16


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user who has nothing yet but a file."""
    for name in [name for name in os.environ if name.startswith("FRAUD_RETRAINING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own_file(folder: Path, small_lake: Path, days: int = DAYS) -> Path:
    """A CSV file of a simulated lake's first days under a user's own names, its rows in no order."""
    files = sorted(small_lake.rglob("*.parquet"))[:days]
    table = pa.concat_tables([pq.read_table(file, partitioning=None).select(list(OWN_NAMES)) for file in files])
    shuffled = table.take(pa.array(range(0, len(table) * 7919, 7919)).cast(pa.int64()).to_numpy() % len(table))
    pacsv.write_csv(shuffled.rename_columns(list(OWN_NAMES.values())), folder / "payments.csv")
    return folder / "payments.csv"


@pytest.mark.slow
def test_own_csv_to_first_champion(folder: Path, small_lake: Path) -> None:
    file = own_file(folder, small_lake)
    code, said, _ = run("init", "payments", "--transactions", str(file))
    assert (code, said["days"], said["lake"]) == (0, DAYS, str(folder / "payments"))
    assert said["columns"] == {
        "transaction_id": "payment_id",
        "timestamp": "created_at",
        "amount": "Betrag",
        "is_fraud": "isFraud",
        "labelled_at": None,
        "decision": None,
        "propensity": None,
    }
    assert said["entities"] == {"card": "card_number", "merchant": "shop"}
    code, found, _ = run("doctor")
    assert code == 0, found
    code, retrained, _ = run("retrain")
    assert (code, retrained["status"]) == (0, "awaiting_approval"), retrained
    code, _, _ = run("approve", "1", "--by", "ada", "--reason", "first model")
    assert code == 0
    code, state, _ = run("status")
    assert (code, state["champion"]["version"]) == (0, 1)


def test_a_lake_is_proposed_for_and_nothing_is_overwritten(folder: Path, small_lake: Path) -> None:
    code, said, _ = run("init", str(small_lake))
    assert (code, said["days"], said["entities"]) == (0, 26, {"customer": "CUSTOMER_ID", "terminal": "TERMINAL_ID"})
    settings = load_settings()
    assert (settings.lake.uri, settings.window.strategy) == (str(small_lake), "rolling")
    written = (folder / "retraining.yaml").read_text()
    assert "about" in written and "values 0, 1" in written
    code, refused, _ = run("init", str(small_lake))
    assert (code, refused["error"]["kind"]) == (5, "Conflict")
    assert (folder / "retraining.yaml").read_text() == written
    assert run("init", str(small_lake), "--force")[0] == 0
    assert sorted(one.name for one in folder.iterdir() if one.name != "home") == ["retraining.yaml"]


def test_what_cannot_be_told_is_asked_by_option_and_nothing_is_written(folder: Path, small_lake: Path) -> None:
    file = own_file(folder, small_lake, days=9)
    table = pacsv.read_csv(file)
    twice = table.append_column("booked_at", table["created_at"]).drop_columns(["isFraud"])
    twice = twice.rename_columns(["event_time" if name == "created_at" else name for name in twice.column_names])
    twice = twice.rename_columns(["order_time" if name == "booked_at" else name for name in twice.column_names])
    pacsv.write_csv(twice, file)
    code, refused, _ = run("init", "lake", "--transactions", str(file))
    culprits = " ".join(refused["error"]["culprits"])
    assert (code, refused["error"]["kind"]) == (2, "Undecided")
    assert "--time-column event_time | order_time" in culprits
    assert "--label-column" in culprits
    assert sorted(one.name for one in folder.iterdir() if one.name != "home") == ["payments.csv"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "neither a lake nor a file"),
        (("nowhere",), 3, "there is no lake"),
        (("empty",), 3, "holds no day"),
        (("s3://b/l", "--transactions", "a.csv"), 2, "is none"),
        (("lake", "--transactions", "a.csv"), 3, "there is no file"),
        (("lake", "--entity", "card"), 2, "NAME=COLUMN"),
        (("lake", "--time-unit", "weeks"), 2, "cannot be obeyed"),
    ],
)
def test_refusals_say_what_to_do(folder: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    (folder / "empty").mkdir()
    found, refused, _ = run("init", *arguments)
    assert (found, words in refused["error"]["message"]) == (code, True), refused
    assert sorted(one.name for one in folder.iterdir() if one.name != "home") == ["empty"]


def test_settings_that_the_environment_makes_impossible_make_no_lake(
    folder: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_GATES__ALERT_ENTITY", "device")
    file = own_file(folder, small_lake, days=9)
    code, refused, _ = run("init", "lake", "--transactions", str(file))
    assert (code, refused["error"]["kind"]) == (2, "SettingsError")
    assert sorted(one.name for one in folder.iterdir() if one.name != "home") == ["payments.csv"]


@pytest.mark.slow
def test_on_a_terminal_it_asks(folder: Path, small_lake: Path) -> None:
    file = own_file(folder, small_lake, days=9)
    table = pacsv.read_csv(file)
    names = ["outcome" if name == "isFraud" else name for name in table.column_names]
    pacsv.write_csv(table.rename_columns(names), file)
    process, terminal = pty.fork()
    if process == 0:
        os.execv(
            sys.executable, [sys.executable, "-m", "fraud_retraining.cli", "init", "lake", "--transactions", str(file)]
        )
    shown, deadline, answered = "", time.monotonic() + 120, False
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            break
        if "number or value" in shown and not answered:
            assert re.search(r"which column says whether it was fraud\?\s+1  outcome", shown), shown
            os.write(terminal, b"1\n")
            answered = True
    assert (answered, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])) == (True, 0), shown
    assert load_settings().columns.is_fraud == "outcome"
