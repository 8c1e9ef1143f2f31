"""The real server: raw transactions in, the scores and features of the batch out, to the last bit."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.commands.implementation.pipeline import Pipeline
from fraud_retraining.commands.implementation.scores_server import serve
from fraud_retraining.commands.support.progress import RichProgress
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.skew_reasons import Reason
from fraud_retraining.domain.serving.log_parts import RANGES, PartRange, changed_ranges
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.names import FEATURES, ONLINE_STATE
from fraud_retraining.orchestration.resources import open_ledger, open_location_of, open_registry, open_store
from fraud_retraining.services.recorded_versions import recorded_champion
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, LOOKED_BACK_ON, ProjectHome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEXT = AS_OF + timedelta(days=1)
KEY = "a key that a client keeps"
CHANGES: dict[str, Any] = {
    "promotion": {"mode": "auto"},
    "serving": {
        "decisions": [{"name": "block", "at": 0.6}, {"name": "review", "at": 0.2}],
        "follow_seconds": 0.5,
        "flush_seconds": 1,
        "sample_share": 0.2,
        "max_batch": 200,
        "api_keys": [sha256(KEY.encode()).hexdigest()],
    },
}


@dataclass
class Client:
    """Asks a scorer over one connection."""

    port: int
    key: str | None = KEY
    content: str = "application/json"
    host: str | None = None

    def ask(self, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": self.content, **({"X-API-Key": self.key} if self.key else {})}
        headers |= {"Host": self.host} if self.host else {}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        connection.request("GET" if data is None else "POST", path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if answer.headers.get_content_type() == "application/json" else text

    def wait_until_ready(self, **expected: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(240):
            try:
                status, found = self.ask("/ready")
            except OSError:
                status = 0
            if status == 200 and all(found[name] == value for name, value in expected.items()):
                return found
            time.sleep(0.25)
        raise AssertionError(f"not ready: {found}")

    def wait_until_told(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(60):
            found = self.ask("/ready")[1]
            if what in found["problems"]:
                return found
            time.sleep(0.25)
        raise AssertionError(f"no problem of the {what}: {found}")


def point_champion(version: int) -> None:
    """Moves the alias in MLflow, past the ledger."""
    settings = load_settings()
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    client.set_registered_model_alias(settings.model.name, "champion", str(version))


@contextmanager
def serving(log: Path, *options: str) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A scorer of the present home in a process of its own."""
    command = [sys.executable, "-m", "fraud_retraining.cli", "serve-scores", "--port", "0", *options]
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out, text=True)
        try:
            for _ in range(240):
                said = log.read_text()
                if "/score" in said or process.poll() is not None:
                    break
                time.sleep(0.25)
            assert "/score" in said, said
            client = Client(int(said.split("/score")[0].rpartition(":")[2]))
            client.wait_until_ready()
            yield client, process
        finally:
            process.terminate()
            process.wait(timeout=60)


def raw_rows(project: ProjectHome, day: date) -> list[dict[str, Any]]:
    """The transactions of a day as a payment service would send them, in order of time."""
    table = project.read_day(day)
    table = table.drop_columns([name for name in table.column_names if name.startswith("TX_FRAUD")])
    rows = table.sort_by([("TX_DATETIME", "ascending"), ("TRANSACTION_ID", "ascending")]).to_pylist()
    return [{**row, "TX_DATETIME": row["TX_DATETIME"].isoformat()} for row in rows]


def ingest(first: date, last: date) -> None:
    code, answer, _ = run("ingest", "--from", first.isoformat(), "--to", last.isoformat())
    assert code == 0, answer


@pytest.fixture
def ready(home: ProjectHome) -> ProjectHome:
    """A home with a champion, whose lake ends with the champion's as-of day, and with the state after it."""
    home.configure(**CHANGES)
    ingest(LOOKED_BACK_ON, AS_OF)
    return home


def batch_features(day: date) -> pa.Table:
    store = open_store(load_settings())
    record = store.partition(FEATURES, day)
    assert record is not None
    return pq.read_table(*store.paths([record], "rows"))


