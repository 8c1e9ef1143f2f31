"""Problems of several refused days as text: each problem once, with the days that have it.

Here: grouping by problem. Not here: why a day is refused (`domain/data/ingestion.py`, `domain/data/day_checks.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from fraud_retraining.domain.values.errors import DataInvalid

RANGES_NAMED = 5
REMEDIES_NAMED = 3


def problem_lines(refused: Mapping[date, DataInvalid]) -> list[str]:
    """A line for each problem, in the order of its first day."""
    days_of: dict[str, list[date]] = {}
    for day in sorted(refused):
        days_of.setdefault(_problem(refused[day]), []).append(day)
    return [f"{ranges(days)}: {problem}" for problem, days in days_of.items()]


def remedy_of(refused: Iterable[DataInvalid]) -> str:
    """The remedies, each once, and at most three of them."""
    remedies = list(dict.fromkeys(error.remedy for error in refused if error.remedy))
    more = [f"(and {len(remedies) - REMEDIES_NAMED} more)"] if len(remedies) > REMEDIES_NAMED else []
    return " ".join([*(one if one.endswith(".") else f"{one}." for one in remedies[:REMEDIES_NAMED]), *more])


def ranges(days: Iterable[date]) -> str:
    """Days as text: unbroken runs as first to last, and their number.

    >>> ranges([date(2026, 3, 1), date(2026, 2, 28), date(2026, 3, 5)])
    '2026-02-28 to 2026-03-01 and 2026-03-05 (3 days)'
    """
    runs: list[list[date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    named = [_run(run) for run in runs[:RANGES_NAMED]]
    more = [f"{len(runs) - RANGES_NAMED} more"] if len(runs) > RANGES_NAMED else []
    total = sum(map(len, runs))
    return " and ".join([*named, *more]) + (f" ({total} days)" if total > 1 else "")


def _run(run: Sequence[date]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"


def _problem(error: DataInvalid) -> str:
    return " ".join(f"{error.what}: {'; '.join(error.culprits)}".split()) if error.culprits else error.what
