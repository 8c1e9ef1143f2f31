"""Scoring live transactions: the state of a million customers, and the time of a request beside MLflow's own server.

Here: a home with a small champion and a published state of many keys; the real `serve-scores` gets raw transactions and
computes their features, once without and once with the reasons of each score, and `mlflow models serve` of the same
version gets ready feature rows. All are asked at the same moments over the same number of connections
(`open_loop.py`), each in a process of its own, one after the other. Customers are drawn from all keys. Beside it:
making the state from 30 days of sums, opening it, and batches of 1,000.

    python -m benchmarks.live_scoring [--keys 1000000] [--rate 200] [--seconds 30] [--without-mlflow]
"""

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Stopwatch
from benchmarks.open_loop import Load, load
from fraud_retraining.adapters.online.published_state import RECENT, PublishedState, publish
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.column_lineage import ONLINE_STATE
from fraud_retraining.domain.features.point_in_time import entity_state
from fraud_retraining.orchestration.names import FEATURES
from fraud_retraining.orchestration.resources import open_ledger, open_registry, open_store
from fraud_retraining.orchestration.state.inventory import Recipes
from fraud_retraining.settings import Settings, load_settings

START, DAYS, ROWS = date(2026, 1, 1), 36, 3000
LAST = START + timedelta(days=DAYS - 1)
WARM_UP_SECONDS = 5
READY_SECONDS = 300
SCORE, EXPLAINED, MLFLOW = "/score", "/score?reasons=true", "/invocations"
HISTORY_DAYS, ACTIVE_SHARE = 30, 0.2
BATCH = 1000
SEED = 7


def main() -> int:
    """Measures and prints; exit code 0."""
    options = _options()
    if options.part == "make":
        print(json.dumps(made_state(options.keys)))
        return 0
    with tempfile.TemporaryDirectory(prefix="live-scoring-") as folder:
        prepare(Path(folder))
        made = state_of(options.keys)
        print(
            f"state of {options.keys:,} customers from {HISTORY_DAYS} days of sums: made in {made['seconds']:.1f} s "
            f"({made['cpu']:.1f} s of CPU, {made['megabytes']:.0f} MB), opened in {made['copy']:.1f} s the first time "
            f"and in {made['open']:.2f} s again",
            flush=True,
        )
        requests = prepared_requests(Path(folder), options.keys, int(options.rate * options.seconds))
        with serve_scores() as server:
            for path in (SCORE, EXPLAINED):
                server.load(path, requests.raw, options.rate, WARM_UP_SECONDS)
                found = server.load(path, requests.raw, options.rate, options.seconds)
                print(f"serve-scores{path}, raw transactions, {options.rate} a second: {found}", flush=True)
            print(f"batches of {BATCH:,}: {_batches(server.port):,.0f} transactions a second", flush=True)
        if options.without_mlflow:
            return 0
        with serve_mlflow() as server:
            server.load(MLFLOW, requests.ready, options.rate, WARM_UP_SECONDS)
            found = server.load(MLFLOW, requests.ready, options.rate, options.seconds)
            print(f"MLflow's server, ready features, {options.rate} a second: {found}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--without-mlflow", action="store_true")
    parser.add_argument("--part", choices=("make",))
    return parser.parse_args()


