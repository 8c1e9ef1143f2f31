"""Output of commands: tables on stdout, messages on stderr, or one JSON object on stdout."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_OF_A_FILE = 120
NAMES_SHOWN = 5
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_FILE)
err = Console(stderr=True)


def print_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object in one line on stdout; days and times in ISO format."""

    def plain(value: Any) -> str:
        if isinstance(value, date | datetime):
            return value.isoformat()
        return str(value)

    # Not through rich: it would wrap and highlight what programs parse.
    sys.stdout.write(json.dumps(answer, default=plain, allow_nan=False) + "\n")
    sys.stdout.flush()


def first_names(names: Sequence[object]) -> str:
    """The first five names, with an ellipsis where there are more.

    >>> first_names([1, 2])
    '1, 2'
    >>> first_names(range(7))
    '0, 1, 2, 3, 4, ...'
    """
    shown = ", ".join(map(str, names[:NAMES_SHOWN]))
    return f"{shown}, ..." if len(names) > NAMES_SHOWN else shown


def metrics_table(
    candidate: Mapping[str, float | None],
    champion: Mapping[str, float | None],
    title: str = "On the holdout",
) -> "Table":
    """Metrics of the candidate beside those of the champion."""
    from rich.table import Table

    table = Table("metric", "candidate", "champion", title=title)
    for name, value in candidate.items():
        table.add_row(name, metric_text(value), metric_text(champion.get(name)))
    return table


def metric_text(value: float | None) -> str:
    """A metric with four decimals, or a dash.

    >>> metric_text(0.51239), metric_text(None)
    ('0.5124', '-')
    """
    return "-" if value is None else f"{value:.4f}"
