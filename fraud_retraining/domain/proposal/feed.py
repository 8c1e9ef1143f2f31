"""Which column of a label feed is what: guesses from names and counts, and what only a person can say.

Here: the roles of the feed's columns, and whether its ids name the transactions. Not here: the columns of the
transactions (`roles.py`), and reading either (`adapters/storage/feed_profiles.py`).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from fraud_retraining.domain.labels.policy import LabelColumns
from fraud_retraining.domain.proposal.facts import ColumnFacts, FeedFacts
from fraud_retraining.domain.proposal.roles import Choices, Question, Undecided, is_binary, is_fraud_word, plain_name
from fraud_retraining.domain.values.errors import DataInvalid, SettingsError
from fraud_retraining.domain.values.schemas import LabelValues

EVERY_ROW = "none"
"""What says that the feed has no label: each of its rows is a fraud."""
LEAST_COUNTED = 0.05
"""Below this share of the transactions that a feed names the two columns are of different things."""
MOST_MISPLACED = 0.5
"""Above this share of labels known outside their folder's day another column is the moment."""
GENUINE_WORDS = ("genuine", "legit", "legitimate")
"""What a label that was taken back is taken to say where the feed has frauds alone."""

_IDS = (
    r"(tx|trans|transaction|payment|event|order|booking)_?(id|key|uuid|number|no|num|ref(erence)?)",
    r"(tx|trans|transaction|payment|original|orig)_?.*(id|ref(erence)?)",
)
_MOMENTS = (
    r"(known|label|labell?ed|report|reported|fraud|charge_?back|dispute|confirmed)_?(at|time|date_?time|date|on|ts|timestamp)",
    r".*(known|label|report|charge_?back|dispute|confirm).*",
    r".*(_at|time|date|ts|timestamp)",
)
_OTHER_MOMENTS = r"(^|_)(tx|trans|transaction|payment|purchase|ingest|load|birth|open)"
_LABELS = (
    r"(is_?|tx_?|transaction_?)?(fraud|fraudulent|charge_?back)(_?(label|flag|ind|indicator))?",
    r"label|class|target|outcome|verdict|status|y",
)
_SOURCES = (r"(label_?|report_?|fraud_?)?(source|channel|origin|reporter|reported_by)", r".*(source|channel|origin).*")


class FeedRoles(NamedTuple):
    """What each column of the feed is. Without `label` each row is a fraud."""

    transaction_id: ColumnFacts
    known_at: ColumnFacts
    label: ColumnFacts | None
    source: ColumnFacts | None
    fraud_values: tuple[str, ...] = ()
    genuine_values: tuple[str, ...] = ()

    @property
    def columns(self) -> LabelColumns:
        """The same as settings."""
        return LabelColumns(
            transaction_id=self.transaction_id.name,
            is_fraud=self.label.name if self.label else None,
            known_at=self.known_at.name,
            source=self.source.name if self.source else None,
        )

    @property
    def values(self) -> LabelValues:
        """How the feed writes labels."""
        return LabelValues(fraud_values=self.fraud_values, genuine_values=self.genuine_values)


def decide_feed(columns: Sequence[ColumnFacts], choices: Choices, transaction_id: str | None) -> FeedRoles:
    """What each column of the feed is.

    Args:
        columns: facts of every column.
        choices: what was said about them.
        transaction_id: what the transactions call their id; None where that is not decided yet.

    Raises:
        Undecided: something cannot be told; every question at once.
        SettingsError: what was said names no column, or the moments are no timestamps.
    """
    pick = _FeedPicker(columns, choices)
    identity, known_at, source = pick.identity(transaction_id), pick.known_at(), pick.source()
    label = pick.label([one for one in (identity, known_at, source) if one is not None])
    frauds, genuine = pick.values(label)
    if pick.asked or identity is None or known_at is None:
        raise Undecided(pick.asked)
    return FeedRoles(identity, known_at, label, source, frauds, genuine)


