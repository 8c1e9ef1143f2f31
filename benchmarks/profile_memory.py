"""Peak memory of leaving a reference profile behind, beside a profile of the same window as a frame in memory.

Here: the functions that a training window uses, on days in Parquet, over few and many features and few and many rows,
each in a process of its own. What a process holds before it begins is shown apart and not counted. The other side reads
the window into a pandas frame and takes quantiles and histograms of each column. The goal is ours: memory that does not
follow the number of features, and grows by less than half of what the rows do. Not here: how long a day's report takes
(`benchmarks/drift_of_a_day.py`).

    python -m benchmarks.profile_memory [--features 40 178] [--rows 60000 240000] [--days 10]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch, peak_megabytes

FIRST = date(2026, 1, 1)
WORDS_AMONG = 10
"""Of so many features one is a category."""
WORDS = ("chip", "contactless", "online", "wallet", "atm")
MOST_WIDER, MOST_LONGER = 1.25, 0.5


def main() -> int:
    """Prints a line for each side, number of features and number of rows; 1 when the goal is missed."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](Path(options.folder), options.features[0])))
        return 0
    print(f"{'':10}{'features':>9}{'rows':>10}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'before':>8}{'grown':>7}")
    grown = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            _write_days(Path(folder), max(options.features), rows, options.days)
            for features, side in product(options.features, _SIDES):
                grown[side, features, rows] = _measured(folder, side, features, rows)
    return _judge(grown, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--features", type=int, nargs="+", default=[40, 178])
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000, 240_000], help="rows of the window")
    parser.add_argument("--days", type=int, default=10, help="days of the window")
    parser.add_argument("--side", choices=tuple(_SIDES), help="measure one side in this process")
    parser.add_argument("--folder", help="folder of the days, with --side")
    return parser.parse_args()


def _measured(folder: str, side: str, features: int, rows: int) -> float:
    """The megabytes by which a side grew, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.profile_memory", "--side", side, "--features", str(features)]
    done = subprocess.run([*command, "--folder", folder], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    grown = measured["megabytes"] - measured["before"]
    numbers = f"{measured['seconds']:>9.2f}{measured['cpu']:>8.2f}{measured['megabytes']:>9.0f}"
    numbers += f"{measured['before']:>8.0f}{grown:>7.0f}"
    print(f"{side:10}{features:>9}{rows:>10,}{numbers}", flush=True)
    return grown


def _judge(grown: dict[tuple[str, int, int], float], options: argparse.Namespace) -> int:
    """How memory follows features and rows on each side; 1 when ours follows them more than it may."""
    few, many, short, long = min(options.features), max(options.features), min(options.rows), max(options.rows)
    met = True
    for side in _SIDES:
        wider = max(grown[side, many, rows] / grown[side, few, rows] for rows in options.rows)
        longer = max(grown[side, features, long] / grown[side, features, short] for features in options.features)
        print(
            f"{side}: {many / few:.1f} times the features take {wider:.2f} times the memory, "
            f"{long / short:.1f} times the rows {longer:.2f} times"
        )
        met &= side != OURS or (wider <= MOST_WIDER and longer <= MOST_LONGER * long / short)
    return 0 if met else 1


def _names(features: int) -> tuple[list[str], list[str]]:
    """Numbers, and the words among the features."""
    every = [f"feature_{n:03d}" for n in range(features)]
    words = every[::WORDS_AMONG]
    return [name for name in every if name not in words], words


def _write_days(folder: Path, features: int, rows: int, days: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers, words = _names(features)
    for number in range(days):
        day, count = FIRST + timedelta(days=number), rows // days
        random = np.random.default_rng(number)
        moments = np.sort(random.integers(0, 86_400_000_000, count)).astype("timedelta64[us]")
        columns: dict[str, Any] = {"timestamp": np.datetime64(day, "us") + moments}
        columns |= {name: random.gamma(2, 40, count).astype(np.float32) for name in numbers}
        columns |= {name: pa.array(random.choice(WORDS, count)) for name in words}
        pq.write_table(pa.table(columns), folder / f"{day}.parquet", compression="lz4", row_group_size=131_072)


def _days(folder: Path) -> dict[date, Path]:
    return {date.fromisoformat(path.stem): path for path in sorted(folder.glob("*.parquet"))}


def _ours(folder: Path, features: int) -> dict[str, float]:
    from fraud_retraining.adapters.days.day_counts import choose_bins, counts_by_day
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.domain.monitoring.drift import DriftPolicy, FeatureProfile

    numbers, words = _names(features)
    paths = _days(folder)
    before, watch = peak_megabytes(), Stopwatch()
    with Engine(temp_directory=folder / "spill") as engine:
        bins = choose_bins(engine, paths, dict.fromkeys((*numbers, *words), tuple(paths)), words, DriftPolicy())
        counts = counts_by_day(engine, paths, bins)
        profiles = [FeatureProfile.of(one, [counts[day][one.name] for day in paths]) for one in bins]
    assert len(profiles) == features
    return {**watch.read(), "before": before}


def _in_memory(folder: Path, features: int) -> dict[str, float]:
    import numpy as np
    import pandas as pd

    numbers, words = _names(features)
    before, watch = peak_megabytes(), Stopwatch()
    frame = pd.concat([pd.read_parquet(path, columns=[*numbers, *words]) for path in _days(folder).values()])
    edges = {name: np.unique(frame[name].quantile(np.linspace(0, 1, 11))) for name in numbers}
    profiles = [np.histogram(frame[name], edges[name])[0] for name in numbers]
    profiles += [frame[name].value_counts().to_numpy() for name in words]
    assert len(profiles) == features
    return {**watch.read(), "before": before}


OURS = "ours"
_SIDES: dict[str, Callable[[Path, int], dict[str, float]]] = {OURS: _ours, "in memory": _in_memory}


if __name__ == "__main__":
    sys.exit(main())
