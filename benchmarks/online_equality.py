"""Features of live transactions beside those of the batch: are they the same, to the last bit, in any order of arrival?

Simulates a lake with a label feed (late, reversed and missing reports), trains a champion, and lets two scorers score
the next days as they would come in, before each day is ingested: one with its states in files, one with them in Redis.
Requests hold one to some hundred transactions in any order; a share of the transactions comes hours late, some of them
after midnight, when the state of their day is published. The batch then computes the features of every transaction
again in DuckDB, from the rows that had come in by then: the rule that both share is that a transaction sees the earlier
ones that came before or with it. Digests of whole feature rows are compared, and scores. Ends with exit code 1 where
one differs.

    python -m benchmarks.online_equality [--days 5] [--transactions-per-day 21000] [--late 0.03] [--seed 7]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.redis_here import program, redis
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.domain.features import point_in_time
from fraud_retraining.domain.features.partition_inputs import lookback
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.schemas import TRANSACTION_ID
from fraud_retraining.orchestration.assets.features import REPORTS, history_tables
from fraud_retraining.orchestration.names import FEATURES, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.services.live_scoring import LiveScorer
from fraud_retraining.settings import Settings, load_settings

START, HISTORY = date(2026, 1, 1), 40
PARTS = 6
"""Parts of a day; what is late comes when a later part begins, or after midnight."""
REQUESTS = (1, 1, 1, 1, 2, 5, 8, 9, 40, 250)
"""Sizes of requests, drawn with equal chances."""


class Arrival(NamedTuple):
    """Raw transactions of a day in their order of arrival, each with the part of the day in which it comes."""

    rows: list[dict[str, Any]]
    parts: list[int]


@dataclass
class Answered:
    """What one scorer said: by day and part, the digest and the score of each transaction."""

    scorer: LiveScorer
    found: dict[tuple[date, int], dict[int, tuple[str, float]]] = field(default_factory=lambda: defaultdict(dict))

    def follow(self, day: date) -> None:
        """Has the scorer take over the state after a day."""
        for _ in range(20):
            self.scorer.follow()
            if self.scorer.ready and self.scorer.state_day == day and not self.scorer.problems:
                return
            time.sleep(0.2)
        raise SystemExit(f"the state after {day} is not taken over: {self.scorer.missing}")

    def score(self, day: date, arrival: Arrival, parts: Sequence[int], rng: random.Random) -> None:
        """Has transactions of some parts of a day scored, in requests of any size."""
        for part in parts:
            rows = [row for row, one in zip(arrival.rows, arrival.parts, strict=True) if one == part]
            while rows:
                size = rng.choice(REQUESTS)
                request, rows = rows[:size], rows[size:]
                rng.shuffle(request)
                answers = self.scorer.score(request)
                assert not answers.problems, answers.problems[:3]
                for one in answers.answers:
                    assert one.state.exact, one.state
                    self.found[day, part][int(one.transaction_id)] = one.features_digest, one.score


def main() -> int:
    """Runs the days and prints how many rows are equal; exit code 1 where one is not."""
    options = _options()
    if program() is None:
        print("no redis-server is installed: nothing is compared", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="online-equality-") as folder, redis(Path(folder)) as server:
        _prepare(Path(folder), options)
        settings = load_settings()
        shared = {"state_store": "redis", "redis_url": server.url, "redis_timeout_seconds": 10.0}
        in_redis = settings.model_copy(update={"serving": settings.serving.model_copy(update=shared)})
        stores = {"files": Answered(scorer_of(settings)), "Redis": Answered(scorer_of(in_redis))}
        arrivals = _serve(stores, settings, options)
        return _compare(stores, arrivals, settings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--transactions-per-day", type=int, default=21_000)
    parser.add_argument("--late", type=float, default=0.03, help="share of transactions that come hours late")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _prepare(folder: Path, options: argparse.Namespace) -> None:
    """A home with a champion as of the last day of the history, in the environment of this process."""
    values = {
        "lake": {"uri": str(folder / "lake")},
        "labels": {"uri": str(folder / "labels"), "columns": {"source": "source"}},
        "promotion": {"mode": "auto"},
        "validation": {"min_rows": 1000},
        "window": {"days": 20},
        "gates": {"min_average_precision": 0.01, "max_calibration_error": 50},
        "serving": {"decisions": [{"name": "review", "alerts_per_day": 200}]},
    }
    (folder / "retraining.yaml").write_text(json.dumps(values))
    os.environ["FRAUD_RETRAINING_HOME"] = str(folder / "home")
    os.environ["FRAUD_RETRAINING_CONFIG"] = str(folder / "retraining.yaml")
    size = ["--transactions-per-day", str(options.transactions_per_day), "--seed", str(options.seed)]
    _command("simulate", "--start", str(START), "--days", str(HISTORY + options.days), "--labels", "feed", *size)
    last = START + timedelta(days=HISTORY - 1)
    _command("ingest", "--from", str(START), "--to", str(last))
    _command("retrain", "--as-of", str(last))


def _command(*arguments: str) -> None:
    command = [sys.executable, "-m", "fraud_retraining.cli", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-3000:]}")


# ---------------------------------------------------------------- serving


def _serve(stores: Mapping[str, Answered], settings: Settings, options: argparse.Namespace) -> dict[date, Arrival]:
    arrivals: dict[date, Arrival] = {}
    for number in range(options.days):
        day = START + timedelta(days=HISTORY + number)
        arrivals[day] = _arrival(day, settings, options)
        # First all of them: a scorer that begins takes over what the serving log has of others.
        for one in stores.values():
            one.follow(day - timedelta(days=1))
        for name, one in stores.items():
            if number:
                # What is late by more than a day's end comes while the next day is under way.
                yesterday = day - timedelta(days=1)
                one.score(yesterday, arrivals[yesterday], [PARTS], random.Random(f"{yesterday} late {name}"))
            one.score(day, arrivals[day], range(PARTS), random.Random(f"{day} {name}"))
        _command("ingest", "--from", str(day), "--to", str(day))
    last = max(arrivals)
    for one in stores.values():
        one.follow(last)
    for name, one in stores.items():
        one.score(last, arrivals[last], [PARTS], random.Random(f"{last} late {name}"))
        one.scorer.flush(last=True)
    return arrivals


def _arrival(day: date, settings: Settings, options: argparse.Namespace) -> Arrival:
    """The lake's rows of a day in order of time, but for those that are late: these come first in a later part."""
    folder = Path(settings.lake_uri) / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}"
    names, rng = settings.columns, random.Random(f"{options.seed} {day}")
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: row[names.timestamp])
    timed = []
    for row in rows:
        moment = row[names.timestamp]
        own = (moment.hour * 3600 + moment.minute * 60 + moment.second) * PARTS // 86_400
        late = rng.random() < options.late
        part = rng.randint(own + 1, PARTS) if late else own
        timed.append((part, not late, {**row, names.timestamp: moment.isoformat()}))
    timed.sort(key=lambda one: one[:2])
    return Arrival([row for _, _, row in timed], [part for part, _, _ in timed])


