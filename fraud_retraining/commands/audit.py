"""`fraud-retraining audit ...`: the ledger, listed, shown, verified, restored, exported, archived."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings, read_settings, recorded_settings
from fraud_retraining.commands.support.decisions import open_decisions
from fraud_retraining.commands.support.failures import print_failure, reported_failures
from fraud_retraining.commands.support.options import DAY, By, Config, Json, Model, Reason, Version, day_of
from fraud_retraining.commands.support.output import err, out, print_json
from fraud_retraining.domain.releases.release import MOST_VERSION

audit = typer.Typer(help="The ledger: the append-only record of every decision.", no_args_is_help=True)


@audit.command("list")
def list_events(
    version: Annotated[int | None, typer.Option(min=1, max=MOST_VERSION, help="Only events of this version.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many, counted from the newest.")] = 50,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """The newest events; one that no signer signed, where rows are signed, says so."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.audit_tables import as_stored, print_events
        from fraud_retraining.domain.ledger.events import Event
        from fraud_retraining.orchestration.resources import open_ledger

        ledger = open_ledger(recorded_settings(config, model))
        # As they are stored: what is not acted on has to be seen by who looks for it.
        rows = list(ledger.rows(version=version))[-last:]
        not_acted_on = ledger.disbelieved(rows)
        if as_json:
            print_json(
                {
                    "events": [
                        as_stored(row) | {"not_acted_on": not_acted_on[row.seq]}
                        if row.seq in not_acted_on
                        else Event.of(row).model_dump(mode="json")
                        for row in rows
                    ]
                }
            )
        else:
            print_events(rows, out, not_acted_on)


@audit.command()
def show(version: Version, config: Config = None, model: Model = None, as_json: Json = False) -> None:
    """Why a version is live, or is not, on one screen."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_tables, audit_trail

        shown = audit_trail.show(recorded_settings(config, model), version)
        if shown.problem is not None:
            print_failure(shown.problem)
        if as_json:
            print_json({**shown.history.model_dump(mode="json"), "data_digest": shown.history.data_digest})
        else:
            audit_tables.print_history(shown.history, shown.review_report, out)


@audit.command()
def verify(
    head: Annotated[str | None, typer.Option(help="A head that was exported: SEQ:HASH, or a head.json.")] = None,
    archive: Annotated[Path | None, typer.Option(help="Folder of the archives, to verify from row 1 on.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Recompute the hash chain and replay every move; names the first bad row, missing guards, and lost heads."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_tables, audit_trail
        from fraud_retraining.domain.values.errors import RecordAltered

        found = audit_trail.verify(read_settings(config), head, archive)
        if as_json:
            with_mlflow = {"beside_mlflow": found.beside, "mlflow_not_asked": found.unknown}
            print_json({**found.ledger.model_dump(mode="json"), **with_mlflow, "ok": found.ok})
        else:
            if found.ledger.ok:
                audit_tables.print_verification(found.ledger, out)
            else:
                print_failure(audit_tables.changed(found.ledger))
            if found.beside:
                print_failure(audit_tables.beside(found.beside))
            if found.unknown:
                err.print(f"Not compared with MLflow: {found.unknown}", highlight=False, markup=False)
        if not found.ok:
            raise typer.Exit(RecordAltered.exit_code)


@audit.command()
def restore(reason: Reason, by: By = None, config: Config = None, model: Model = None, as_json: Json = False) -> None:
    """Write the table of releases anew from the chain, where it was changed and the chain is whole."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.audit_tables import print_restored

        restored = open_decisions(by, config, model).restore_releases(reason)
        if as_json:
            print_json({"restored": restored})
        else:
            print_restored(restored, out)


@audit.command()
def export(
    folder: Annotated[Path, typer.Option("--out", help="Folder that gets the files.")],
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First day of a period.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day of it.")] = None,
    version: Annotated[
        int | None, typer.Option(min=1, max=MOST_VERSION, help="The whole history of a version instead.")
    ] = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Events as Parquet and CSV, a report to read and print, and the chain's head to keep."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_tables, audit_trail

        done = audit_trail.export(
            recorded_settings(config, model), folder, version=version, first=day_of(first), last=day_of(last)
        )
        if done.problem is not None:
            print_failure(done.problem)
        if as_json:
            print_json(done.export.model_dump(mode="json"))
        else:
            audit_tables.print_export(done.export, out)


@audit.command()
def archive(
    folder: Annotated[Path, typer.Option("--out", help="Folder that keeps the archives.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Move events out that are older than ledger.retention_days; the chain goes on."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_tables, audit_trail

        archived = audit_trail.archive(read_settings(config), folder)
        if as_json:
            print_json({"archived": archived.model_dump(mode="json") if archived else None})
        else:
            audit_tables.print_archived(archived, folder, out)


@audit.command()
def key(
    file: Annotated[Path, typer.Option("--out", help="New file for the private half, readable by this account only.")],
    name: Annotated[str, typer.Option(help="Name of the signer in the settings.")] = "pipeline",
    as_json: Json = False,
) -> None:
    """A new key pair that signs events; prints the line of the public half for ledger.signers."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.adapters.ledger.signing_keys import new_key

        public = new_key(file)
        if as_json:
            print_json({"name": name, "public_key": public, "file": str(file)})
        else:
            err.print(f"The private key is in {file}; put under ledger.signers:", highlight=False, markup=False)
            out.print(f'{name}: {{public_key: "{public}"}}', highlight=False, markup=False, soft_wrap=True)


@audit.command()
def sign(reason: Reason, by: By = None, config: Config = None, model: Model = None, as_json: Json = False) -> None:
    """Begin to sign every event, after ledger.signers was set; what is there is verified first."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_trail

        began = audit_trail.begin_signing(model_settings(config, model), open_decisions(by, config, model), reason)
        if as_json:
            print_json({"signed_from": began.seq})
        else:
            out.print(f"From row {began.seq} on every event is signed.", highlight=False)


@audit.command()
def void(
    rows: Annotated[str, typer.Argument(help="Number of the row, as `audit verify` names it, or FROM..TO.")],
    reason: Reason,
    despite_signature: Annotated[
        bool,
        typer.Option("--despite-signature", help="Also what is signed, but by a signer that the settings refuse."),
    ] = False,
    by: By = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Take rows that no signer signed out of the record: they stay in the chain, and nobody acts on them."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation import audit_trail

        named = audit_trail.named_rows(rows)
        settings, decisions = model_settings(config, model), open_decisions(by, config, model)
        done = audit_trail.void(settings, decisions, named, reason, despite_signature=despite_signature)
        if as_json:
            print_json({"void": named.first, "through": named.last or named.first, "row": done.seq})
        else:
            which = f"Row {named.first} is" if named.last is None else f"Rows {named.first} to {named.last} are"
            out.print(f"{which} void, by row {done.seq}.", highlight=False)


@audit.command()
def grant(
    role: Annotated[str, typer.Option(help="Role that the application connects as.")],
    execute: Annotated[bool, typer.Option("--execute", help="Carry them out, as the owner of the tables.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The grants of a PostgreSQL role that may add to the record and change nothing in it."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.audit_trail import grants

        statements = grants(read_settings(config), role, execute=execute)
        if as_json:
            print_json({"role": role, "executed": execute, "statements": statements})
        else:
            lines = "\n".join(f"{statement};" for statement in statements)
            out.print(lines, highlight=False, markup=False, soft_wrap=True)
