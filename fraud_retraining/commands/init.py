"""`fraud-retraining init`: proposes a `retraining.yaml` for a lake, or makes a lake of one file first."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import DAY, Json, checked_value, day_of
from fraud_retraining.commands.support.output import err, out, print_json

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.first_settings import FirstSettings
    from fraud_retraining.domain.proposal.roles import Choices, Question, Undecided
    from fraud_retraining.domain.proposal.settings_text import ProposedFeed


def init(
    lake: Annotated[
        str | None,
        typer.Argument(
            help="Lake: folder, s3://bucket/prefix or athena://database.table; with --transactions the folder to write."
        ),
    ] = None,
    transactions: Annotated[
        Path | None,
        typer.Option(help="One CSV or Parquet file, or a folder of Parquet files, that a lake is made of."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Label feed: folder, s3://bucket/prefix or, of such a lake, athena://database.table."),
    ] = None,
    target: Annotated[Path, typer.Option("--out", help="The settings file to write.")] = Path("retraining.yaml"),
    transaction_id: Annotated[
        str | None, typer.Option("--transaction-id-column", help="Column that names a transaction.")
    ] = None,
    time: Annotated[str | None, typer.Option("--time-column", help="Column with the time of a transaction.")] = None,
    time_format: Annotated[
        str | None, typer.Option(help="How its texts are written, as of strptime: %d/%m/%Y %H:%M.")
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="What its numbers count: days, hours, minutes, seconds, milliseconds, ...")
    ] = None,
    time_origin: Annotated[
        datetime | None, typer.Option(formats=DAY, help="The day from which they count, where that is not 1970.")
    ] = None,
    amount: Annotated[str | None, typer.Option("--amount-column", help="Column with the amount.")] = None,
    label: Annotated[str | None, typer.Option("--label-column", help="Column that says whether it was fraud.")] = None,
    label_time: Annotated[
        str | None, typer.Option("--label-time-column", help="Column that says when the label became known.")
    ] = None,
    fraud_value: Annotated[
        list[str] | None, typer.Option(help="What a fraud is labelled with; may be given several times.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COLUMN of a customer, card, merchant, ...; replaces what is guessed; several times."),
    ] = None,
    feed_id: Annotated[
        str | None, typer.Option("--feed-id-column", help="Column of the feed that names the transaction.")
    ] = None,
    feed_label: Annotated[
        str | None,
        typer.Option(
            "--feed-label-column", help="Column of the feed that says fraud or not; none: each row is a fraud."
        ),
    ] = None,
    feed_known_at: Annotated[
        str | None, typer.Option("--feed-known-at-column", help="Column that says when a label became known.")
    ] = None,
    feed_source: Annotated[
        str | None, typer.Option("--feed-source-column", help="Column of the feed with the origin of a label.")
    ] = None,
    athena_output: Annotated[
        str | None,
        typer.Option(help="s3:// prefix for results of queries, of this project alone: what lies there is deleted."),
    ] = None,
    athena_workgroup: Annotated[
        str | None, typer.Option(help="Workgroup that limits the bytes of a query; by default primary.")
    ] = None,
    athena_day: Annotated[
        str | None, typer.Option(help="SQL of a row's UTC day, of partition columns alone: TRY_CAST(dt AS date).")
    ] = None,
    athena_modified: Annotated[
        str | None, typer.Option(help="SQL aggregate that says when a day of a view was written last: max(loaded_at).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, as without a terminal.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a settings file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Propose settings for your data: a lake, or one file that a lake is made of, and its label feed."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.first_settings import write_first_settings
        from fraud_retraining.commands.implementation.first_sources import Sources
        from fraud_retraining.domain.proposal.roles import Choices

        choices = checked_value(
            Choices,
            transaction_id=transaction_id,
            time=time,
            amount=amount,
            label=label,
            label_time=label_time,
            fraud_values=tuple(fraud_value or ()),
            entities=_pairs(entity or []),
            time_unit=time_unit,
            time_origin=day_of(time_origin),
            time_format=time_format,
            feed_id=feed_id,
            feed_label=feed_label,
            feed_known_at=feed_known_at,
            feed_source=feed_source,
            athena_day=athena_day,
            athena_modified=athena_modified,
        )
        asks = not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty()
        written = write_first_settings(
            Sources(lake, transactions, labels, athena_output, athena_workgroup),
            target,
            choices,
            _ask if asks else _refuse,
            overwrite=force,
            notify=lambda words: err.print(words, highlight=False, markup=False),
        )
        if as_json:
            print_json(_answer(written))
        else:
            _print(written)


def _pairs(entities: list[str]) -> dict[str, str]:
    from fraud_retraining.domain.values.errors import SettingsError

    pairs = [one.partition("=") for one in entities]
    if wrong := ["=".join((name, column)) for name, sign, column in pairs if not (name and sign and column)]:
        raise SettingsError("--entity is written NAME=COLUMN", culprits=wrong, remedy="such as card=CARD_HASH.")
    return {name: column for name, _, column in pairs}


def _refuse(questions: "Undecided", _choices: "Choices") -> "Choices":
    raise questions


def _ask(questions: "Undecided", choices: "Choices") -> "Choices":
    """The choices with an answer to each question; Ctrl-C ends the command."""
    from fraud_retraining.domain.proposal.roles import Choices

    said: dict[str, Any] = choices.model_dump()
    for question in questions.questions:
        reply = _reply(question)
        said[question.field] = (reply,) if question.field == "fraud_values" else reply
    return checked_value(Choices, **said)


def _reply(question: "Question") -> str:
    err.print(f"{question.asks}?", highlight=False, markup=False)
    for number, candidate in enumerate(question.candidates, start=1):
        err.print(f"  {number}  {candidate}", highlight=False, markup=False)
    reply: str = typer.prompt("number or value", err=True).strip()
    known = dict(enumerate(question.candidates, start=1))
    return known.get(int(reply), reply) if reply.isdigit() else reply


def _answer(written: "FirstSettings") -> dict[str, Any]:
    roles = written.roles
    return {
        "settings": str(written.settings.absolute()),
        "lake": written.lake,
        "rows": written.rows,
        "days": written.days,
        "frauds": written.frauds,
        "columns": {
            "transaction_id": roles.transaction_id.name if roles.transaction_id else None,
            "timestamp": roles.time.name,
            "amount": roles.amount.name,
            "is_fraud": roles.label.name if roles.label else None,
            "labelled_at": roles.label_time.name if roles.label_time else None,
            "decision": roles.decision.name if roles.decision else None,
            "propensity": roles.propensity.name if roles.propensity else None,
        },
        "entities": {one.name: one.column.name for one in roles.entities},
        "numeric": [one.name for one in roles.numeric],
        "categorical": [one.name for one in roles.categorical],
        "forbidden": [one.name for one in roles.forbidden],
        "left_out": {one.name: why for one, why in roles.left_out},
        "may_be_entities": [one.name for one in roles.recurring],
        "labels": _feed(written.feed) if written.feed else None,
        "athena": _table(written) if written.table else None,
    }


def _feed(feed: "ProposedFeed") -> dict[str, Any]:
    facts = feed.facts
    return {
        "uri": feed.uri,
        "columns": feed.roles.columns.model_dump(),
        "labels": facts.labels,
        "transactions_named": facts.named,
        "unknown_share": round(facts.unknown_share, 4),
        "known_before_the_transaction": facts.early,
        "known_outside_their_day": facts.misplaced,
        "unclear": facts.unclear,
    }


def _table(written: "FirstSettings") -> dict[str, Any]:
    assert written.table is not None
    policy = written.table.policy
    named = ("database", "table", "workgroup", "output", "day", "modified")
    return {**{name: getattr(policy, name) for name in named}, "scanned_bytes": written.scanned_bytes}


def _print(written: "FirstSettings") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    answer = _answer(written)
    found = {**answer["columns"], **{f"entity {name}": column for name, column in answer["entities"].items()}}
    found |= {name: ", ".join(answer[name]) for name in ("numeric", "categorical", "forbidden")}
    if feed := answer["labels"]:
        found |= {f"feed {name}": column for name, column in feed["columns"].items()}
    found["left out"] = ", ".join(answer["left_out"])
    found["may be entities"] = ", ".join(answer["may_be_entities"])
    for name, value in found.items():
        if value:
            table.add_row(name, Text(value))
    out.print(table)
    out.print(
        f"{written.days} days, {written.frauds:,} frauds in {written.lake}; {written.settings} explains each choice.\n"
        "Look at it, then: fraud-retraining doctor; fraud-retraining retrain; fraud-retraining pending.",
        highlight=False,
        markup=False,
    )
