"""A replay of several policies against the bare fits that it cannot avoid, and two processes against one.

The bare side fits each distinct model of the replay once, by the same function on the same rows of the store, one after
the other; which models these are is read from what the replay has kept. The replay beside it begins with an empty
folder: decisions with drift, windows, fits, comparisons, scores of the served days, the page. Each side runs in a
process of its own.

    python -m benchmarks.replay_overhead [--days 60] [--rows-per-day 10000] [--trees N]
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch

START = date(2025, 1, 1)
FIRST_SERVED = START + timedelta(days=44)
DELAY = 7
POLICIES: dict[str, Any] = {
    "weekly": {"triggers": {"schedule": {"every_hours": 168}}},
    "every 2 days, no drift": {"triggers": {"drift": None}},
    "window of 14 days": {"window": {"days": 14}},
    "every 4 days, window of 21 days": {"triggers": {"schedule": {"every_hours": 96}}, "window": {"days": 21}},
}


def main() -> None:
    """Prepares a store, runs the sides and prints a table."""
    options = _options()
    if options.bare:
        print(json.dumps(_bare(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(options.folder or name)
        _prepare(folder, options)
        sides = {"replay, 1 process": _replay(folder, options, 1)}
        sides["bare fits"] = _side(folder, options)
        sides["replay, 2 processes"] = _replay(folder, options, 2)
        _print(sides, len(_fits(folder)), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=60, help="served days")
    parser.add_argument("--rows-per-day", type=int, default=10_000)
    parser.add_argument("--trees", type=int, help="trees of each model; by default those of the settings")
    parser.add_argument("--folder", help="where lake and home are kept; by default a temporary folder")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _last_served(options: argparse.Namespace) -> date:
    return FIRST_SERVED + timedelta(days=options.days - 1)


def _prepare(folder: Path, options: argparse.Namespace) -> None:
    """A lake and a home that holds all of it; one that is there already is used again."""
    import yaml

    settings: dict[str, Any] = {
        "lake": {"uri": str(folder / "lake")},
        "labels": {"delay_days": DELAY},
        "validation": {"min_rows": 1000},
        "gates": {"min_average_precision": 0.05},
    }
    if options.trees:
        settings["model"] = {"params": {"n_estimators": options.trees}}
    (folder / "retraining.yaml").write_text(yaml.safe_dump(settings))
    (folder / "policies.yaml").write_text(yaml.safe_dump(POLICIES))
    if (folder / "ready").exists():
        return
    last = _last_served(options) + timedelta(days=DELAY)
    shift = FIRST_SERVED + timedelta(days=options.days // 2)
    sizes = ["--days", str((last - START).days + 1), "--transactions-per-day", str(options.rows_per_day)]
    _command(folder, "simulate", "--start", str(START), *sizes, "--shift-on", str(shift), "--labels", "none")
    _command(folder, "ingest", "--from", str(START), "--to", str(last))
    (folder / "ready").touch()


def _command(folder: Path, *arguments: str) -> None:
    program = [sys.executable, "-m", "fraud_retraining.cli", *arguments]
    subprocess.run(program, check=True, env=_environment(folder), stdout=subprocess.DEVNULL)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "FRAUD_RETRAINING_HOME": str(folder / "home"),
        "FRAUD_RETRAINING_CONFIG": str(folder / "retraining.yaml"),
        "OMP_WAIT_POLICY": "passive",
    }


def _replay(folder: Path, options: argparse.Namespace, processes: int) -> dict[str, float]:
    """Seconds of a replay from nothing; processor seconds are those of all its processes."""
    shutil.rmtree(folder / "home" / "replay", ignore_errors=True)
    days = ["--from", str(FIRST_SERVED), "--to", str(_last_served(options))]
    more = ["--policies", str(folder / "policies.yaml"), "--processes", str(processes)]
    before, began = _children(), time.perf_counter()
    _command(folder, "replay", *days, *more)
    return {"seconds": time.perf_counter() - began, "cpu": _children() - before}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _side(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    program = [sys.executable, "-m", "benchmarks.replay_overhead", "--bare", "--folder", str(folder)]
    done = subprocess.run(
        [*program, "--days", str(options.days)], stdout=subprocess.PIPE, check=True, env=_environment(folder)
    )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _fits(folder: Path) -> dict[str, date]:
    """The fingerprints that the last replay fitted, with their as-of days."""
    facts = [json.loads(path.read_bytes()) for path in (folder / "home" / "replay" / "fits").glob("*/facts.json")]
    return {one["fingerprint"]: date.fromisoformat(one["as_of"]) for one in facts}


def _bare(options: argparse.Namespace) -> dict[str, float]:
    """The same models fitted by themselves, on windows that were built before."""
    from fraud_retraining.adapters.days.known_labels import KnownLabels
    from fraud_retraining.adapters.days.window_rows import WindowRows
    from fraud_retraining.commands.implementation.replay_policies import policies_of
    from fraud_retraining.domain.training.fitting import fit
    from fraud_retraining.domain.values.schemas import TRANSACTION_ID
    from fraud_retraining.orchestration.resources import open_lake, open_store
    from fraud_retraining.orchestration.state.window_assembly import build_window, model_fingerprint
    from fraud_retraining.settings import load_settings

    folder = Path(options.folder)
    settings = load_settings()
    lake, store = open_lake(settings), open_store(settings)
    wanted, windows = _fits(folder), {}
    for one in policies_of(folder / "policies.yaml", settings):
        for as_of in sorted(set(wanted.values())):
            window = build_window(as_of, one.settings, lake, store)
            fingerprint = model_fingerprint(window, one.settings).digest
            if fingerprint in wanted:
                windows[fingerprint] = window, one.settings.model
    assert windows.keys() == wanted.keys()
    watch = Stopwatch()
    for window, model in windows.values():
        columns = [TRANSACTION_ID, *window.features]
        rows = WindowRows(store, window.training, window.days.as_of, columns, KnownLabels.of(window, store))
        fit(model, window.features, window.categorical, rows)
    return watch.read()


def _print(sides: dict[str, dict[str, float]], fits: int, options: argparse.Namespace) -> None:
    base = sides["bare fits"]
    rows = options.days * options.rows_per_day
    print(f"{len(POLICIES) + 2} policies over {options.days} days, {rows:,} served rows, {fits} distinct fits")
    print(f"{'':24}" + "".join(f"{name:>9}{'ratio':>7}" for name in ("seconds", "CPU s")))
    for name, found in sides.items():
        numbers = (f"{found[key]:9.1f}{found[key] / base[key]:7.2f}" for key in ("seconds", "cpu"))
        print(f"{name:24}{''.join(numbers)}")
    one, two = (sides[f"replay, {name}"]["seconds"] for name in ("1 process", "2 processes"))
    print(f"2 processes are {one / two:.2f} times as fast as 1")


if __name__ == "__main__":
    main()
