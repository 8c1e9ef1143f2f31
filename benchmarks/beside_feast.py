"""The time of one transaction, features included: the scorer beside Feast with MLflow's own server.

Here: one home with a champion. The scorer gets raw transactions and computes their features, with its state in files
and in Redis. The other side looks up precomputed windows of the same customers and terminals in Feast's feature server
(online store: Redis), and then has MLflow's server score a feature row with the same model; the client asks one after
the other, and nothing is computed between the two. Every side meets the same moments (`open_loop.py`), in turn.

Feast is no dependency of this project: the benchmark makes an environment of its own in a temporary folder, and
installs FEAST there with `uv pip install`. Where that or a Redis is not to be had, it says so, with exit code 0.

    python -m benchmarks.beside_feast [--rates 20 200] [--seconds 30] [--keys 1000000] [--feast-keys 100000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.live_scoring import (
    MLFLOW,
    SCORE,
    WARM_UP_SECONDS,
    Requests,
    Server,
    featured_day,
    prepare,
    prepared_requests,
    serve_mlflow,
    serve_scores,
    started,
    state_of,
)
from benchmarks.open_loop import Load, load
from benchmarks.redis_here import Redis, program, redis
from fraud_retraining.settings import load_settings

FEAST = "feast[redis]==0.67.0"
REACH = 1 / 3
LOOKED_UP = "/get-online-features"
ENTITIES = ("customer", "terminal")

REPOSITORY = """
from datetime import timedelta

import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

entities, views = [], []
for name in {entities}:
    path = {folder!r} + "/" + name + ".parquet"
    fields = [Field(name=one, dtype=Float32) for one in pq.read_schema(path).names if one.startswith(name + "_")]
    entities.append(Entity(name=name, join_keys=[name], value_type=ValueType.INT64))
    views.append(
        FeatureView(
            name=name + "_windows",
            entities=entities[-1:],
            ttl=timedelta(days=3650),
            schema=fields,
            source=FileSource(path=path, timestamp_field="event_timestamp"),
        )
    )
service = FeatureService(name="fraud", features=views)
"""
LOADING = """
import pyarrow.parquet as pq
from feast import FeatureStore
import definitions

store = FeatureStore(".")
store.apply([*definitions.entities, *definitions.views, definitions.service])
for name in {entities}:
    for batch in pq.ParquetFile({folder!r} + "/" + name + ".parquet").iter_batches(5000):
        store.write_to_online_store(name + "_windows", batch.to_pandas())
