"""The proposed settings as the text of a `retraining.yaml`, each with its reason as a comment.

Here: the text. Not here: what is proposed (`roles.py`, `volumes.py`).
"""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from fraud_retraining.domain.data.athena_table import AthenaPolicy
from fraud_retraining.domain.proposal.facts import ColumnFacts, DayFacts, FeedFacts
from fraud_retraining.domain.proposal.feed import FeedRoles
from fraud_retraining.domain.proposal.roles import ROW_NUMBER, Entity, Roles
from fraud_retraining.domain.proposal.volumes import Proposed, Volumes
from fraud_retraining.domain.values.schemas import TRANSACTION

WIDTH = 118


class ProposedTable(NamedTuple):
    """A lake that is a table of Athena, and why its day is what it is."""

    policy: AthenaPolicy
    why: str


class ProposedFeed(NamedTuple):
    """A label feed: its address, its columns, and what it holds."""

    uri: str
    roles: FeedRoles
    facts: FeedFacts

    @property
    def words(self) -> str:
        """The facts in a sentence."""
        facts = self.facts
        found = f"{facts.labels:,} labels name {facts.named:,} transactions"
        found += f", {facts.unknown_share:.1%} of which are not among those that were looked at"
        odd = {
            "are older than their transaction": facts.early,
            "lie in the folder of another day": facts.misplaced,
            "have no id or moment, or another label": facts.unclear,
        }
        return found + "".join(f"; {count:,} {words}" for words, count in odd.items() if count)


def settings_text(
    roles: Roles,
    volumes: Volumes,
    days: Sequence[DayFacts],
    *,
    lake: str,
    source: str,
    partly: bool = False,
    table: ProposedTable | None = None,
    feed: ProposedFeed | None = None,
) -> str:
    """The text of the settings file.

    Args:
        roles: which column is what.
        volumes: windows and thresholds.
        days: the days that were counted.
        lake: address of the lake.
        source: what was looked at.
        partly: whether only the last days of a lake were looked at.
        table: the lake, where it is a table of Athena.
        feed: the label feed, where there is one.
    """
    where = [f"lake: {{uri: {_plain(lake)}}}"] if table is None else _table(table)
    return "\n".join([*_head(days, source, partly, feed), *where, "", *_lines(roles, volumes, feed)]) + "\n"


def _head(days: Sequence[DayFacts], source: str, partly: bool, feed: ProposedFeed | None) -> Iterator[str]:
    rows, frauds = sum(day.rows for day in days), sum(day.frauds for day in days)
    labelled = sum(day.labelled for day in days)
    only = "the last " if partly else ""
    known = f"{labelled:,} labelled, {frauds:,} of them frauds"
    if feed is not None:
        known = f"{frauds:,} of them are frauds that the label feed {feed.uri} has reported by then"
    yield from _comment(
        f"Proposed by `fraud-retraining init` from {source}: {rows:,} rows on {only}{len(days)} days, "
        f"{days[0].day} to {days[-1].day}; {known}. Each comment says what "
        "was seen. Every key, with its default, stands in the retraining.yaml of the project."
    )
    yield ""


def _table(table: ProposedTable) -> Iterator[str]:
    policy = table.policy
    yield "lake:"
    yield from _comment(
        "A day is what a query of this table gives: costs, limits and permissions are in docs/lake.md.", 2
    )
    yield "  kind: athena"
    yield f"  database: {_plain(policy.database)}"
    yield f"  table: {_plain(policy.table)}"
    yield from _comment(f"It limits the bytes of a query; at most {policy.max_scanned_bytes:,}.", 2)
    yield f"  workgroup: {_plain(policy.workgroup)}"
    yield from _comment("Results and unloaded rows, deleted when they were read: nothing else may lie there.", 2)
    yield f"  output: {_plain(policy.output)}"
    yield from _comment(f"A row's UTC day: {table.why}.", 2)
    yield f"  day: {_plain(policy.day)}"
    if policy.modified != AthenaPolicy.model_fields["modified"].default:
        yield from _comment("When a day was written last, as --athena-modified says.", 2)
        yield f"  modified: {_plain(policy.modified)}"


def _lines(roles: Roles, volumes: Volumes, feed: ProposedFeed | None) -> Iterator[str]:
    settings = volumes.settings
    yield from _columns(roles)
    yield ""
    yield from _entities(roles.entities, volumes.windows_days, roles.recurring)
    yield ""
    yield from _features(roles)
    yield ""
    yield "labels:"
    if feed is not None:
        yield from _feed(feed)
        yield from _listed(feed.roles.label, feed.roles.fraud_values, feed.roles.genuine_values)
    yield from _listed(roles.label, roles.fraud_values, roles.genuine_values)
    yield from _keys(settings, "labels")
    if roles.blocking:
        yield from _comment(
            "By their words. Without a control group nothing can be said of what was blocked: docs/labels.md."
            if roles.propensity is None
            else "By their words.",
            2,
        )
        yield f"  blocked: {{decisions: {_plain(roles.blocking)}}}"
    for section in ("window", "holdout", "validation"):
        yield ""
        yield f"{section}:"
        yield from _keys(settings, section)
    yield ""
    yield "gates:"
    yield from _keys(settings, "gates")
    alert = roles.entities[0].name if roles.entities else TRANSACTION
    yield from _comment(
        "Whom an alert is about, and resamples draw."
        if roles.entities
        else "Without entities alerts are about single transactions, and no feature looks back.",
        2,
    )
    yield f"  alert_entity: {alert}"
    yield ""
    yield from _comment("A reviewer approves each candidate; auto and earned are explained in docs/releases.md.")
    yield "promotion: {mode: manual}"