# ---------------------------------------------------------------- comparing


def _compare(stores: Mapping[str, Answered], arrivals: Mapping[date, Arrival], settings: Settings) -> int:
    """Holds every answer against the batch."""
    registry = open_registry(settings)
    champion = registry.champion()
    assert champion is not None, "the retrain was promoted"
    model = registry.load(champion.run_id, expected_digest=champion.artifact_digest)
    equal: Counter[str] = Counter()
    differing: defaultdict[str, list[tuple[date, int, int]]] = defaultdict(list)
    for day, arrival in arrivals.items():
        for part, batch in _batch(day, arrival, model, settings):
            for name, one in stores.items():
                answers = one.found[day, part]
                assert answers.keys() == batch.keys(), f"{name}: other transactions were answered on {day}, part {part}"
                wrong = [number for number, found in answers.items() if found != batch[number]]
                equal[name] += len(answers) - len(wrong)
                differing[name] += [(day, part, number) for number in wrong]
    late = sum(part == PARTS for one in arrivals.values() for part in one.parts)
    total = sum(len(one.rows) for one in arrivals.values())
    print(
        f"{total:,} transactions of {len(arrivals)} days, {len(settings.feature_plan.names)} features each, labels of "
        f"a feed; {_hours_late(arrivals, settings):,} came in a later part of the day, {late:,} once it was ingested"
    )
    for name in stores:
        share = equal[name] / total
        print(f"{name}: {equal[name]:,} of {total:,} rows equal in every feature and in the score ({share:.3%})")
        for day, part, number in differing[name][:5]:
            print(f"  differs: transaction {number} of {day}, part {part}")
    return 1 if any(differing.values()) else 0


def _hours_late(arrivals: Mapping[date, Arrival], settings: Settings) -> int:
    stamp = settings.columns.timestamp
    return sum(
        part > int(row[stamp][11:13]) * PARTS // 24
        for one in arrivals.values()
        for row, part in zip(one.rows, one.parts, strict=True)
    )


def _batch(
    day: date, arrival: Arrival, model: FittedModel, settings: Settings
) -> Iterator[tuple[int, dict[int, tuple[str, float]]]]:
    """Digest and score of each transaction, by part of the day, from what had come in by the end of that part."""
    store, plan = open_store(settings), settings.feature_plan
    digests, number = RowDigests(plan), settings.columns.transaction_id
    came = dict(zip((row[number] for row in arrival.rows), arrival.parts, strict=True))
    records = store.partitions(TRANSACTIONS, [day])
    rows = pq.read_table(store.paths([records[day]], "rows"))
    parts = np.array([came[one] for one in rows[TRANSACTION_ID].to_pylist()])
    for part in range(PARTS + 1):
        if part < PARTS:
            found = _features(day, rows.filter(pa.array(parts <= part)), settings)
        else:
            # By now the day is ingested: what the pipeline itself has stored.
            stored = store.partitions(FEATURES, [day])
            found = pq.read_table(store.paths([stored[day]], "rows"))
        wanted = pa.array([one for one, comes in came.items() if comes == part], pa.int64())
        own = found.filter(pc.is_in(found[TRANSACTION_ID], wanted))
        scores = model.predict(own).tolist()
        yield (
            part,
            dict(zip(own[TRANSACTION_ID].to_pylist(), zip(digests.of_table(own), scores, strict=True), strict=True)),
        )


def _features(day: date, rows: pa.Table, settings: Settings) -> pa.Table:
    """The features of rows of a day as the batch computes them, as if the lake had no others of that day."""
    store, plan = open_store(settings), settings.feature_plan
    inventory = Inventory(store, settings, {day, *lookback(plan, day)}, made=(FEATURES,))
    yesterday = inventory.transactions[day - timedelta(days=1)]
    with Engine(temp_directory=settings.home / "spill") as engine:
        tables = {
            name: engine.read_parquet(paths) for name, paths in history_tables(day, store.paths, inventory).items()
        }
        found = point_in_time.transaction_features(
            plan,
            day,
            today=engine.memtable(rows),
            yesterday=engine.read_parquet(store.paths([yesterday], "rows")),
            entity_days={entity: tables[entity] for entity in plan.entities},
            entity_label_days={
                entity: tables[name] for entity in plan.entities if (name := REPORTS.format(entity)) in tables
            },
        )
        return engine.to_arrow(found)


if __name__ == "__main__":
    sys.exit(main())