"""


def main() -> int:
    """Measures every side and prints; exit code 1 where the scorer is beyond its reach at the highest rate."""
    options = _options()
    if program() is None:
        print("no redis-server is installed: nothing is compared", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="beside-feast-") as folder, redis(Path(folder)) as server:
        python = _feast(Path(folder))
        if python is None:
            return 0
        prepare(Path(folder))
        state_of(options.keys)
        requests = prepared_requests(Path(folder), options.keys, int(max(options.rates) * options.seconds))
        found: dict[str, Mapping[float, Load]] = {}
        with serve_scores() as ours:
            found["scorer, files"] = _loads("scorer, state in files", ours, requests, options)
        with _in_redis(server), serve_scores() as ours:
            found["scorer, Redis"] = _loads("scorer, state in Redis", ours, requests, options)
        lookups = _feast_repository(Path(folder), python, server, requests, options.feast_keys)
        feast = str(Path(python).with_name("feast"))
        command = [feast, "serve", "--no-access-log", "--max-requests", "0", "--port"]
        with started(command, "/health", Path(folder) / "repository") as windows, serve_mlflow() as model:
            theirs = _both(windows, model, lookups, requests, options)
    return _judged(found, theirs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[20, 200], help="requests a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--keys", type=int, default=1_000_000, help="customers in the scorer's state")
    parser.add_argument("--feast-keys", type=int, default=100_000, help="customers in Feast, which takes long to load")
    return parser.parse_args()


def _feast(folder: Path) -> str | None:
    """The Python of an environment with Feast; None, with a message, where it cannot be made."""
    environment = folder / "environment"
    python = str(environment / "bin" / "python")
    uv = [sys.executable, "-m", "uv"]
    for command in ([*uv, "venv", str(environment)], [*uv, "pip", "install", "--python", python, FEAST]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{FEAST} cannot be installed here, nothing is compared: {done.stderr[-500:]}", file=sys.stderr)
            return None
    print(f"installed {FEAST} in an environment of its own", flush=True)
    return python


@contextmanager
def _in_redis(server: Redis) -> Iterator[None]:
    """Has scorers keep their state in a Redis; a state of a million keys is brought there first."""
    settings = {
        "FRAUD_RETRAINING_SERVING__STATE_STORE": "redis",
        "FRAUD_RETRAINING_SERVING__REDIS_URL": server.url,
        "FRAUD_RETRAINING_SERVING__REDIS_TIMEOUT_SECONDS": "2",
    }
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def _feast_repository(folder: Path, python: str, server: Redis, requests: Requests, keys: int) -> Path:
    """Loads the windows of every key into Feast's online store; gives a file of look-ups, one for each transaction."""
    repository = folder / "repository"
    repository.mkdir()
    rows = featured_day()
    numbers = {"customer": keys, "terminal": pc.max(rows["terminal"]).as_py() + 1}
    for entity, count in numbers.items():
        # The windows of the day's transactions again and again: what is looked up takes the same, whatever it says.
        places = pa.array([number % rows.num_rows for number in range(count)])
        columns = {name: rows[name].take(places) for name in rows.column_names if name.startswith(f"{entity}_")}
        moments = rows["timestamp"].take(places).cast(pa.timestamp("us", tz="UTC"))
        table = pa.table({entity: pa.array(range(count), pa.int64()), **columns, "event_timestamp": moments})
        pq.write_table(table, repository / f"{entity}.parquet")
    store = {
        "project": "fraud",
        "provider": "local",
        "registry": str(repository / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{server.port},db=1"},
        "offline_store": {"type": "file"},
        "entity_key_serialization_version": 3,
    }
    (repository / "feature_store.yaml").write_text(json.dumps(store))
    (repository / "definitions.py").write_text(REPOSITORY.format(entities=ENTITIES, folder=str(repository)))
    loading = dedent(LOADING).format(entities=ENTITIES, folder=str(repository))
    done = subprocess.run([python, "-c", loading], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Feast could not be loaded: {done.stderr[-3000:]}")
    settings = load_settings()
    parts = {entity: settings.entities[entity].parts[0] for entity in ENTITIES}
    lookups = folder / "lookups.jsonl"
    with requests.raw.open() as raw, lookups.open("w") as file:
        for line in raw:
            row = json.loads(line)
            entities = {entity: [row[parts[entity]] % numbers[entity]] for entity in ENTITIES}
            file.write(f"{json.dumps({'feature_service': 'fraud', 'entities': entities})}\n")
    return lookups


def _loads(name: str, server: Server, requests: Requests, options: argparse.Namespace) -> dict[float, Load]:
    server.load(SCORE, requests.raw, max(options.rates), WARM_UP_SECONDS)
    found = {}
    for rate in options.rates:
        found[rate] = server.load(SCORE, requests.raw, rate, options.seconds)
        print(f"{name}, {rate:g} a second: {found[rate]}", flush=True)
    return found


def _both(
    windows: Server, model: Server, lookups: Path, requests: Requests, options: argparse.Namespace
) -> dict[float, Load]:
    steps = [(windows.port, LOOKED_UP, lookups), (model.port, MLFLOW, requests.ready)]
    load(steps, min(options.rates), WARM_UP_SECONDS, [])
    found = {}
    for rate in options.rates:
        alone = load(steps[:1], rate, options.seconds, [windows.process])
        print(f"Feast alone, {options.feast_keys:,} customers, {rate:g} a second: {alone}", flush=True)
        found[rate] = load(steps, rate, options.seconds, [windows.process, model.process])
        print(f"Feast, then MLflow's server, {rate:g} a second: {found[rate]}", flush=True)
    return found


def _judged(ours: Mapping[str, Mapping[float, Load]], theirs: Mapping[float, Load]) -> int:
    beyond = False
    for name, loads in ours.items():
        for rate, found in loads.items():
            ratio = found.percentile(0.99) / theirs[rate].percentile(0.99)
            beyond |= rate == max(theirs) and ratio > REACH
            print(f"{name}, {rate:g} a second: p99 is {ratio:.3f} of that of Feast with MLflow's server")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
