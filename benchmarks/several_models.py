"""What a hundred models in one code location cost: loading them, and one look of every sensor.

Here: seconds until the repositories of some models are built and their jobs resolved, as a process of Dagster does it,
the imports left out; and, on a small simulated lake whose days are ingested, the seconds of one tick of each sensor of
some models, without the daemon's own. Not here: the work of their runs, which is that of one model each.

    python -m benchmarks.several_models [--models 100] [--looked-at 5]
"""

import argparse
import os
import tempfile
import time
import warnings
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from benchmarks.measuring import answer_of

ROOT = Path(__file__).parents[1]
START, DAYS = date(2025, 1, 1), 30


def main() -> int:
    """Measures both and prints two lines and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100, help="how many models are loaded")
    parser.add_argument("--looked-at", type=int, default=5, help="models whose sensors look")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        _enter(Path(name), given.models)
        _load(given.models)
        answer_of("ingest", "--from", str(START), "--to", str(START + timedelta(days=DAYS - 1)))
        _look(given.looked_at)
    return 0


def _enter(folder: Path, models: int) -> None:
    import yaml

    entries = [
        {"name": f"m{number}", "where": {"TX_AMOUNT": {"at_least": number, "below": number + 1}}}
        for number in range(models)
    ]
    settings = folder / "retraining.yaml"
    settings.write_text(
        yaml.safe_dump({"lake": {"uri": str(folder / "lake")}, "window": {"days": 7}, "models": entries})
    )
    os.environ |= {
        "FRAUD_RETRAINING_HOME": str(folder / "home"),
        "FRAUD_RETRAINING_CONFIG": str(settings),
        "DAGSTER_HOME": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    answer_of("simulate", "--start", str(START), "--days", str(DAYS), "--transactions-per-day", "5000")


def _load(models: int) -> None:
    from fraud_retraining.definitions import build_repositories
    from fraud_retraining.settings import load_settings

    settings = load_settings()
    began, cpu = time.perf_counter(), time.process_time()
    found = build_repositories(settings)
    built, built_cpu = time.perf_counter() - began, time.process_time() - cpu
    for one in found.values():
        for job in one.job_names:
            one.get_job(job)
    resolved, resolved_cpu = time.perf_counter() - began, time.process_time() - cpu
    sensors = sum(len(one.sensor_defs) for one in found.values())
    print(f"{models} models, {sensors} sensors: built in {built:.1f} s ({built_cpu:.1f} s of CPU)")
    print(f"with every job resolved {resolved:.1f} s ({resolved_cpu:.1f} s of CPU)")


def _look(models: int) -> None:
    import dagster as dg

    from fraud_retraining.definitions import build_repositories
    from fraud_retraining.orchestration.instance import open_instance
    from fraud_retraining.settings import load_settings

    took: dict[tuple[str, int], list[float]] = defaultdict(list)
    settings = load_settings()
    repositories = build_repositories(settings.model_copy(update={"models": settings.models[:models]}))
    with open_instance() as instance:
        # Twice: the first look of a model cuts its rows out of every day.
        for turn in (1, 2):
            for name, repository in repositories.items():
                for sensor in repository.sensor_defs:
                    whose = "of shared days" if name == "shared" else "of a model"
                    began = time.perf_counter()
                    # Not those of runs: a lease is held by a run.
                    resources = {
                        name: one
                        for name, one in repository.get_top_level_resources().items()
                        if name not in ("retrain_lease", "mlflow", "worker", "engine")
                    }
                    with dg.build_sensor_context(instance, repository_def=repository, resources=resources) as context:
                        sensor.evaluate_tick(context)
                    took[f"{sensor.name} {whose}", turn].append(time.perf_counter() - began)
    for name, turn in sorted(took):
        if turn == 1:
            first, second = (median(took[name, one]) for one in (1, 2))
            print(f"{name:40} first {first:6.3f} s, then {second:6.3f} s")


if __name__ == "__main__":
    raise SystemExit(main())
