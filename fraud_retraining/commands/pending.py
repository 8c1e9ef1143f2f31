"""`fraud-retraining pending`: releases that wait for a reviewer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fraud_retraining.commands.support.decisions import open_decisions
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json, Model
from fraud_retraining.commands.support.output import metrics_table, out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.release_decisions import Waiting


def pending(config: Config = None, model: Model = None, as_json: Json = False) -> None:
    """What waits for a reviewer: its numbers beside the champion's, and until when."""
    with reported_failures(as_json=as_json):
        waiting = open_decisions(None, config, model).pending()
        if as_json:
            print_json({"pending": [one.model_dump(mode="json") for one in waiting]})
        else:
            _print(waiting)


def _print(waiting: Sequence["Waiting"]) -> None:
    from rich.table import Table

    if not waiting:
        out.print("nothing waits for a reviewer", highlight=False)
    for one in waiting:
        release = one.release
        state = release.state.replace("_", " ")
        out.print(f"[bold]Version {release.version}[/] as of {release.as_of}: {state}", highlight=False)
        rows = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        rows.add_row("trigger", f"{release.trigger}, requested by {release.requested_by or 'automation'}")
        rows.add_row("why it waits", release.reason)
        if one.seconds_left is not None and release.deadline is not None:
            left = f"{one.seconds_left / 3600:.1f} hours left"
            rows.add_row("decide before", f"{release.deadline:%Y-%m-%d %H:%M} UTC, {left}")
        if release.first_approval_by:
            rows.add_row("first approval", f"{release.first_approval_by}; a second reviewer has to approve")
        rows.add_row("artifact", release.artifact_digest)
        out.print(rows)
        out.print(metrics_table(one.candidate, one.champion or {}))
