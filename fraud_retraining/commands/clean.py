"""`fraud-retraining clean`: removal of runs, artifacts and history that retention and audit no longer need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import model_settings, read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json, Model
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.domain.retraining.requesters import COMMAND_LINE

if TYPE_CHECKING:
    from fraud_retraining.domain.audit.retention import Removal
    from fraud_retraining.settings import Settings


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Remove runs, artifacts and Dagster's history beyond those that retention and audit keep, and say which."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.domain.data.segments import SHARED

        settings = read_settings(config)
        if not settings.models or model != SHARED:
            settings = model_settings(config, model)
        removals, forgotten = _remove(settings, dry_run), _forget(settings, dry_run)
        if as_json:
            removed = [removal.model_dump(mode="json") for removal in removals]
            print_json({"dry_run": dry_run, "removed": removed, "dagster_runs": forgotten})
        else:
            _print(removals, dry_run)
            if settings.retention.history_days is not None:
                out.print(f"{forgotten} runs of Dagster {'would be' if dry_run else 'were'} forgotten.")


def _remove(settings: "Settings", dry_run: bool) -> "list[Removal]":
    """Remove what retention does not keep; in a dry run only find it.

    Raises:
        Busy: a retrain is running.
    """
    # What several models share has no runs and no artifacts in MLflow.
    if settings.models:
        return []
    from fraud_retraining.orchestration.jobs import cleaning
    from fraud_retraining.orchestration.resources import open_ledger, open_registry

    ledger, registry = open_ledger(settings), open_registry(settings)
    if dry_run:
        return cleaning.removable(ledger, registry, settings.retention)
    return cleaning.clean(ledger, registry, settings, actor=_actor(), channel=COMMAND_LINE)


def _forget(settings: "Settings", dry_run: bool) -> int:
    """Forget runs of Dagster that retention does not keep; in a dry run only count them."""
    if settings.retention.history_days is None:
        return 0
    from fraud_retraining.orchestration.instance import open_instance
    from fraud_retraining.orchestration.jobs import cleaning
    from fraud_retraining.orchestration.resources import open_ledger

    instance, ledger = open_instance(), open_ledger(settings)
    if dry_run:
        return len(cleaning.forgettable_runs(instance, ledger, settings).run_ids)
    forgotten = cleaning.forget_runs(instance, ledger, settings, actor=_actor(), channel=COMMAND_LINE)
    return len(forgotten.run_ids)


def _actor() -> str:
    import os

    from fraud_retraining.adapters.storage.accounts import account

    # A pod may run as a number that has no name.
    return account() or f"user id {os.getuid()}"


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