def _feed(feed: ProposedFeed) -> Iterator[str]:
    yield from _comment(f"{feed.words}. A transaction counts as genuine until the feed says otherwise.", 2)
    yield f"  uri: {_plain(feed.uri)}"
    yield "  columns:"
    roles = feed.roles
    for canonical, column in (
        ("transaction_id", roles.transaction_id),
        ("is_fraud", roles.label),
        ("known_at", roles.known_at),
        ("source", roles.source),
    ):
        if column is not None:
            yield from _comment(f"{column.words}.", 4)
        elif canonical == "is_fraud":
            yield from _comment("No column says fraud or not: every row of the feed is a fraud.", 4)
        yield f"    {canonical}: {_plain(column.name if column else None)}"


def _listed(label: ColumnFacts | None, frauds: Sequence[str], genuine: Sequence[str]) -> Iterator[str]:
    if label is not None and frauds:
        yield from _comment(f"{label.words}.", 2)
        yield f"  fraud_values: {_plain(frauds)}"
        yield f"  genuine_values: {_plain(genuine)}"


def _columns(roles: Roles) -> Iterator[str]:
    yield "columns:"
    named: list[tuple[str, ColumnFacts | None]] = [
        ("transaction_id", roles.transaction_id),
        ("timestamp", roles.time),
        ("amount", roles.amount),
        ("is_fraud", roles.label),
        ("labelled_at", roles.label_time),
        ("decision", roles.decision),
        ("propensity", roles.propensity),
    ]
    for canonical, column in named:
        if column is None:
            if canonical == "transaction_id":
                yield from _comment("No column names a transaction: the number of its row in the file was added.", 2)
                yield f"  transaction_id: {ROW_NUMBER}"
            if canonical == "is_fraud":
                yield from _comment("The label feed says what was fraud; no column of the rows is read for it.", 2)
                yield "  is_fraud: null"
            continue
        yield from _comment(f"{column.words}{_converted(roles, canonical)}.", 2)
        yield f"  {canonical}: {_plain(column.name)}"


def _converted(roles: Roles, canonical: str) -> str:
    if canonical == "transaction_id" and roles.transaction_id is not None:
        copies = roles.transaction_id.known - roles.transaction_id.distinct
        several = f"; {copies:,} rows have the id of another one, docs/lake.md says which copy counts"
        return several if copies else ", one a row"
    if canonical == "timestamp" and roles.time_reading:
        start = roles.origin or date(1970, 1, 1)
        unit = roles.time.kind in ("integer", "number")
        return f"; read as {roles.time_reading} since {start}" if unit else f"; read as {roles.time_reading}"
    if canonical == "amount" and roles.amount.least.startswith("-"):
        return "; rows with a negative amount are rejected by name"
    if canonical == "decision":
        return "; a blocked transaction is unknown, not genuine (docs/labels.md)"
    if canonical == "is_fraud" and roles.label is not None and roles.label.missing:
        return "; a missing label is unknown, never genuine"
    return ""


def _without_entities(recurring: Sequence[ColumnFacts]) -> str:
    if not recurring:
        return "No column is a key that comes back, such as a customer, card or merchant."
    named = ", ".join(one.name for one in recurring)
    return (
        f"No column's name speaks of a customer, card or merchant. Values come back in {named}: where one of them is "
        f"such a key, say so (init --force --entity card={recurring[0].name}); most features look back on keys."
    )


def _entities(entities: Sequence[Entity], windows: Sequence[int], recurring: Sequence[ColumnFacts]) -> Iterator[str]:
    if not entities:
        yield from _comment(_without_entities(recurring))
        yield "entities: {}"
        return
    yield "entities:"
    for one in entities:
        many = one.column.known / max(1, one.column.distinct)
        yield from _comment(f"{one.column.words}; {many:,.1f} transactions each.", 2)
        yield f"  {one.name}:"
        yield f"    column: {_plain(one.column.name)}"
        if one.column.missing:
            yield "    nullable: true"
        yield f"    windows_days: {_plain(list(windows))}"
        if one.fraud_share:
            yield from _comment("Frauds of others here say something about the next transaction.", 4)
            yield "    fraud_share: true"


def _features(roles: Roles) -> Iterator[str]:
    yield "features:"
    for key, columns in (("numeric", roles.numeric), ("categorical", roles.categorical)):
        yield from _comments((one.words for one in columns), 2)
        yield f"  {key}: {_plain([one.name for one in columns])}"
    yield from _comments((f"{one.words}; its name says that it holds the answer" for one in roles.forbidden), 2)
    yield f"  forbidden: {_plain([one.name for one in roles.forbidden])}"
    yield from _comments((f"left out: {one.words}; {why}" for one, why in roles.left_out), 2)


def _keys(settings: Mapping[str, Proposed], section: str) -> Iterator[str]:
    for name, (value, why) in settings.items():
        part, _, key = name.partition(".")
        if part == section:
            yield from _comment(f"{why}.", 2)
            yield f"  {key}: {value}"


def _comments(sentences: Iterable[str], indent: int) -> Iterator[str]:
    for sentence in sentences:
        yield from _comment(sentence, indent)


def _comment(sentence: str, indent: int = 0) -> Iterator[str]:
    start = " " * indent + "# "
    # A value of the data may hold anything, and a comment ends with its line.
    plain = "".join(sign if sign.isprintable() else "?" for sign in sentence)
    yield from textwrap.wrap(plain, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False)


def _plain(value: Any) -> str:
    """A value as YAML writes it on one line; texts in quotes where they could be read as anything else."""
    return json.dumps(value, ensure_ascii=False)
