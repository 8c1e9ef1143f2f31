"""`fraud-retraining clean`: removal of runs and artifacts that retention and audit no longer need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json
from fraud_retraining.commands.support.output import out, print_json

if TYPE_CHECKING:
    from fraud_retraining.domain.audit.retention import Removal
    from fraud_retraining.settings import Settings


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Remove runs and artifacts beyond those that retention and audit keep, and say which."""
    with reported_failures(as_json=as_json):
        removals = _remove(read_settings(config), dry_run)
        if as_json:
            print_json({"dry_run": dry_run, "removed": [removal.model_dump(mode="json") for removal in removals]})
        else:
            _print(removals, dry_run)


def _remove(settings: "Settings", dry_run: bool) -> "list[Removal]":
    """Remove what retention does not keep; in a dry run only find it.

    Raises:
        Busy: a retrain is running.
    """
    import getpass

    from fraud_retraining.orchestration.jobs import cleaning
    from fraud_retraining.orchestration.resources import open_ledger, open_registry

    ledger, registry = open_ledger(settings), open_registry(settings)
    if dry_run:
        return cleaning.removable(ledger, registry, settings.retention)
    return cleaning.clean(ledger, registry, settings, actor=getpass.getuser(), channel="command line")


def _print(removals: "Sequence[Removal]", dry_run: bool) -> None:
    from rich.table import Table

    if not removals:
        out.print("Nothing goes: everything is kept by the settings under retention or for an audit.")
        return
    table = Table("what", "version", "as of", "MLflow run", "why", title="Would go" if dry_run else "Removed")
    for one in removals:
        version = str(one.version) if one.version else "-"
        table.add_row(one.what, version, str(one.as_of or "-"), one.run_id[:8], one.reason)
    out.print(table)
