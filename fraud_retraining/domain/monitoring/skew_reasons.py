"""Why an answer rested on other features than the batch's, as far as the day's rows can tell.

Here: the reasons, and finding one for each answer. Not here: which answers differ (`served_skew.py`).

A scorer knows the transactions that it was given before; the batch knows those that the lake has. So most reasons lie
in an earlier transaction of one of the same entities on the same day: the scorer did not have it, or had another one.
Of the day before nothing is asked: the state of that day holds the lake's transactions, whatever was scored.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraud_retraining.domain.serving.served_rows import SCORED_AT, SCORER
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

NEVER = np.iinfo(np.int64).max
ALWAYS = np.iinfo(np.int64).min


class Reason(StrEnum):
    """Reasons, the one that hides most others first. The values are stored and never change."""

    OTHER_VERSION = "other_version"
    TRANSACTION_DIFFERS = "transaction_differs"
    NO_STATE = "no_state"
    STALE_STATE = "stale_state"
    MISSING_TRANSACTION = "missing_transaction"
    LATE_ARRIVAL = "late_arrival"
    OTHER_SCORER = "other_scorer"
    EXTRA_TRANSACTION = "extra_transaction"
    STATE_CHANGED = "state_changed"
    UNEXPLAINED = "unexplained"


WORDS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.OTHER_VERSION: "computed by another version of the features",
        Reason.TRANSACTION_DIFFERS: "it or an earlier transaction of its entities was served with other values",
        Reason.NO_STATE: "scored without a state",
        Reason.STALE_STATE: "scored with the state of an earlier day",
        Reason.MISSING_TRANSACTION: "an earlier transaction of its entities was never scored",
        Reason.LATE_ARRIVAL: "an earlier transaction of its entities was scored after it",
        Reason.OTHER_SCORER: "an earlier transaction of its entities was scored by another scorer at work",
        Reason.EXTRA_TRANSACTION: "an earlier transaction of its entities is not in the lake",
        Reason.STATE_CHANGED: "the state was made again since",
        Reason.UNEXPLAINED: "without a known reason",
    }
)
"""The reasons as clauses about a transaction."""

REMEDIES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.OTHER_VERSION: "Restart the scorer with the software and the settings that make transaction_features.",
        Reason.TRANSACTION_DIFFERS: "Compare what clients send with what the lake gets: zone of times, amounts, keys.",
        Reason.NO_STATE: "Ingest each day before the next is served; /ready says what the scorer cannot load.",
        Reason.STALE_STATE: "Ingest each day before the next is served; /ready says what the scorer cannot load.",
        Reason.MISSING_TRANSACTION: "Have every transaction scored, or post the others to /transactions.",
        Reason.LATE_ARRIVAL: "Send transactions as soon as they are made; what comes late cannot be known earlier.",
        Reason.OTHER_SCORER: "Give one scorer the whole traffic, or post the other part to its /transactions.",
        Reason.EXTRA_TRANSACTION: "See why the lake does not have them: rejected rows, or an incomplete delivery.",
        Reason.STATE_CHANGED: "Nothing is to be done: earlier days were delivered again after it was loaded.",
        Reason.UNEXPLAINED: "Find out which side computes the named features otherwise (scorer and batch, software and "
        "libraries of both). Until a later day is clean, a person decides on every promotion.",
    }
)
"""What to do about each reason."""

PAST_REASONS = (
    Reason.TRANSACTION_DIFFERS,
    Reason.MISSING_TRANSACTION,
    Reason.LATE_ARRIVAL,
    Reason.OTHER_SCORER,
    Reason.EXTRA_TRANSACTION,
)
"""Reasons that lie in earlier transactions of the same entities."""


class DayRows(NamedTuple):
    """Answers about a day beside the lake's transactions of it.

    Attributes:
        day: the day.
        served: answers in the order in which they were given, with columns as of `served_rows.schema`.
        lake: the lake's transactions of the day: id, timestamp, amount, keys.
        place: row of `lake` with the transaction of each answer; -1 where there is none.
        yesterday: whether the lake has the transaction of an answer on the day before.
        entities: names of the keys.
        feature_version: that of the batch's features.
        state_changed: whether the state of the day before is another one than scorers may have loaded.
    """

    day: date
    served: pa.Table
    lake: pa.Table
    place: Integers
    yesterday: Bools
    entities: tuple[str, ...]
    feature_version: str
    state_changed: bool


class FoundReasons(NamedTuple):
    """A reason for each differing answer; and by column, how many answers were about another value than the lake's."""

    reasons: tuple[Reason, ...]
    columns: dict[str, int]


