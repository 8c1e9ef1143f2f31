"""`init` as a new user would: own file, settings, doctor, first champion; and what it refuses or asks."""

import os
import pty
import re
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.athena_server import athena_server
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
        (("athena://payments.transactions",), 2, "no place is named for the results"),
        (("athena://transactions", "--athena-output", "s3://b/p"), 2, "names no table"),
        (("athena://p.t", "--athena-output", "s3://b/p", "--transactions", "a.csv"), 2, "is none"),
        (("athena://p.t", "--athena-output", "b/p"), 2, "cannot be obeyed"),
        (("empty", "--athena-output", "s3://b/p"), 2, "and the lake is none"),
        (("empty", "--labels", "athena://p.labels"), 2, "nothing would say how to query it"),
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


def own_feed(folder: Path, small_lake: Path, first_id: int = 0) -> Path:
    """The frauds of a simulated lake, each reported 30 hours later, by the day known up to the lake's last."""
    files = sorted(small_lake.rglob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(file, partitioning=None).select(list(OWN_NAMES)) for file in files])
    frauds = rows.filter(pc.equal(rows["TX_FRAUD"], 1))
    known = pc.add(frauds["TX_DATETIME"], pa.scalar(timedelta(hours=30)))
    ids = pc.add(frauds["TRANSACTION_ID"], first_id)
    table = pa.table({"payment": ids, "reported_at": known, "CHANNEL": ["chargeback"] * len(ids)})
    last = pc.max(rows["TX_DATETIME"]).as_py().date()
    for day in sorted({moment.date() for moment in known.to_pylist()}):
        if day <= last:
            place = folder / "reports" / f"{day:year=%Y/month=%m/day=%d}"
            place.mkdir(parents=True)
            pq.write_table(table.filter(pc.equal(known.cast(pa.date32()), day)), place / "part.parquet")
    return folder / "reports"


def test_a_label_feed_is_proposed_for_with_the_lake(folder: Path, small_lake: Path) -> None:
    feed = own_feed(folder, small_lake)
    code, refused, _ = run("init", str(small_lake), "--labels", "reports")
    assert (code, refused["error"]["culprits"]) == (
        2,
        ["which column of the feed names the transaction: --feed-id-column payment | CHANNEL"],
    )
    options = ("--labels", "reports", "--feed-id-column", "payment")
    code, said, notices = run("init", str(small_lake), *options)
    assert code == 0, said
    labels = said["labels"]
    assert (said["columns"]["is_fraud"], labels["uri"], labels["unknown_share"]) == (None, str(feed), 0)
    assert labels["columns"] == {
        "transaction_id": "payment",
        "is_fraud": None,
        "known_at": "reported_at",
        "source": "CHANNEL",
    }
    assert 0 < said["frauds"] == labels["labels"]
    assert "0.0% of which are not among those that were looked at" in " ".join(notices.split())
    settings = load_settings()
    assert (settings.labels.uri, settings.labels.use, settings.holdout.days) == (str(feed), "as_known", 3)
    assert set(settings.features.forbidden) == {"TX_FRAUD", "TX_FRAUD_SCENARIO"}
    code, found, _ = run("doctor")
    assert code == 0, found


def test_a_feed_of_other_transactions_or_days_is_refused(folder: Path, small_lake: Path) -> None:
    own_feed(folder, small_lake, first_id=10**12)
    options = ("--labels", "reports", "--feed-id-column", "payment")
    code, refused, _ = run("init", str(small_lake), *options)
    assert (code, "0 are in TRANSACTION_ID" in refused["error"]["message"]) == (3, True), refused
    (folder / "reports").rename(folder / "old")
    for part in (folder / "old").glob("year=*"):
        part.rename(part.with_name("year=2019"))
    code, refused, _ = run("init", str(small_lake), "--labels", "old", *options[2:])
    assert (code, "from 2019-" in refused["error"]["message"]) == (3, True), refused
    code, refused, _ = run("init", str(small_lake), "--labels", "nowhere", *options[2:])
    assert (code, "there is no label feed" in refused["error"]["message"]) == (3, True), refused
    assert not (folder / "retraining.yaml").exists()


@pytest.mark.slow
def test_a_file_and_a_feed_become_a_lake_whose_labels_are_ingested(folder: Path, small_lake: Path) -> None:
    file = own_file(folder, small_lake, days=12)
    feed = own_feed(folder, small_lake)
    code, said, _ = run(
        "init", "lake", "--transactions", str(file), "--labels", str(feed), "--feed-id-column", "payment"
    )
    assert code == 0, said
    # Reports of the days that the file has not yet are not known by its end.
    assert said["labels"]["unknown_share"] == 0
    code, ingested, _ = run("ingest", "--latest", "3")
    assert code == 0, ingested
    assert ingested["labels"]["known"] > 0
    assert set(ingested["labels"]["kept_aside"]) <= {"unknown transaction"}


@pytest.mark.slow
def test_a_table_of_athena_and_its_feed_are_proposed_for(
    folder: Path, small_lake: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with athena_server(s3_endpoint) as (address, athena):
        athena.s3.create_bucket(Bucket="init-results")
        for file in sorted(small_lake.rglob("*.parquet"))[:9]:
            place = folder / "table" / file.relative_to(small_lake)
            place.parent.mkdir(parents=True)
            shutil.copy(file, place)
        athena.tables["payments", "transactions"] = folder / "table"
        athena.tables["payments", "reports"] = own_feed(folder, folder / "table")
        for name, value in {
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "FRAUD_RETRAINING_LAKE__S3__ENDPOINT": s3_endpoint,
            "FRAUD_RETRAINING_LAKE__S3__REGION": "us-east-1",
            "FRAUD_RETRAINING_LAKE__ATHENA__ENDPOINT": address,
            "FRAUD_RETRAINING_LAKE__ATHENA__POLL_SECONDS": "0.02",
        }.items():
            monkeypatch.setenv(name, value)
        options = ("--athena-output", "s3://init-results/q", "--feed-id-column", "payment")
        code, said, notices = run(
            "init", "athena://payments.transactions", "--labels", "athena://payments.reports", *options
        )
        assert code == 0, said
        assert said["athena"] == {
            "database": "payments",
            "table": "transactions",
            "workgroup": "primary",
            "output": "s3://init-results/q",
            "day": 'TRY_CAST("day" AS date)',
            "modified": 'max("$file_modified_time")',
            "scanned_bytes": said["athena"]["scanned_bytes"],
        }
        assert (said["columns"]["transaction_id"], said["days"]) == ("transaction_id", 9)
        assert said["frauds"] == said["labels"]["labels"] > 0
        assert "unloading 7 of 9 days with all columns" in " ".join(notices.split())
        every = [one for one in athena.statements if one.startswith("UNLOAD (SELECT *") and "transactions" in one]
        assert len(every) == 7
        settings = load_settings()
        assert settings.lake.athena is not None and settings.lake.athena.day == 'TRY_CAST("day" AS date)'
        code, found, _ = run("doctor")
        assert code == 0, found
        code, refused, _ = run("init", "athena://payments.transactions", "--force", *options, "--athena-day", "NULL")
        assert (code, refused["error"]["kind"]) == (2, "Undecided"), refused
        assert "--athena-day" in refused["error"]["culprits"][0]


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
