"""The result of a replay as a table, as JSON, and as a file. Not here: the page (`adapters/pages/html.py`)."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud_retraining.adapters.pages.html import replay_html
from fraud_retraining.commands.support.output import metric_text
from fraud_retraining.domain.replay.decisions import decisions_grid
from fraud_retraining.domain.replay.results import PolicyResult, Replay
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import Grid


def replay_answer(found: Replay, page: Path) -> dict[str, Any]:
    """The result as one JSON object."""
    return {**found.model_dump(mode="json"), "report": str(page)}


def write_page(found: Replay, page: Path) -> Path:
    """Writes the page, whole or not at all.

    Raises:
        SettingsError: it cannot be written there.
    """
    temporary = page.with_name(f".{page.name}")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(replay_html(found), encoding="utf-8")
        temporary.replace(page)
    except OSError as error:
        raise SettingsError(
            f"the report cannot be written to {page}", culprits=[error], remedy="name another file by --out."
        ) from None
    return page.resolve()


def print_replay(found: Replay, page: Path, console: Console) -> None:
    """The policies side by side, what the numbers rest on, where the page is, and the conclusion."""
    table = Table(
        "policy",
        "average precision",
        f"card precision@{found.alert_budget}",
        "amount caught",
        "retrains",
        "promoted",
        "refused",
        "asked",
        "hours",
        *(["cost"] if any(one.cost is not None for one in found.policies) else []),
        title=f"Served {found.first} to {found.last}",
    )
    for policy in found.policies:
        table.add_row(*_row(policy))
    console.print(table)
    alerts = decisions_grid([(policy.name, policy.decisions) for policy in found.policies])
    if alerts is not None:
        console.print(_table(alerts))
    for limit in found.limits:
        console.print(limit, highlight=False, markup=False)
    console.print(f"Report: {page}", highlight=False, markup=False, soft_wrap=True)
    console.print(found.conclusion, style="bold", highlight=False, markup=False)


def _table(grid: Grid) -> Table:
    table = Table(*grid.columns, title=grid.title)
    for row in grid.rows:
        # Names are the settings' own: brackets in them are no markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def _row(policy: PolicyResult) -> list[str]:
    differences = policy.against_present
    return [
        policy.name,
        f"{metric_text(policy.average_precision)}{_difference(differences.average_precision if differences else None)}",
        f"{metric_text(policy.card_precision)}{_difference(differences.card_precision if differences else None)}",
        f"{policy.amount_caught:,.0f}",
        str(policy.retrains),
        str(policy.promotions),
        str(policy.refusals + policy.failed),
        str(policy.asked),
        f"{policy.hours:.2f}",
        *([f"{policy.cost:,.2f}"] if policy.cost is not None else []),
    ]


def _difference(found: Interval | None) -> str:
    """A difference from the present settings with its interval; nothing where there is none."""
    if found is None or (found.value, found.low, found.high) == (0, 0, 0):
        return ""
    return f" ({found.value:+.3f}: {found.low:+.3f} to {found.high:+.3f})"
