"""Retention by hand: what would go, and letting it go.

Here: the answer to the command `clean`. Not here: the rule (`domain/audit/retention.py`) and how it is carried out
(`orchestration/cleaning.py`).
"""

import getpass
from typing import Any

from rich.console import Console
from rich.table import Table

from fraud_retraining.domain.audit.retention import Removal
from fraud_retraining.orchestration.cleaning import clean, superfluous
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.settings import Settings


def clean_up(settings: Settings, *, dry_run: bool) -> list[Removal]:
    """What retention removes; only found, not removed, in a dry run.

    Raises:
        Busy: a retrain is under way.
    """
    ledger, registry = open_ledger(settings), open_registry(settings)
    if dry_run:
        return superfluous(ledger, registry, settings.retention)
    return clean(ledger, registry, settings, actor=getpass.getuser(), channel="command line")


def answer(found: list[Removal], *, dry_run: bool) -> dict[str, Any]:
    """The JSON object."""
    return {"dry_run": dry_run, "removed": [removal.model_dump(mode="json") for removal in found]}


def print_removals(found: list[Removal], out: Console, *, dry_run: bool) -> None:
    """A line for each."""
    if not found:
        out.print("Nothing goes: everything is kept by the settings under retention or for an audit.")
        return
    table = Table("what", "version", "as of", "MLflow run", "why", title="Would go" if dry_run else "Removed")
    for one in found:
        version = str(one.version) if one.version else "-"
        table.add_row(one.what, version, str(one.as_of or "-"), one.run_id[:8], one.reason)
    out.print(table)