class _FeedPicker:
    """The candidates of each role; questions are collected where there is not exactly one."""

    def __init__(self, columns: Sequence[ColumnFacts], choices: Choices) -> None:
        self._columns = {one.name: one for one in columns}
        self._choices = choices
        self.asked: list[Question] = []

    def identity(self, lakes: str | None) -> ColumnFacts | None:
        if (said := self._named("feed_id")) is not None:
            return said
        keys = [one for one in self._columns.values() if one.kind in ("integer", "text") and one.known]
        same = [one for one in keys if lakes is not None and plain_name(one.name) == plain_name(lakes)]
        return self._one("feed_id", "which column of the feed names the transaction", same or _best(keys, _IDS), keys)

    def known_at(self) -> ColumnFacts | None:
        if (said := self._named("feed_known_at")) is not None:
            return _timestamps(said)
        times = [one for one in self._columns.values() if one.kind == "time" and one.known]
        own = [one for one in times if not re.search(_OTHER_MOMENTS, plain_name(one.name))]
        asks = "which column of the feed says when a label became known"
        found = self._one("feed_known_at", asks, _best(own, _MOMENTS), times)
        return _timestamps(found) if found else None

    def source(self) -> ColumnFacts | None:
        if (said := self._named("feed_source")) is not None:
            return said
        texts = [one for one in self._columns.values() if one.kind == "text" and one.known]
        found = _best(texts, _SOURCES)
        # It is for reading alone: where several could be it, none is.
        return found[0] if len(found) == 1 else None

    def label(self, taken: Sequence[ColumnFacts]) -> ColumnFacts | None:
        if self._choices.feed_label == EVERY_ROW and EVERY_ROW not in self._columns:
            return None
        if (said := self._named("feed_label")) is not None:
            return said
        free = [one for one in self._columns.values() if one not in taken and (_says_fraud(one) or _is_choice(one))]
        if not free:
            return None
        found = _best(free, _LABELS)
        # Silence would make frauds of rows that say the opposite in words of their own.
        if len(found) == 1 and _says_fraud(found[0]):
            return found[0]
        candidates = (*(one.name for one in found or free), EVERY_ROW)
        self.asked.append(
            Question("feed_label", f"which column of the feed says fraud or not ({EVERY_ROW}: all are)", candidates)
        )
        return None

    def values(self, label: ColumnFacts | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if label is None or label.kind == "boolean" or is_binary(label):
            return (), ()
        said = self._choices.fraud_values or tuple(one for one in label.values if is_fraud_word(one))
        genuine = tuple(one for one in label.values if one not in said) or GENUINE_WORDS
        if not said:
            self.asked.append(Question("fraud_values", f"which value of {label.name} is a fraud", label.values))
        return said, genuine

    def _named(self, field: str) -> ColumnFacts | None:
        name = getattr(self._choices, field)
        if name is None:
            return None
        if name not in self._columns:
            raise SettingsError(
                f"{Question(field, '', ()).option} names {name}, and the label feed has no such column",
                culprits=[f"columns: {', '.join(self._columns)}"],
                remedy="name one of them.",
            )
        return self._columns[name]

    def _one(
        self, field: str, asks: str, found: Sequence[ColumnFacts], fallback: Sequence[ColumnFacts]
    ) -> ColumnFacts | None:
        if len(found) == 1:
            return found[0]
        self.asked.append(Question(field, asks, tuple(one.name for one in found or fallback)[:12]))
        return None


def _timestamps(column: ColumnFacts) -> ColumnFacts:
    """The column, if it is one of timestamps: a feed is read as it is.

    Raises:
        SettingsError: its values are texts or numbers.
    """
    if column.kind == "time" and not column.readings:
        return column
    raise SettingsError(
        f"{column.name} of the label feed holds no timestamps, and the moment at which a label became known is one",
        culprits=[column.words],
        remedy="write the feed with timestamps, or name another column with --feed-known-at-column.",
    )


def _best(columns: Sequence[ColumnFacts], patterns: Sequence[str]) -> list[ColumnFacts]:
    """The columns whose names match the first pattern that any matches."""
    matches = ([one for one in columns if re.fullmatch(pattern, plain_name(one.name))] for pattern in patterns)
    return next((found for found in matches if found), [])


def _is_choice(one: ColumnFacts) -> bool:
    """Whether a column has two or three words, which may mean anything."""
    return one.kind == "text" and len(one.values) in (2, 3)


def _says_fraud(one: ColumnFacts) -> bool:
    """Whether a column looks like a label: true or false, nought or one, or a few words of which one is of fraud."""
    if not one.known:
        return False
    return one.kind == "boolean" or (bool(one.values) and (is_binary(one) or any(map(is_fraud_word, one.values))))


def require_same_ids(facts: FeedFacts, identity: ColumnFacts, feed: FeedRoles, uri: str) -> None:
    """Refuse a feed that says nothing of the transactions, or whose moments are of something else.

    Raises:
        DataInvalid: hardly any of the transactions that it names is there, or most labels lie in folders of other days.
    """
    known = feed.known_at.name
    rows = facts.labels + facts.misplaced
    if facts.misplaced > MOST_MISPLACED * max(1, rows):
        raise DataInvalid(
            f"{facts.misplaced:,} of {rows:,} labels of {uri} have another day in {known} than their folder",
            remedy="a feed's folders are named by the day on which labels became known: name another column "
            "(--feed-known-at-column), or deliver the feed so.",
        )
    if not rows:
        raise DataInvalid(
            f"no label of {uri} can count: {facts.unclear:,} have no id or moment, or say neither fraud nor genuine",
            remedy="see --feed-id-column, --feed-known-at-column, --feed-label-column and --fraud-value.",
        )
    if facts.counted_share < LEAST_COUNTED:
        early = f"; {facts.early:,} labels are older than their transaction" if facts.early else ""
        raise DataInvalid(
            f"of {facts.named:,} transactions that {feed.transaction_id.name} of {uri} names, {facts.found:,} are in "
            f"{identity.name} of the days that were looked at{early}",
            culprits=[f"transactions: {identity.words}", f"label feed: {feed.transaction_id.words}"],
            remedy="name the columns that hold the same ids: --transaction-id-column, --feed-id-column.",
        )
