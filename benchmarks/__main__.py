"""Every benchmark at its own size, one after the other: `python -m benchmarks [NAME ...]`, which `make bench` calls."""

import subprocess
import sys

BENCHMARKS = (
    "data_stage",
    "features_of_a_day",
    "spark_features",
    "spark_training",
    "label_day",
    "live_scoring",
    "beside_feast",
    "online_equality",
    "drift_of_a_day",
    "profile_memory",
    "retrain_overhead",
    "replay_overhead",
    "orchestration",
    "several_models",
    "ledger_verify",
    "training_memory",
    "handbook_quality",
    "simulator_decay",
    "fixed_threshold",
    "slice_alerts",
    "blocked_transactions",
    "label_times",
    "shift_recovery",
    "house",
)


def main() -> int:
    """Runs those that are named, or all; says which failed."""
    chosen = sys.argv[1:] or BENCHMARKS
    failed = []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
