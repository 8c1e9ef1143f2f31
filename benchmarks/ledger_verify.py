"""Seconds to verify the ledger's chain: `audit verify` beside reading the same rows and doing nothing with them.

Here: a ledger of as many events as are wanted, in the mix that retrains leave (a manifest of 44 days, a model, an
evaluation, some small events), in SQLite and, where `--url` names one, in an empty PostgreSQL database. Each side runs
in a process of its own; the time of a process includes its start. Not here: whether changes are found
(`fraud_retraining_tests/adapters/ledger/test_tampering.py`).

    python -m benchmarks.ledger_verify [--events 10000] [--repeats 5] [--url postgresql://...]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Row, canonical_json, chained

DIGEST = "0123456789abcdef" * 4
FIRST = date(2026, 1, 1)
BATCH = 1000


def manifest() -> dict[str, object]:
    """What `window_built` says, in size and shape."""
    days = [
        {
            "day": str(FIRST + timedelta(days=n)),
            "digest": DIGEST,
            "features_digest": DIGEST,
            "rows": 200_000,
            "frauds": 1_600,
        }
        for n in range(44)
    ]
    return {"training": days[:37], "holdout": days[37:], "history": [[day["day"], DIGEST] for day in days]}


def evaluation() -> dict[str, object]:
    """What `model_evaluated` says, in size and shape."""
    metrics = {f"metric_{n}": n / 7 for n in range(7)}
    slices = [{"slice": "amount_band", "value": f"{n}", "rows": n, "frauds": n, **metrics} for n in range(30)]
    gates = [{"name": f"gate_{n}", "passed": True, "message": "a sentence of the usual length " * 4} for n in range(8)]
    return {"evidence": {"candidate": metrics, "champion": metrics, "slices": slices}, "verdict": {"gates": gates}}


PAYLOADS = (
    (EventKind.RETRAIN_REQUESTED, {"trigger": "schedule", "reason": "48 hours are over"}),
    (EventKind.WINDOW_BUILT, manifest()),
    (EventKind.MODEL_TRAINED, {"determined_by": manifest(), "importance": {f"feature_{n}": n / 9 for n in range(40)}}),
    (EventKind.MODEL_EVALUATED, evaluation()),
    *((EventKind.NOTICE_OPENED, {"title": "a candidate waits", "n": n}) for n in range(4)),
)


def write(url: str, count: int) -> int:
    """A ledger of so many events, written past the ledger's own speed; gives the bytes of its payloads."""
    ledger = Ledger(url)
    ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={})
    rows = list(ledger.rows())
    texts = [(str(kind), canonical_json(payload)) for kind, payload in PAYLOADS]
    while len(rows) < count:
        kind, payload = texts[len(rows) % len(texts)]
        last = rows[-1]
        rows.append(chained(last._replace(seq=last.seq + 1, kind=kind, payload=payload, prev_hash=last.hash)))
    for first in range(1, len(rows), BATCH):
        _insert(ledger, rows[first : first + BATCH])
    return sum(len(row.payload) for row in rows)


def _insert(ledger: Ledger, rows: list[Row]) -> None:
    statements = sql()

    def work(tx) -> None:
        tx.connection.execute(statements.EVENTS.insert(), [row._asdict() for row in rows])
        tx.connection.execute(statements.HEAD.update().values(seq=rows[-1].seq, hash=rows[-1].hash))

    ledger._database.write(work)


def read(ledger: Ledger) -> int:
    return ledger._database.read(lambda cn: sum(1 for _ in sql().events(cn, {})))


def verify(ledger: Ledger) -> int:
    found = ledger.verify()
    assert found.ok, found.why
    return found.count


SIDES: dict[str, Callable[[Ledger], int]] = {"read the rows": read, "audit verify": verify}


def measure(side: str, url: str, repeats: int) -> dict[str, float]:
    ledger, seconds = Ledger(url), []
    ledger.head()
    for _ in range(repeats):
        began = time.perf_counter()
        count = SIDES[side](ledger)
        seconds.append(time.perf_counter() - began)
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return {"seconds": statistics.median(seconds), "count": count, "megabytes": peak}


def in_a_process(side: str, url: str, repeats: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.ledger_verify",
        "--side",
        side,
        "--url",
        url,
        "--repeats",
        str(repeats),
    ]
    began = time.perf_counter()
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    whole = time.perf_counter() - began
    found = json.loads(finished.stdout)
    return {**found, "process": whole - (repeats - 1) * found["seconds"]}


def compare(count: int, repeats: int, urls: dict[str, str]) -> None:
    print(f"{'database':<12}{'side':<16}{'events':>9}{'seconds':>10}{'process s':>11}{'peak MB':>9}{'ratio':>8}")
    for name, url in urls.items():
        size = write(url, count)
        floor = None
        for side in SIDES:
            found = in_a_process(side, url, repeats)
            floor = floor or found["seconds"]
            numbers = f"{found['seconds']:>10.2f}{found['process']:>11.2f}{found['megabytes']:>9.0f}"
            print(f"{name:<12}{side:<16}{found['count']:>9,}{numbers}{found['seconds'] / floor:>7.1f}x")
        print(f"{'':<12}{size / 1e6:.0f} MB of payloads")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5, help="runs of a side, of which the median counts")
    parser.add_argument("--url", help="an empty PostgreSQL database to measure too; with --side the ledger itself")
    parser.add_argument("--side", choices=sorted(SIDES), help="measure one side in this process")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.url, arguments.repeats)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        urls = {"SQLite": f"sqlite:///{scratch}/ledger.db", **({"PostgreSQL": arguments.url} if arguments.url else {})}
        compare(arguments.events, arguments.repeats, urls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
