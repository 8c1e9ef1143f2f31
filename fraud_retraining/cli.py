"""The program `fraud-retraining`, assembled from its commands.

People read tables on stdout, and progress on stderr; with `--json` stdout is exactly one JSON object. Not here: what a
command does (`commands/`, one file each).
"""

import gc
from typing import Annotated

import typer

from fraud_retraining.adapters.storage.private_files import close_new_files
from fraud_retraining.commands.approve import approve
from fraud_retraining.commands.audit import audit
from fraud_retraining.commands.backfill import backfill
from fraud_retraining.commands.clean import clean
from fraud_retraining.commands.demo import demo
from fraud_retraining.commands.dev import dev
from fraud_retraining.commands.doctor import doctor
from fraud_retraining.commands.export_scorer import export_scorer
from fraud_retraining.commands.import_champion import import_champion
from fraud_retraining.commands.ingest import ingest
from fraud_retraining.commands.init import init
from fraud_retraining.commands.link import link
from fraud_retraining.commands.pending import pending
from fraud_retraining.commands.reject import reject
from fraud_retraining.commands.replay import replay
from fraud_retraining.commands.resume import resume
from fraud_retraining.commands.retire_champion import retire_champion
from fraud_retraining.commands.retrain import retrain
from fraud_retraining.commands.rollback import rollback
from fraud_retraining.commands.serve_approvals import serve_approvals
from fraud_retraining.commands.serve_scores import serve_scores
from fraud_retraining.commands.simulate import simulate
from fraud_retraining.commands.status import status
from fraud_retraining.commands.support.failures import JsonUsageErrors
from fraud_retraining.commands.support.output import out

app = typer.Typer(
    name="fraud-retraining",
    cls=JsonUsageErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# `--help` lists the commands in this order. A command is called as its function, `_` as `-`.
COMMANDS = (
    init,
    simulate,
    ingest,
    retrain,
    backfill,
    replay,
    status,
    doctor,
    approve,
    reject,
    rollback,
    pending,
    import_champion,
    retire_champion,
    resume,
    link,
    clean,
    demo,
    serve_scores,
    export_scorer,
    serve_approvals,
    dev,
)
for command in COMMANDS:
    app.command()(command)
app.command("serve", hidden=True, help="Alias of serve-approvals.")(serve_approvals)
app.add_typer(audit, name="audit")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"fraud-retraining {version('fraud-retraining')}", highlight=False)
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Keeps a fraud model fresh: windows, training, gates, releases and the record of it all."""


def main() -> None:
    """Entry point; usage errors leave with 2, as settings errors do."""
    close_new_files()
    # A command imports some hundred thousand objects that stay: as often as Python is set to, it walks them again and
    # again.
    gc.set_threshold(20_000, 50, 50)
    app()


if __name__ == "__main__":
    main()
