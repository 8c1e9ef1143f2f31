"""Seconds to verify the ledger's chain, with and without signatures, beside reading the same rows.

Here: a ledger of as many events as are wanted, in the mix that retrains leave (a manifest of 44 days, a model, an
evaluation, some small events), every row of it signed, in SQLite and, where `--url` names one, in an empty PostgreSQL
database. What is called signed is read by settings that name the signer, the rest by settings without. Each side runs
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

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.signed_rows import UNSIGNED, SignedRows
from fraud_retraining.domain.ledger import signatures
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Row, canonical_json, chained
from fraud_retraining.domain.ledger.signatures import SignerPolicy, SigningKey, public_text

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"a key that only this script uses")
KEY = SigningKey("pipeline", PRIVATE)
SIGNERS = {"pipeline": SignerPolicy(public_key=public_text(PRIVATE.public_key()))}
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
    ledger = Ledger(url, signed=SignedRows(SIGNERS, lambda: KEY))
    ledger.append(EventKind.RETRAIN_REQUESTED, actor="cron", payload={})
    rows = list(ledger.rows())
    texts = [(str(kind), canonical_json(payload)) for kind, payload in PAYLOADS]
    while len(rows) < count:
        kind, payload = texts[len(rows) % len(texts)]
        last = rows[-1]
        row = chained(last._replace(seq=last.seq + 1, kind=kind, payload=payload, prev_hash=last.hash))
        rows.append(KEY.signed(row))
    # The first two are there: that signing began, and a request.
    for first in range(2, len(rows), BATCH):
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


SIDES: dict[str, tuple[Callable[[Ledger], int], bool]] = {
    "read": (read, False),
    "read, signed": (read, True),
    "verify": (verify, False),
    "verify, signed": (verify, True),
}


def measure(side: str, url: str, repeats: int) -> dict[str, float]:
    work, signed = SIDES[side]
    ledger, seconds = Ledger(url, signed=SignedRows(SIGNERS) if signed else UNSIGNED), []
    ledger.head()
    cpu = []
    for _ in range(repeats):
        began, spent = time.perf_counter(), time.process_time()
        # No signature that was verified in the run before counts.
        signatures._verifies.cache_clear()
        count = work(ledger)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu), "count": count, "megabytes": peak}


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
    times = f"{'seconds':>10}{'CPU s':>8}{'process s':>11}"
    print(f"{'database':<12}{'side':<16}{'events':>9}{times}{'peak MB':>9}{'ratio':>8}")
    for name, url in urls.items():
        size = write(url, count)
        floor = None
        for side in SIDES:
            found = in_a_process(side, url, repeats)
            # Of CPU time: other work on the machine leaves it as it is.
            floor = floor or found["cpu"]
            numbers = (
                f"{found['seconds']:>10.2f}{found['cpu']:>8.2f}{found['process']:>11.2f}{found['megabytes']:>9.0f}"
            )
            print(f"{name:<12}{side:<16}{found['count']:>9,}{numbers}{found['cpu'] / floor:>7.1f}x")
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
