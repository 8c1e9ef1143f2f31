"""Results of a replay, made up by day."""

from datetime import date, timedelta

import numpy as np

from fraud_retraining.domain.replay.comparison import compared
from fraud_retraining.domain.replay.conclusion import conclusion
from fraud_retraining.domain.replay.results import DayResult, PolicyResult, Replay
from fraud_retraining.domain.replay.timeline import Step


def result_of(name: str, precisions: list[float | None]) -> PolicyResult:
    days = tuple(
        DayResult(
            day=date(2024, 3, 1) + timedelta(days=n),
            rows=10,
            frauds=int(value is not None),
            average_precision=value,
            card_precision=value or 0,
            amount_caught=100 * (value or 0),
        )
        for n, value in enumerate(precisions)
    )
    counts = dict.fromkeys(("retrains", "promotions", "refusals", "asked", "failed"), 0)
    known = [one for one in precisions if one is not None]
    mean = float(np.mean(known)) if known else None
    total = sum(day.amount_caught for day in days)
    return PolicyResult(
        name=name, days=days, average_precision=mean, card_precision=0.0, amount_caught=total, hours=1.0, **counts
    )


def replay_of(*policies: PolicyResult) -> Replay:
    """A replay with the present settings first; every policy was refused one retrain."""
    days = policies[0].days
    never = result_of("never retrain", [0.0] * len(days))
    step = Step(as_of=days[0].day, reason="schedule: it is due", outcome="refused", verdict="calibration: too far off")
    return Replay(
        first=days[0].day,
        last=days[-1].day,
        alert_budget=100,
        alert_entity="customer",
        confidence=0.95,
        policies=tuple(compared(one, policies[0], 0.95) for one in policies),
        steps={one.name: (step,) for one in policies},
        limits=("Nothing is known.",),
        conclusion=conclusion((never, *policies), 100, 0.95),
    )
