"""`fraud-retraining status`: champion, candidate, window, last retrains, what is due next, and problems."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import model_settings, read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json, Model
from fraud_retraining.commands.support.output import out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.current_state import State
    from fraud_retraining.settings import Settings


def status(
    check: Annotated[bool, typer.Option("--check", help="Leave with 1 when something needs an operator.")] = False,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Champion, candidate, window, last runs, what is due next and why, and what needs an operator."""
    with reported_failures(as_json=as_json):
        settings = read_settings(config)
        if settings.models and model is None:
            problems = _of_all(settings, as_json)
        else:
            problems = _of_one(model_settings(config, model), as_json)
        if check and problems:
            raise typer.Exit(1)


def _of_one(settings: "Settings", as_json: bool) -> Sequence[str]:
    from fraud_retraining.commands.implementation.current_state import read_state

    state = read_state(settings)
    if as_json:
        print_json(state.model_dump(mode="json"))
    else:
        _print(state)
    return state.problems


def _of_all(settings: "Settings", as_json: bool) -> Sequence[str]:
    from fraud_retraining.commands.implementation.models_state import read_models_state

    state = read_models_state(settings)
    if as_json:
        print_json(state.model_dump(mode="json"))
        return state.problems
    for name, one in state.models.items():
        out.print(f"\n[bold]{name}[/]", highlight=False)
        _print(one)
    out.print("\n[bold]All models[/]", highlight=False)
    _print_parts(state.summary())
    return state.problems


def _print(state: "State") -> None:
    from rich.table import Table

    _print_parts(state.summary())
    if state.runs:
        runs = Table("requested", "as of", "trigger", "came to", title="Last retrains")
        for run in state.runs:
            runs.add_row(f"{run.requested_at:%Y-%m-%d %H:%M}", str(run.as_of), run.trigger, run.came_to)
        out.print(runs)


def _print_parts(summary: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table

    parts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    parts.add_column(style="bold")
    parts.add_column()
    for name, sentence in summary:
        parts.add_row(name, sentence)
    out.print(parts)
