"""`fraud-retraining doctor`: checks settings, machine and every dependency, and says what to do."""

from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json
from fraud_retraining.commands.support.output import out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.diagnosis import Diagnosis


def doctor(
    timeout: Annotated[float, typer.Option(min=1, max=600, help="Longest that one check may take, in seconds.")] = 10,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check settings, machine and every dependency; changes nothing, and says what to do."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.examination import examine

        found = examine(config, timeout)
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            _print(found)
        if found.exit_code:
            raise typer.Exit(found.exit_code)


def _print(found: "Diagnosis") -> None:
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("check", "", "found", "what to do", box=None, padding=(0, 2, 0, 0))
    for one in found.checks:
        # As text: a finding may hold brackets that rich would take for its own.
        state = Text(one.state.value, style=colours[one.state.value])
        table.add_row(Text(one.check), state, Text(one.found), Text(one.remedy))
    out.print(table)
    out.print(found.summary)