def test_raw_transactions_get_the_scores_and_features_of_the_batch(ready: ProjectHome, tmp_path: Path):
    rows = raw_rows(ready, NEXT)
    with serving(tmp_path / "log") as (client, _):
        answers = [client.ask("/score", row)[1] for row in rows[:50]]
        for first in range(50, len(rows), 150):
            status, found = client.ask("/score/batch?reasons=true", {"transactions": rows[first : first + 150]})
            assert status == 200, found
            answers += found["scores"]
        metrics = client.ask("/metrics")[1].decode()
        assert 'scorer_requests_total{path="/score",status="200"} 50.0' in metrics
        # The next state is taken over while this one serves.
        ingest(NEXT, NEXT)
        client.wait_until_ready(state_day=NEXT.isoformat())
    settings = load_settings()
    champion = recorded_champion(open_registry(settings), open_ledger(settings))
    assert champion is not None
    features = batch_features(NEXT)
    model = open_registry(settings).load(champion.run_id, expected_digest=champion.artifact_digest)
    ids = features["transaction_id"].to_pylist()
    wanted = dict(zip(ids, RowDigests(settings.feature_plan).of_table(features), strict=True))
    scores = dict(zip(ids, model.predict(features).tolist(), strict=True))
    assert {one["transaction_id"]: one["features_digest"] for one in answers} == wanted
    assert {one["transaction_id"]: one["score"] for one in answers} == scores
    assert {one["state"]["day"] for one in answers} == {AS_OF.isoformat()}
    assert {one["decision"] for one in answers} >= {"accept", "review"}
    explained = [one for one in answers[50:] if one["reasons"]]
    assert explained and all(len(one["reasons"]) <= 3 for one in explained)
    served_days = ServedDays(open_location_of(settings, settings.store_uri))
    recorded = open_ledger(settings).events(EventKind.ANSWERS_LOGGED, subject=NEXT.isoformat())
    ranges = [PartRange.model_validate(one) for event in recorded for one in event.payload[RANGES]]
    assert sum(one.parts for one in ranges) == len(served_days.digests(NEXT)) > 0
    assert not list(changed_ranges(ranges, served_days.digests(NEXT)))
    log = served_days.read(NEXT)
    assert log is not None and sorted(log["transaction_id"].to_pylist()) == sorted(ids)
    assert 0.1 < sum(one is not None for one in log["features"].to_pylist()) / len(ids) < 0.3


def test_a_process_that_was_killed_knows_the_day_again(ready: ProjectHome, tmp_path: Path):
    rows = raw_rows(ready, NEXT)[:600]
    with serving(tmp_path / "first") as (client, process):
        for first in range(0, 400, 200):
            assert client.ask("/score/batch", {"transactions": rows[first : first + 200]})[0] == 200
        process.kill()
        process.wait()
    with serving(tmp_path / "second") as (client, _):
        found = client.ask("/score/batch", {"transactions": rows[400:]})[1]["scores"]
    ingest(NEXT, NEXT)
    settings, features = load_settings(), batch_features(NEXT)
    wanted = dict(
        zip(features["transaction_id"].to_pylist(), RowDigests(settings.feature_plan).of_table(features), strict=True)
    )
    assert all(one["features_digest"] == wanted[one["transaction_id"]] for one in found)
    log = ServedDays(open_location_of(settings, settings.store_uri)).read(NEXT)
    assert log is not None and log["transaction_id"].to_pylist() == [row["TRANSACTION_ID"] for row in rows]


def test_a_promotion_is_served_within_five_seconds_and_no_request_fails(ready: ProjectHome, tmp_path: Path):
    code, answer, _ = run("retrain", "--as-of", (AS_OF - timedelta(days=2)).isoformat(), "--trigger", "backfill")
    assert code in (0, 4), answer
    rows, statuses, done = raw_rows(ready, NEXT), [], threading.Event()
    with serving(tmp_path / "log") as (client, _):
        before = client.wait_until_ready()["model_version"]

        def ask_on() -> None:
            while not done.is_set():
                statuses.append(client.ask("/score", rows[len(statuses) % len(rows)])[0])

        thread = threading.Thread(target=ask_on)
        thread.start()
        try:
            code, answer, _ = run("retrain", "--as-of", (AS_OF + timedelta(days=2)).isoformat())
            if answer["status"] == "awaiting_approval":
                code, answer, _ = run("approve", str(answer["model_version"]), "--by", "anna", "--reason", "good")
            assert code == 0, answer
            began = time.monotonic()
            after = client.wait_until_ready(model_version=answer.get("model_version", before + 1))
            assert time.monotonic() - began < 5 and after["model_version"] != before
            run("rollback", "--to", str(before), "--reason", "a test", "--by", "anna")
            began = time.monotonic()
            client.wait_until_ready(model_version=before)
            assert time.monotonic() - began < 5
            # Moved by hand, and the ledger does not know yet.
            point_champion(after["model_version"])
            found = client.wait_until_told("model")
            assert f"names version {after['model_version']}" in found["problems"]["model"]
            assert found["model_version"] == before
            point_champion(before)
            client.wait_until_ready(problems={})
        finally:
            done.set()
            thread.join()
    assert set(statuses) == {200} and len(statuses) > 20