def prepare(folder: Path, **serving: Any) -> None:
    """A home with a champion, in the environment of this process; `serving` are further settings of the scorer."""
    values = {
        "lake": {"uri": str(folder / "lake")},
        "promotion": {"mode": "auto"},
        "validation": {"min_rows": 1000},
        "window": {"days": 20},
        "gates": {"min_average_precision": 0.01, "max_calibration_error": 50},
        "serving": {"max_batch": BATCH, **serving},
    }
    (folder / "retraining.yaml").write_text(json.dumps(values))
    os.environ["FRAUD_RETRAINING_HOME"] = str(folder / "home")
    os.environ["FRAUD_RETRAINING_CONFIG"] = str(folder / "retraining.yaml")
    cli = [sys.executable, "-m", "fraud_retraining.cli"]
    days = ["--from", START.isoformat(), "--to", LAST.isoformat()]
    for arguments in (
        ["simulate", "--start", START.isoformat(), "--days", str(DAYS), "--transactions-per-day", str(ROWS)],
        ["ingest", *days],
        ["retrain", "--as-of", LAST.isoformat()],
    ):
        subprocess.run([*cli, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def state_of(keys: int) -> dict[str, float]:
    """Makes the state of many customers in a process of its own, and says what that took."""
    command = [sys.executable, "-m", "benchmarks.live_scoring", "--part", "make", "--keys", str(keys)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def made_state(keys: int) -> dict[str, float]:
    """Makes the state of many customers, publishes it in the home's store, and opens it twice."""
    settings = load_settings()
    store, plan = open_store(settings), settings.feature_plan
    partition = store.partition(ONLINE_STATE, LAST)
    assert partition is not None, "the ingest has published the state"
    paths = {name: store.paths([partition], name)[0] for name in (*plan.entities, RECENT)}
    tables = {name: pq.read_table(path) for name, path in paths.items()}
    history = _history(keys)
    watch = Stopwatch()
    with Engine(temp_directory=settings.home / "spill") as engine:
        found = entity_state(plan, LAST + timedelta(days=1), "customer", engine.memtable(history))
        tables["customer"] = engine.to_arrow(found.order_by(found.columns[0]))
    written = store.write(
        ONLINE_STATE, LAST, tables, digest=f"{keys:064x}", inputs=partition.inputs, facts=partition.facts
    )
    ledger = open_ledger(settings)
    publish(store, ledger, written)
    made = watch.read()
    states = PublishedState(store, ledger, settings.home / "online" / "states", plan, Recipes(settings).feature_version)
    times = []
    for _ in range(2):
        again = Stopwatch()
        states.open(LAST)
        times.append(again.read()["seconds"])
    return {**made, "copy": times[0], "open": times[1]}


def _history(keys: int) -> pa.Table:
    """Sums of some days, on each of which a share of the customers is active."""
    rng = np.random.default_rng(SEED)
    parts = []
    for before in range(HISTORY_DAYS):
        day = LAST - timedelta(days=before)
        active = np.sort(rng.choice(keys, int(keys * ACTIVE_SHARE), replace=False)).astype(np.int64)
        amounts = np.round(rng.gamma(2.0, 40.0, len(active)), 2)
        parts.append(
            pa.table(
                {
                    "key": active,
                    "count": np.ones(len(active), np.int64),
                    "amount_sum": amounts,
                    "amount_sumsq": amounts * amounts,
                    "amount_max": amounts,
                    "last_at": np.full(len(active), np.datetime64(day, "us")),
                    "labelled": np.ones(len(active), np.int64),
                    "frauds": np.zeros(len(active), np.int64),
                    "day": pa.array([day] * len(active), pa.date32()),
                }
            )
        )
    return pa.concat_tables(parts)


class Requests(NamedTuple):
    """Files of bodies, a line each: raw transactions of the day after the last, and feature rows for MLflow."""

    raw: Path
    ready: Path


def prepared_requests(folder: Path, keys: int, count: int) -> Requests:
    """As many transactions as are asked for, each with an id of its own; feature rows are asked for again."""
    settings = load_settings()
    model = open_registry(settings).champion()
    assert model is not None, "the retrain was promoted"
    names = open_registry(settings).load(model.run_id, expected_digest=model.artifact_digest).features
    rows, rng = featured_day().slice(0, BATCH).to_pylist(), random.Random(SEED)
    raw = [_raw(rows[number % len(rows)], number, rng.randrange(keys), settings) for number in range(count)]
    ready = [{"dataframe_records": [{name: row[name] for name in names}]} for row in rows]
    found = Requests(folder / "raw.jsonl", folder / "ready.jsonl")
    for file, bodies in zip(found, (raw, ready), strict=True):
        file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
    return found


def featured_day() -> pa.Table:
    """The features of the transactions of the last day that has any."""
    store = open_store(load_settings())
    record = store.partition(FEATURES, max(store.partitions(FEATURES, _days())))
    assert record is not None, "the retrain has made features"
    (path,) = store.paths([record], "rows")
    return pq.read_table(path)


def _raw(row: dict[str, Any], number: int, customer: int, settings: Settings) -> dict[str, Any]:
    moment = row["timestamp"].replace(year=LAST.year, month=LAST.month, day=LAST.day) + timedelta(days=1)
    names = settings.columns
    keys = {entity.parts[0]: row[name] for name, entity in settings.entities.items()}
    return {
        names.transaction_id: 10**12 + number,
        names.timestamp: moment.isoformat(),
        names.amount: row["amount"],
        **keys,
        settings.entities["customer"].parts[0]: customer,
    }


def _days() -> Iterator[date]:
    return (START + timedelta(days=number) for number in range(DAYS))


# ---------------------------------------------------------------- servers


class Server(NamedTuple):
    """A server of this machine: its port and its process."""

    port: int
    process: int

    def load(self, path: str, bodies: Path, rate: float, seconds: float) -> Load:
        """What requests take."""
        return load([(self.port, path, bodies)], rate, seconds, [self.process])


def serve_scores() -> AbstractContextManager[Server]:
    """The scorer of the home in the environment."""
    return started([sys.executable, "-m", "fraud_retraining.cli", "serve-scores", "--port"], "/ready")


def serve_mlflow() -> AbstractContextManager[Server]:
    """MLflow's server, with the champion of the home in the environment."""
    settings = load_settings()
    os.environ["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    # MLflow starts `uvicorn` by its name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-w", "1", "-m"]
    return started([*command, f"models:/{settings.model.name}@champion", "--port"], "/ping")


@contextmanager
def started(command: Sequence[str], ready: str, folder: Path | None = None) -> Iterator[Server]:
    """A server on a free port of this machine, in a folder, as soon as it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*command, str(port)], stdout=quiet, stderr=quiet, cwd=folder)
    try:
        until = time.monotonic() + READY_SECONDS
        while not _answers(port, ready):
            assert process.poll() is None, f"{' '.join(command)} ended with {process.returncode}"
            assert time.monotonic() < until, f"{' '.join(command)} is not ready"
            time.sleep(0.2)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False


def _batches(port: int) -> float:
    """Transactions a second, one request after the other."""
    settings, times = load_settings(), []
    names = settings.columns
    for batch in range(12):
        rows = [
            {
                names.transaction_id: 2 * 10**12 + batch * BATCH + number,
                names.timestamp: f"{LAST + timedelta(days=1)}T12:00:00Z",
                names.amount: number % 97 + 0.5,
                **{entity.parts[0]: number for entity in settings.entities.values()},
            }
            for number in range(BATCH)
        ]
        body = json.dumps({"transactions": rows}).encode()
        began = time.perf_counter()
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("POST", "/score/batch", body, {"Content-Type": "application/json"})
        answer = client.getresponse()
        said = answer.read()
        times.append(time.perf_counter() - began)
        assert answer.status == 200, said[:300]
    return BATCH / statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
