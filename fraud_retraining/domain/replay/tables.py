"""The tables of a replay: the policies side by side, their differences, decisions, and days.

Here: what stands in each cell. Not here: printing them (`adapters/pages/html.py`,
`commands/implementation/replay_output.py`).
"""

from collections.abc import Iterator

from fraud_retraining.domain.replay.decisions import decisions_grid as decision_alerts
from fraud_retraining.domain.replay.results import PolicyResult, Replay
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import NONE, Cell, Grid, grid, number, span


def tables(found: Replay) -> tuple[Grid, ...]:
    """All tables of a page about a replay."""
    alerts = decision_alerts([(policy.name, policy.decisions) for policy in found.policies])
    return (
        worth_grid(found),
        *([alerts] if alerts is not None else []),
        effort_grid(found),
        days_grid(found),
        *(decisions_grid(found, policy.name) for policy in found.policies if found.steps.get(policy.name)),
    )


def worth_grid(found: Replay) -> Grid:
    """What each policy was worth, and its differences from the present settings."""
    card, interval = f"card precision@{found.alert_budget}", f"{found.confidence:.0%} interval"
    return grid(
        "worth",
        "What each policy was worth",
        ("policy", "average precision", "difference", interval, card, "difference ", "amount caught", "difference  "),
        [_worth(policy) for policy in found.policies],
        note=f"Differences are from the present settings, with a {found.confidence:.0%} interval.",
    )


def _worth(policy: PolicyResult) -> tuple[Cell, ...]:
    against = policy.against_present
    precision = against.average_precision if against else None
    return (
        policy.name,
        number(policy.average_precision),
        _signed(precision, "+.4f"),
        span(precision, "+.4f"),
        number(policy.card_precision),
        _signed(against.card_precision if against else None, "+.4f"),
        f"{policy.amount_caught:,.0f}",
        _signed(against.amount_caught if against else None, "+,.0f"),
    )


def _signed(found: Interval | None, form: str) -> str:
    return NONE if found is None else format(found.value, form)


def effort_grid(found: Replay) -> Grid:
    """What each policy did for it."""
    costs = any(policy.cost is not None for policy in found.policies)
    columns = ("policy", "retrains", "promoted", "refused", "asked", "without a model", "hours of compute")
    return grid(
        "effort",
        "What each policy did for it",
        (*columns, "cost") if costs else columns,
        [_effort(policy, costs=costs) for policy in found.policies],
        note="Asked: a person would have been asked in every mode, and the champion stayed.",
    )


def _effort(policy: PolicyResult, *, costs: bool) -> tuple[Cell, ...]:
    counts = (policy.retrains, policy.promotions, policy.refusals, policy.asked, policy.failed)
    cost = (number(policy.cost, ",.2f"),) if costs else ()
    return (policy.name, *counts, number(policy.hours, ".2f"), *cost)


def days_grid(found: Replay) -> Grid:
    """Average precision of each served day by policy."""
    return grid(
        "days",
        "Average precision of each served day",
        ("day", "transactions", "frauds", *(policy.name for policy in found.policies)),
        list(_days(found)),
    )


def _days(found: Replay) -> Iterator[tuple[Cell, ...]]:
    for several in zip(*(policy.days for policy in found.policies), strict=True):
        first = several[0]
        yield (str(first.day), first.rows, first.frauds, *(number(one.average_precision) for one in several))


def decisions_grid(found: Replay, policy: str) -> Grid:
    """The retrains of a policy, with what became of each."""
    rows: list[tuple[Cell, ...]] = [
        (str(step.as_of), str(step.outcome), step.reason, step.verdict)
        for step in found.steps[policy]
        if step.outcome is not None
    ]
    return grid(f"decisions of {policy}", f"Retrains: {policy}", ("as of", "outcome", "why", "verdict"), rows)
