"""`fraud-retraining status`: champion, candidate, window, last retrains, what is due next, and problems."""

from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json
from fraud_retraining.commands.support.output import out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.current_state import State


def status(
    check: Annotated[bool, typer.Option("--check", help="Leave with 1 when something needs an operator.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Champion, candidate, window, last runs, what is due next and why, and what needs an operator."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.current_state import read_state

        state = read_state(read_settings(config))
        if as_json:
            print_json(state.model_dump(mode="json"))
        else:
            _print(state)
        if check and state.problems:
            raise typer.Exit(1)


def _print(state: "State") -> None:
    from rich.table import Table

    parts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    parts.add_column(style="bold")
    parts.add_column()
    for name, sentence in state.summary():
        parts.add_row(name, sentence)
    out.print(parts)
    if state.runs:
        runs = Table("requested", "as of", "trigger", "came to", title="Last retrains")
        for run in state.runs:
            runs.add_row(f"{run.requested_at:%Y-%m-%d %H:%M}", str(run.as_of), run.trigger, run.came_to)
        out.print(runs)