def reasons_of(rows: DayRows, differing: Integers, passed_through: Mapping[int, Sequence[str]]) -> FoundReasons:
    """The reason of each differing answer.

    Args:
        rows: the day.
        differing: places of those answers in `rows.served`.
        passed_through: for some of these places, columns of the lake in which the features differ, where no other
            feature does.
    """
    columns = differing_columns(rows)
    altered = np.logical_or.reduce([*columns.values()])
    found = [Reason.UNEXPLAINED] * len(differing)
    left = np.ones(len(differing), bool)

    def settle(reason: Reason, holds: Bools) -> None:
        for answer in np.flatnonzero(left & holds).tolist():
            found[answer] = reason
        left[holds] = False

    states, before = rows.served["state_day"], pa.scalar(rows.day - timedelta(days=1), pa.date32())
    settle(Reason.OTHER_VERSION, _bools(pc.not_equal(rows.served["feature_version"], rows.feature_version))[differing])
    settle(Reason.TRANSACTION_DIFFERS, altered[differing] | np.isin(differing, [*passed_through]))
    settle(Reason.NO_STATE, _bools(pc.is_null(states))[differing])
    settle(Reason.STALE_STATE, _bools(pc.fill_null(pc.not_equal(states, before), True))[differing])
    asked = np.flatnonzero(left)
    for reason, holds in _other_past(rows, differing[asked], altered).items():
        of_all = np.zeros(len(differing), bool)
        of_all[asked] = holds
        settle(reason, of_all)
    settle(Reason.STATE_CHANGED, np.full(len(differing), rows.state_changed))
    return FoundReasons(tuple(found), _column_counts(columns, passed_through))


def differing_columns(rows: DayRows) -> dict[str, Bools]:
    """Whether an answer's transaction has another timestamp, amount or key than the lake's, by column."""
    there = rows.place >= 0
    found = {name: np.zeros(len(there), bool) for name in (TIMESTAMP, AMOUNT, *rows.entities)}
    found[TIMESTAMP] |= rows.yesterday
    served, lake = rows.served.filter(pa.array(there)), rows.lake.take(pa.array(rows.place[there]))
    found[TIMESTAMP][there] = microseconds(served[TIMESTAMP]) != microseconds(lake[TIMESTAMP])
    found[AMOUNT][there] = served[AMOUNT].to_numpy().view(np.int64) != lake[AMOUNT].to_numpy().view(np.int64)
    for entity in rows.entities:
        mine, theirs = alike(_keys(served, entity), lake[entity])
        # Equal where both are null, too.
        same = pc.if_else(pc.is_null(mine), pc.is_null(theirs), pc.fill_null(pc.equal(mine, theirs), False))
        found[entity][there] = ~_bools(same)
    return found


def microseconds(times: pa.ChunkedArray) -> Integers:
    """Timestamps as microseconds since 1970."""
    found: Integers = times.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    return found