def test_what_cannot_be_loaded_leaves_the_former_in_service_and_is_told(ready: ProjectHome, tmp_path: Path):
    with serving(tmp_path / "log") as (client, _):
        before = client.wait_until_ready()
        (file,) = (ready.home / "store" / ONLINE_STATE).glob("current.json")
        named = json.loads(file.read_text())
        file.write_text(json.dumps({**named, "day": NEXT.isoformat()}))
        for _ in range(60):
            found = client.ask("/ready")[1]
            if found["problems"]:
                break
            time.sleep(0.25)
        assert "has not been made" in found["problems"]["state"]
        assert found["state_day"] == before["state_day"]
        assert client.ask("/score", raw_rows(ready, NEXT)[0])[0] == 200
        file.write_text(json.dumps(named))
        for _ in range(60):
            if not client.ask("/ready")[1]["problems"]:
                break
            time.sleep(0.25)
        assert client.ask("/ready")[1]["problems"] == {}


ZONES = (UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8)))
AHEAD_BY = timedelta(hours=2)


def as_clients_send(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several clients: zones of their own, one row in 40 of a clock that is wrong, and some that come late."""
    sent = []
    for place, row in enumerate(rows):
        moment = datetime.fromisoformat(row["TX_DATETIME"]).replace(tzinfo=None)
        if place % 40 == 20:
            text = (moment + AHEAD_BY).isoformat()
        elif place % 4 == 3:
            text = moment.isoformat()
        else:
            text = moment.replace(tzinfo=UTC).astimezone(ZONES[place % 4]).isoformat()
        sent.append((place + (150 if place % 25 == 5 else 0), {**row, "TX_DATETIME": text}))
    return [row for _, row in sorted(sent, key=itemgetter(0))]


def test_under_load_zones_late_rows_a_wrong_clock_and_midnight_give_right_scores_or_a_named_reason(
    ready: ProjectHome, tmp_path: Path
):
    after, answers, lock = NEXT + timedelta(days=1), [], threading.Lock()
    first, following = as_clients_send(raw_rows(ready, NEXT)[:300]), raw_rows(ready, after)
    late, exact = following[:150], following[150:300]
    with serving(tmp_path / "log") as (client, _):

        def ask_on(rows: Iterator[dict[str, Any]]) -> None:
            while True:
                with lock:
                    row = next(rows, None)
                if row is None:
                    return
                answers.append(client.ask("/score?reasons=false", row))

        def load(rows: list[dict[str, Any]]) -> None:
            shared = iter(rows)
            threads = [threading.Thread(target=ask_on, args=(shared,)) for _ in range(4)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()

        load([*first, *late])
        # Midnight is over, and the day before arrives while the next one is scored.
        arrival = threading.Thread(target=ingest, args=(NEXT, NEXT))
        arrival.start()
        client.wait_until_ready(state_day=NEXT.isoformat())
        load(exact)
        arrival.join()
    assert {status for status, _ in answers} == {200}
    ingest(after, after)
    settings = load_settings()
    with RichProgress() as progress:
        pipeline = Pipeline(settings, progress, verbose=False)
        found = {day: pipeline.served_skew(day) for day in (NEXT, after)}
    assert found[NEXT] and found[NEXT].differing.keys() == {Reason.TRANSACTION_DIFFERS, Reason.LATE_ARRIVAL}
    assert found[NEXT].columns.keys() == {"timestamp"} and found[NEXT].equal > len(first) / 2
    assert found[after] and found[after].differing.keys() <= {Reason.STALE_STATE, Reason.LATE_ARRIVAL}
    assert found[after].differing[Reason.STALE_STATE] > 50
    champion = recorded_champion(open_registry(settings), open_ledger(settings))
    assert champion is not None
    model = open_registry(settings).load(champion.run_id, expected_digest=champion.artifact_digest)
    for day in (NEXT, after):
        features = batch_features(day)
        digests = RowDigests(settings.feature_plan).of_table(features)
        names = zip(features["transaction_id"].to_pylist(), digests, strict=True)
        scores = dict(zip(names, model.predict(features).tolist(), strict=True))
        equal = [one for _, one in answers if (one["transaction_id"], one["features_digest"]) in scores]
        assert all(one["score"] == scores[one["transaction_id"], one["features_digest"]] for one in equal)
        assert len(equal) >= found[day].equal
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said and not any(str(row["TRANSACTION_ID"]) in said for row in first)


def test_bad_requests_are_refused_by_name_and_leave_no_trace_in_the_log(ready: ProjectHome, tmp_path: Path):
    row = raw_rows(ready, NEXT)[0]
    secret = "4111-1111-1111-1111"
    with serving(tmp_path / "log") as (client, _):
        assert Client(client.port, key=None).ask("/score", row)[0] == 401
        assert Client(client.port, key="another").ask("/score", row)[0] == 401
        assert Client(client.port, content="text/plain").ask("/score", row)[0] == 415
        assert client.ask("/score", raw=b"[" * 5000)[0] == 400
        assert client.ask("/score", raw=b'{"TRANSACTION_ID": ' + b"9" * 5000 + b"}")[0] in (400, 422)
        assert client.ask("/score", raw=b"\xff\xfe")[0] == 400
        assert client.ask("/score/batch", {"transactions": [row] * 201})[0] == 422
        assert client.ask("/score/batch", [row])[0] == 422
        assert client.ask(f"/score?reasons={secret}", row) == (
            422,
            {"error": "The parameter reasons is true or false."},
        )
        assert client.ask("/score/batch", {"transactions": []})[0] == 200
        assert client.ask("/score", raw=b" " * 70_000)[0] == 413
        status, found = client.ask("/score", {**row, "TX_AMOUNT": secret, "CUSTOMER_ID": secret, "TX_DATETIME": secret})
        assert status == 422
        assert {one["field"] for one in found["problems"]} == {"TX_AMOUNT", "CUSTOMER_ID", "TX_DATETIME"}
        assert secret not in json.dumps(found)
        late = client.ask("/score", {**row, "TX_DATETIME": "2023-01-01T00:00:00Z"})
        assert (late[0], late[1]["problems"][0]["field"]) == (422, "TX_DATETIME")
        ahead = client.ask("/score", {**row, "TX_DATETIME": "2999-01-01T00:00:00Z"})
        assert (ahead[0], ahead[1]["problems"][0]["field"]) == (422, "TX_DATETIME")
        later = client.ask("/score", {**row, "TX_DATETIME": (NEXT + timedelta(days=5)).isoformat() + "T00:00:00Z"})
        assert later[0] == 503 and AS_OF.isoformat() in later[1]["error"]
        assert client.ask("/score", {**row, "TX_AMOUNT": 1e39})[0] == 422
        taken = client.ask("/transactions", {"transactions": [row]})
        assert taken == (200, {"taken": 1})
        schema = client.ask("/openapi.json")[1]
    assert "TX_AMOUNT" in json.dumps(schema["paths"]["/score"]["post"]["requestBody"])
    assert secret not in (tmp_path / "log").read_text()
    assert str(row["TRANSACTION_ID"]) not in (tmp_path / "log").read_text()


def test_others_than_this_machine_need_a_key(ready: ProjectHome):
    ready.configure(promotion={"mode": "auto"})
    with pytest.raises(SettingsError, match=r"serving\.api_keys"):
        serve(load_settings(), "0.0.0.0", 0, print)


def test_without_keys_a_page_of_another_site_cannot_ask(ready: ProjectHome, tmp_path: Path):
    ready.configure(promotion={"mode": "auto"})
    row = raw_rows(ready, NEXT)[0]
    with serving(tmp_path / "log") as (client, _):
        assert Client(client.port, key=None).ask("/score", row)[0] == 200
        assert Client(client.port, key=None, host="shop.example:80").ask("/score", row)[0] == 403
        assert Client(client.port, key=None, content="text/plain").ask("/score", row)[0] == 415
