"""What Dagster adds to a retrain: loading the definitions, and the time around and between the steps.

Here: seconds above `import dagster` until the definitions are loaded; and, from the event logs of one retrain by the
command line and one by the daemon's queue, how long each waited before its first step, between its steps and after the
last one. Sampled on a small simulated lake, because none of these depends on its size. Not here: the work within the
steps (`benchmarks/retrain_overhead.py`).

    python -m benchmarks.orchestration [--repeats 5]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from benchmarks.measuring import answer_of

ROOT = Path(__file__).parents[1]
START, DAYS, EVERY = date(2025, 1, 1), 40, 2
SETTINGS = {
    "environment": "development",
    "window": {"days": 14},
    "validation": {"min_rows": 1_000, "min_holdout_frauds": 1},
    "gates": {"min_average_precision": 0, "min_roc_auc": 0, "max_calibration_error": 100, "max_regression": 1},
    "promotion": {"mode": "auto"},
}
LOADED = "import fraud_retraining.definitions as d; d.defs()"
PATIENCE = 300


class Split(NamedTuple):
    """Seconds of a retrain that no step took, and those that the steps took."""

    before: float
    between: float
    after: float
    steps: float

    @property
    def orchestration(self) -> float:
        """What the run cost beyond its steps."""
        return self.before + self.between + self.after


def main() -> int:
    """Measures both and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="loads of the definitions, of which the fastest counts")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        _enter(Path(name))
        _print_loading(_fastest("import dagster", repeats), _fastest(f"import dagster; {LOADED}", repeats))
        first, second = (START + timedelta(days=DAYS - 1 - n) for n in (EVERY, 0))
        answer_of("ingest", "--from", str(START), "--to", str(second))
        answer_of("retrain", "--as-of", str(START + timedelta(days=DAYS - 1 - 2 * EVERY)))
        _print_retrains({"command line": _by_command(first), "daemon": _by_daemon(second)})
    return 0


def _enter(folder: Path) -> None:
    import yaml

    home = folder / "home"
    settings = folder / "retraining.yaml"
    settings.write_text(yaml.safe_dump({**SETTINGS, "lake": {"uri": str(folder / "lake")}}))
    os.environ |= {
        "FRAUD_RETRAINING_HOME": str(home),
        "FRAUD_RETRAINING_CONFIG": str(settings),
        "DAGSTER_HOME": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    answer_of("simulate", "--start", str(START), "--days", str(DAYS), "--transactions-per-day", "10000")


def _fastest(code: str, repeats: int) -> float:
    return min(_seconds(code) for _ in range(repeats))


def _seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def _by_command(as_of: date) -> Split:
    began = time.time()
    run = answer_of("retrain", "--as-of", str(as_of))["dagster_run_id"]
    return _split(run, began, time.time())


def _by_daemon(as_of: date) -> Split:
    tags = {"dagster/partition": str(as_of), "as_of": str(as_of), "trigger": "manual"}
    launch = [sys.executable, "-m", "dagster", "job", "launch", "--job", "retrain", "--tags", json.dumps(tags)]
    with _daemon():
        subprocess.run(
            [*launch, "--workspace", str(ROOT / "workspace.yaml")], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
        )
        record = _ended()
    return _split(record.dagster_run.run_id, record.create_timestamp.timestamp(), record.end_time or 0)


@contextmanager
def _daemon() -> Iterator[None]:
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(ROOT / "workspace.yaml")]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)


def _ended() -> dg.RunRecord:
    """The newest run, once it has ended well."""
    from fraud_retraining.orchestration.instance import open_instance

    instance, began = open_instance(), time.monotonic()
    while time.monotonic() - began < PATIENCE:
        (record,) = instance.get_run_records(limit=1)
        if record.dagster_run.is_success:
            return record
        if record.dagster_run.is_finished:
            break
        time.sleep(1)
    raise SystemExit(f"the run {record.dagster_run.run_id} of the daemon is {record.dagster_run.status}")


def _split(run_id: str, began: float, ended: float) -> Split:
    """The seconds of a run around its steps, from its event log."""
    from fraud_retraining.orchestration.instance import open_instance

    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
    records = open_instance().get_records_for_run(run_id, of_type=kinds).records
    times = sorted((one.event_log_entry.timestamp, one.event_log_entry.dagster_event_type) for one in records)
    at = [time for time, _ in times]
    assert [kind for _, kind in times] == [dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS] * (
        len(times) // 2
    ), "steps run one after the other"
    between = sum(start - done for done, start in zip(at[1::2], at[2::2], strict=False))
    steps = sum(done - start for start, done in zip(at[::2], at[1::2], strict=True))
    return Split(at[0] - began, between, ended - at[-1], steps)


def _print_loading(alone: float, loaded: float) -> None:
    print(f"import dagster {alone:.2f} s, with the definitions {loaded:.2f} s: {loaded - alone:.2f} s above it\n")


def _print_retrains(retrains: dict[str, Split]) -> None:
    print(f"{'one retrain by':<16}{'before':>9}{'between':>9}{'after':>9}{'orchestration':>15}{'steps':>9}")
    for name, one in retrains.items():
        print(
            f"{name:<16}{one.before:>9.2f}{one.between:>9.2f}{one.after:>9.2f}{one.orchestration:>15.2f}"
            f"{one.steps:>9.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