def alike(mine: pa.ChunkedArray, theirs: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Two columns of ids or keys in one type: as text where one of them is text."""
    if mine.type == theirs.type:
        return mine, theirs
    integers = pa.types.is_integer(mine.type) and pa.types.is_integer(theirs.type)
    one = pa.int64() if integers else pa.string()
    return mine.cast(one), theirs.cast(one)


def _keys(served: pa.Table, entity: str) -> pa.ChunkedArray:
    """The keys of an entity; null where no scorer knew the entity."""
    if entity in served.column_names:
        return served[entity]
    return pa.chunked_array([pa.nulls(served.num_rows, pa.string())])


def _bools(values: pa.ChunkedArray) -> Bools:
    found: Bools = values.to_numpy().astype(bool)
    return found


def _column_counts(columns: Mapping[str, Bools], passed_through: Mapping[int, Sequence[str]]) -> dict[str, int]:
    counts = Counter({name: int(differs.sum()) for name, differs in columns.items()})
    counts.update(name for names in passed_through.values() for name in names)
    return {name: count for name, count in counts.items() if count}


def _other_past(rows: DayRows, answers: Integers, altered: Bools) -> dict[Reason, Bools]:
    """Whether answers saw other earlier transactions of their entities than the lake has, by reason."""
    found = {reason: np.zeros(len(answers), bool) for reason in PAST_REASONS}
    if not len(answers):
        return found
    clocks = _Clocks(rows)
    places, scored = rows.place[answers], clocks.scored[answers]
    times = microseconds(rows.lake[TIMESTAMP].take(pa.array(places))).tolist()
    for entity in rows.entities:
        past = _Past(rows.lake, entity)
        found[Reason.MISSING_TRANSACTION] |= past.latest(clocks.first)[places] == NEVER
        known = np.where(clocks.first == NEVER, ALWAYS, clocks.first)
        found[Reason.LATE_ARRIVAL] |= past.latest(known)[places] > scored
        for scorer in np.unique(clocks.scorers[answers]):
            own = clocks.scorers[answers] == scorer
            found[Reason.OTHER_SCORER][own] |= past.latest(clocks.known_to(scorer))[places[own]] > scored[own]
        keys = rows.lake[entity].take(pa.array(places))
        for reason, which in ((Reason.TRANSACTION_DIFFERS, altered), (Reason.EXTRA_TRANSACTION, rows.place < 0)):
            others = _Others(rows, entity, np.flatnonzero(which), clocks.scored)
            found[reason] |= others.were_before(keys, times, scored)
    return found


class _Clocks:
    """When transactions were scored, in microseconds since 1970.

    Attributes:
        scored: of each answer.
        scorers: who gave it.
        first: of each transaction of the lake, its first answer; `NEVER` where it has none.
    """

    def __init__(self, rows: DayRows) -> None:
        self.scored = microseconds(rows.served[SCORED_AT])
        self.scorers = np.array(rows.served[SCORER].to_pylist(), object)
        self._place = rows.place
        self._lake_rows = rows.lake.num_rows
        self.first = self._first(np.ones(len(self.scored), bool))
        self._span = {
            scorer: (int(times.min()), int(times.max()))
            for scorer in np.unique(self.scorers)
            if len(times := self.scored[self.scorers == scorer])
        }

    def known_to(self, scorer: str) -> Integers:
        """When a scorer had each transaction of the lake first; `NEVER` where it never scored it.

        One that starts again reads what those before it have scored; of one that works beside it, it knows nothing.
        """
        begins = self._span[scorer][0]
        earlier = [other for other, (_, end) in self._span.items() if other != scorer and end <= begins]
        return self._first(np.isin(self.scorers, [scorer, *earlier]))

    def _first(self, answers: Bools) -> Integers:
        found = np.full(self._lake_rows, NEVER)
        there = answers & (self._place >= 0)
        np.minimum.at(found, self._place[there], self.scored[there])
        return found


class _Past:
    """The lake's transactions of each key of an entity, in the order of the batch: by timestamp and id."""

    def __init__(self, lake: pa.Table, entity: str) -> None:
        keys = lake[entity].combine_chunks().dictionary_encode()
        self._codes = pc.fill_null(keys.indices, -1).to_numpy().astype(np.int64)
        ordered = pa.table({"key": self._codes, "time": lake[TIMESTAMP], "id": lake[TRANSACTION_ID]})
        self._order = pc.sort_indices(
            ordered, sort_keys=[("key", "ascending"), ("time", "ascending"), ("id", "ascending")]
        ).to_numpy()

    def latest(self, values: Integers) -> Integers:
        """The greatest value of the earlier transactions of a transaction's key; `ALWAYS` where there are none."""
        codes = self._codes[self._order]
        distinct, ranks = np.unique(values[self._order], return_inverse=True)
        # Values as ranks, each key's above those of the keys before: one pass then serves all keys.
        steps = codes * len(distinct)
        so_far = np.maximum.accumulate(steps + ranks) - steps
        before = np.full(len(values), ALWAYS)
        same_key = (codes[1:] == codes[:-1]) & (codes[1:] >= 0)
        before[1:][same_key] = distinct[so_far[:-1][same_key]]
        found = np.empty_like(before)
        found[self._order] = before
        return found


class _Others:
    """Transactions as some answers had them, by key of an entity: the lake has others in their place, or none."""

    def __init__(self, rows: DayRows, entity: str, answers: Integers, scored: Integers) -> None:
        there = answers[rows.place[answers] >= 0]
        lake = rows.lake.take(pa.array(rows.place[there]))
        served = rows.served.take(pa.array(answers))
        moments: dict[str, list[tuple[int, int]]] = defaultdict(list)
        # Under the key and at the time that either side has: it is missing at one, and too much at the other.
        for keys, table, of in ((_keys(served, entity), served, answers), (lake[entity], lake, there)):
            times = microseconds(table[TIMESTAMP]).tolist()
            for key, time, at in zip(_texts(keys), times, scored[of].tolist(), strict=True):
                if key is not None:
                    moments[key].append((time, at))
        self._times = {key: [time for time, _ in sorted(found)] for key, found in moments.items()}
        self._scored = {key: list(accumulate((at for _, at in sorted(found)), min)) for key, found in moments.items()}

    def were_before(self, keys: pa.ChunkedArray, times: Sequence[int], scored: Integers) -> Bools:
        """Whether each of some answers had such a transaction of its key that is not later than its own."""
        if not self._times:
            return np.zeros(len(times), bool)
        asked = zip(_texts(keys), times, scored.tolist(), strict=True)
        return np.array([self._had(key, time, at) for key, time, at in asked], bool)

    def _had(self, key: str | None, time: int, at: int) -> bool:
        if key is None or key not in self._times:
            return False
        place = bisect_right(self._times[key], time)
        return place > 0 and self._scored[key][place - 1] <= at


def _texts(keys: pa.ChunkedArray) -> list[str | None]:
    found: list[str | None] = keys.cast(pa.string()).to_pylist()
    return found
