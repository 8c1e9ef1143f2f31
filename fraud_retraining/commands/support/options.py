"""Options and arguments that several commands have, and values made of them."""

from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fraud_retraining.domain.releases.release import MOST_VERSION
from fraud_retraining.domain.values.errors import SettingsError

DAY = ["%Y-%m-%d"]
"""The format of a day in an argument."""

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else FRAUD_RETRAINING_CONFIG, else ./retraining.yaml.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="FRAUD_RETRAINING_SEGMENT",
        help="Which of several models; not needed where there is one.",
    ),
]
Segment = Annotated[
    str | None,
    typer.Option(
        "--segment",
        envvar="FRAUD_RETRAINING_SEGMENT",
        help="Which of several models becomes it; not needed where there is one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Dagster's log on stderr.")]
Version = Annotated[int, typer.Argument(min=1, max=MOST_VERSION, help="Version of the registered model.")]
By = Annotated[str | None, typer.Option(help="Who decides; not needed where your token or account says so.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence that an auditor can read.")]


class SimulatedLabels(StrEnum):
    """How a simulated lake says which transactions were frauds."""

    NONE = "none"
    COLUMN = "column"
    FEED = "feed"


def day_of(value: datetime | None) -> date | None:
    """The day of a moment that typer parsed, or None.

    >>> day_of(datetime(2024, 3, 1))
    datetime.date(2024, 3, 1)
    """
    return value.date() if value else None


def checked_value(kind: Any, **arguments: Any) -> Any:
    """A frozen value made of command line arguments.

    Raises:
        SettingsError: an argument is outside its bounds; every such argument is named.
    """
    from pydantic import ValidationError

    try:
        return kind(**arguments)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()]
        raise SettingsError("The arguments cannot be obeyed.", culprits=problems) from None
