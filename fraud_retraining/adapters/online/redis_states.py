"""States and the transactions since, in a Redis that several scorers share.

Here: what `LiveStates` asks for, with the bits of `LocalStates`: bringing a state there, publishing it, adding
transactions and reading what is known of their keys. Not here: names and bytes (`redis_layout.py`), and the server
(`redis_server.py`).

Every batch is one call that adds and reads in a single step, unless it is large. What was read of a key is kept, and
only what came since is read; the last transaction that was read comes with it, so that a Redis that lost some is
noticed. A Redis that was started again, or that lost what it held, is not believed before everything that was scored
has been added to it again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np

from fraud_retraining.adapters.online.redis_layout import (
    LOST,
    MARK,
    SCRIPT,
    Found,
    Keys,
    Pointer,
    PublishedName,
    Reading,
    Transaction,
    packed,
    packed_all,
    packed_key,
    unpacked,
    unpacked_all,
)
from fraud_retraining.adapters.online.redis_server import RedisServer, Script, ScriptError
from fraud_retraining.domain.features.key_tables import Key, StateTable
from fraud_retraining.domain.features.live import (
    DAY,
    Known,
    OnlineState,
    StateAge,
    StateName,
    StatesMoved,
    age_among,
    by_day,
    part,
)
from fraud_retraining.domain.features.online import Batch, EntityState, KeyDay
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.errors import DependencyUnreachable

KEPT_SECONDS = 4 * 86_400
"""How long transactions are kept after the last one of their key."""
UNPUBLISHED_SECONDS = 600
LOADING_SECONDS = 10
CHUNK = 1000
STEP = 250
"""Transactions of a batch up to which it is added and read in one call; Redis answers nobody else in the meantime."""


class _Seen(NamedTuple):
    """What was read of a key and day: how many places of the sorted set, and the last of them."""

    known: KeyDay
    places: int
    last: bytes


class _Day(NamedTuple):
    """Transactions of a day, of the keys of one batch."""

    day: date
    keys: Mapping[str, Mapping[Key, KeyDay]]

    def of(self, entity: str, key: Key | None) -> KeyDay | None:
        """The transactions of a key; None where there are none."""
        return self.keys[entity].get(key) if key is not None else None


class _Forgot(Exception):
    """Redis does not have the last transaction of a key that was read."""


class RedisStates:
    """`LiveStates` of several processes; one thread at a time may `know`, while another one does anything else.

    Args:
        feature_version: scorers of another version share nothing with this one.

    Raises:
        SettingsError: the library of Redis is not installed.
    """

    def __init__(self, plan: FeaturePlan, server: RedisServer, feature_version: str) -> None:
        self._plan = plan
        self._server = server
        self._keys = Keys(feature_version)
        self._script = Script(SCRIPT, LOST)
        self._text = b""
        self._pointer: Pointer | None = None
        self._own_epoch = token_hex(8)
        self._filled: tuple[str | None, str] | None = None
        self._filling: tuple[str | None, str] | None = None
        self._prepared: dict[str, str] = {}
        self._tables = {entity: StateTable.empty(plan, entity) for entity in plan.entities}
        # What was read of keys, by the beginning of their sorted sets' names, in the order of use.
        self._memory: dict[str, dict[Key, _Seen]] = {}

    @property
    def newest(self) -> StateName | None:
        """The state that was published for the latest day, as of the last time that it was looked up."""
        states = self._pointer.states if self._pointer else {}
        return StateName(max(states), states[max(states)].digest) if states else None

    @property
    def lacks_transactions(self) -> bool:
        """Whether this start of the server, or what it holds, is another one than was filled."""
        return self._filled != self._holding

    def filled(self) -> None:
        """Says that everything that was scored before has been added."""
        self._filled = self._filling

    @property
    def _holding(self) -> tuple[str | None, str]:
        return self._server.run_id, self._pointer.epoch if self._pointer else self._own_epoch

    def follow(self) -> None:
        """Looks up what is published, and whether the server is fit for it.

        Raises:
            DependencyUnreachable: it does not answer.
            SettingsError: it would drop keys, or is a cluster.
        """
        self._server.check()
        self._look()
        self._filling = self._holding

    def _look(self) -> None:
        with self._server.asking():
            text = self._server.quick.get(self._keys.pointer) or b""
        if text == self._text:
            return
        try:
            pointer = Pointer.read(text)
        except ValueError as error:
            raise DependencyUnreachable(
                f"{self._server.address} holds something else than was written",
                culprits=[error],
                remedy=f"remove the key {self._keys.pointer}; it is made again.",
            ) from None
        if pointer is None:
            # What was there is gone, and what will be published next begins anew.
            self._own_epoch = token_hex(8)
        self._text, self._pointer = text, pointer

    # ------------------------------------------------------------ publishing

    def prepare(self, state: OnlineState) -> bool:
        """Writes a state under a name that no other one had; False where another process is doing so.

        What a process that was killed has written expires, and so does its claim.
        """
        claim, token = self._keys.loading(state.digest), token_hex(4)
        with self._server.asking():
            if not self._server.bulk.set(claim, token, nx=True, ex=LOADING_SECONDS):
                return False
        name = f"{state.digest[:16]}-{token}"
        try:
            for entity, table in state.entities.items():
                self._write(self._keys.state(name, entity), _packed_rows(table), claim)
                self._write(self._keys.day(name, entity), _packed_day(state, entity), claim)
        finally:
            with self._server.asking():
                self._server.bulk.delete(claim)
        self._prepared[state.digest] = name
        return True

    def _write(self, key: str, values: Iterable[tuple[bytes, bytes]], claim: str) -> None:
        rest = iter(values)
        while chunk := dict(islice(rest, CHUNK)):
            self._put(key, chunk, claim)
        self._put(key, {MARK: b"1"}, claim)

    def _put(self, key: str, fields: Mapping[bytes, bytes], claim: str) -> None:
        with self._server.asking(), self._server.bulk.pipeline(transaction=False) as pipeline:
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, UNPUBLISHED_SECONDS)
            pipeline.expire(claim, LOADING_SECONDS)
            pipeline.execute()

    def publish(self, state: OnlineState) -> None:
        """Makes a prepared state one that every scorer uses from its next batch on."""
        name = self._prepared.pop(state.digest)

        def change(pipeline: Any) -> None:
            pointer = Pointer.read(pipeline.get(self._keys.pointer) or b"") or Pointer(epoch=self._own_epoch, states={})
            found = pointer.states.get(state.day)
            after = pointer.with_state(state.day, PublishedName(digest=state.digest, name=name))
            published = found is None or found.digest != state.digest
            pipeline.multi()
            if published:
                pipeline.set(self._keys.pointer, after.model_dump_json())
            kept = {one.name for one in (after if published else pointer).states.values()}
            for hash_ in self._hashes({name} & kept):
                pipeline.persist(hash_)
            for hash_ in self._hashes({name, *(one.name for one in pointer.states.values())} - kept):
                pipeline.expire(hash_, UNPUBLISHED_SECONDS)

        self._server.exchanged([self._keys.pointer], change)
        self._look()

    def _hashes(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            for entity in self._plan.entities:
                yield self._keys.state(name, entity)
                yield self._keys.day(name, entity)

    # ------------------------------------------------------------ transactions

    def age_on(self, day: date) -> StateAge:
        """The state that transactions of a day are scored with."""
        return age_among(self._pointer.states if self._pointer else (), day)

    def add(self, batch: Batch) -> None:
        """Adds transactions that are not scored here."""
        for day, rows in by_day(batch).items():
            for first in range(0, len(rows), STEP):
                some = self._packed(day, part(batch, rows[first : first + STEP]))
                # Their place depends on whether the state of their day is published.
                while self._called([self._readings(day, some, {})]) is None:
                    self._look()

    def know(self, day: date, batch: Batch) -> Known:
        """Adds transactions of a day, and gives what is known of their keys then.

        Raises:
            StatesMoved: other states are published than those that were looked up.
            DependencyUnreachable: the server does not answer in time, or it lost what it held.
        """
        if self._pointer is None or self.lacks_transactions:
            raise self._incomplete()
        age = self.age_on(day)
        wanted = {entity: _distinct(keys) for entity, keys in batch.keys.items()}
        found = self._called(self._steps(day, self._packed(day, batch), wanted))
        if found is None:
            self._look()
            raise StatesMoved
        if self.lacks_transactions:
            # The connection was opened anew for this call, to a server that was started since.
            raise self._incomplete()
        today: dict[str, dict[Key, KeyDay]] = {}
        yesterday: dict[str, dict[Key, KeyDay]] = {}
        try:
            for entity, keys in wanted.items():
                now, before = self._memory_of(day, entity), self._memory_of(day - DAY, entity)
                rows = list(zip(keys, found[entity], strict=True))
                today[entity] = {key: _read(now, key, one.today, one.now) for key, one in rows}
                yesterday[entity] = {key: _read(before, key, one.yesterday, one.before) for key, one in rows}
        except _Forgot:
            self._memory.clear()
            return self.know(day, batch)
        entities = {entity: self._table(entity, keys, found[entity]) for entity, keys in wanted.items()}
        return Known(age, entities, _Day(day, today), _Day(day - DAY, yesterday))

    def _incomplete(self) -> DependencyUnreachable:
        return DependencyUnreachable(
            f"{self._server.address} does not hold yet, or again, what was scored before",
            remedy="wait: scorers bring the state there, and the transactions of the serving log.",
        )

    def _packed(self, day: date, batch: Batch) -> dict[str, list[tuple[bytes, bytes]]]:
        """Key and transaction, by entity."""
        rows = [
            packed(Transaction(*one)) for one in zip(batch.clocks(day), batch.ids, batch.amounts.tolist(), strict=True)
        ]
        return {
            entity: [(packed_key(key), row) for key, row in zip(keys, rows, strict=True) if key is not None]
            for entity, keys in batch.keys.items()
        }

    def _steps(
        self, day: date, rows: Mapping[str, Sequence[tuple[bytes, bytes]]], wanted: Mapping[str, Sequence[Key]]
    ) -> list[list[Any]]:
        """The calls of a batch: one; or of a large one some that add, and then some that read."""
        most = max((len(one) for one in rows.values()), default=0)
        if most <= STEP:
            return [self._readings(day, rows, wanted)]
        parts = range(0, most, STEP)
        adding = [{entity: one[first : first + STEP] for entity, one in rows.items()} for first in parts]
        reading = [{entity: one[first : first + STEP] for entity, one in wanted.items()} for first in parts]
        return [
            *(self._readings(day, some, {}) for some in adding),
            *(self._readings(day, {}, some) for some in reading if any(some.values())),
        ]

    def _readings(
        self, day: date, rows: Mapping[str, Sequence[tuple[bytes, bytes]]], wanted: Mapping[str, Sequence[Key]]
    ) -> list[Any]:
        """One call of the script."""
        age = self.age_on(day)
        arguments: list[Any] = [self._keys.pointer, self._text, KEPT_SECONDS, len(self._plan.entities)]
        for entity in self._plan.entities:
            now, before = self._memory_of(day, entity), self._memory_of(day - DAY, entity)
            reading = Reading(
                state=self._keys.state(self._name(age.day), entity) if age.day else "",
                today=self._keys.day(self._name(day), entity) if self._name(day) else "",
                yesterday=self._keys.day(self._name(day - DAY), entity) if self._name(day - DAY) else "",
                now=self._since(day, entity),
                before=self._since(day - DAY, entity),
                added=rows.get(entity, ()),
                wanted=[(packed_key(key), _first(now, key), _first(before, key)) for key in wanted.get(entity, ())],
            )
            arguments += reading.arguments()
        return arguments

    def _called(self, calls: Sequence[Sequence[Any]]) -> dict[str, list[Found]] | None:
        """What was found by entity, in the order of the keys; None where the pointer has moved."""
        try:
            answers = self._server.scripted(self._script, calls)
        except ScriptError as error:
            # Somebody removed it; the next one to look brings it back, and adds what was scored.
            with self._server.asking():
                self._server.quick.delete(self._keys.pointer)
            self._look()
            raise DependencyUnreachable(
                f"{self._server.address} lost a part of what it held", culprits=[error], remedy="it is brought back."
            ) from None
        if any(answer is None for answer in answers):
            return None
        return {
            entity: [Found(*row) for answer in answers for row in answer[place]]
            for place, entity in enumerate(self._plan.entities)
        }

    def _name(self, day: date | None) -> str:
        """The name of the state after a day; empty where none is published."""
        found = self._pointer.states.get(day) if self._pointer and day else None
        return found.name if found else ""

    def _since(self, day: date, entity: str) -> str:
        return self._keys.since(day, self._name(day), entity)

    def _memory_of(self, day: date, entity: str) -> dict[Key, _Seen]:
        """What was read of the keys of a day and entity."""
        prefix = self._since(day, entity)
        found = self._memory.pop(prefix, {})
        self._memory[prefix] = found
        # Two days, each before and after its state was published, and one more: older ones are not read again.
        while len(self._memory) > 5 * len(self._plan.entities):
            del self._memory[next(iter(self._memory))]
        return found

    def _table(self, entity: str, keys: Sequence[Key], found: Sequence[Found]) -> EntityState:
        rows = [(key, one.state) for key, one in zip(keys, found, strict=True) if one.state is not None]
        values = np.frombuffer(b"".join(row for _, row in rows), "<f8")
        return self._tables[entity].of_keys([key for key, _ in rows], values)


def _distinct(keys: Sequence[Key | None]) -> list[Key]:
    return [key for key in dict.fromkeys(keys) if key is not None]


def _first(memory: Mapping[Key, _Seen], key: Key) -> int | str:
    """The first place of a sorted set that is read: of one that was read before, that of the last transaction."""
    seen = memory.get(key)
    return "" if seen is None else max(0, seen.places - 1)


def _read(memory: dict[Key, _Seen], key: Key, day: bytes | None, later: Sequence[bytes]) -> KeyDay:
    """The transactions of a key, with those that came since it was read the last time.

    Raises:
        _Forgot: the last transaction that was read then is not where it was.
    """
    seen = memory.get(key)
    if seen is None:
        known, places, last = KeyDay(), 0, b""
        for one in unpacked_all(day or b""):
            known.add(*one)
    else:
        known, places, last = seen
        if places:
            if not later or later[0] != last:
                raise _Forgot
            later = later[1:]
    for one in map(unpacked, later):
        known.add(*one)
    if seen is None or later:
        memory[key] = _Seen(known, places + len(later), later[-1] if later else last)
    return known


def _packed_rows(table: StateTable) -> Iterator[tuple[bytes, bytes]]:
    for keys, values in table.parts(CHUNK):
        for key, row in zip(keys, values.astype("<f8"), strict=True):
            yield packed_key(key), row.tobytes()


def _packed_day(state: OnlineState, entity: str) -> Iterator[tuple[bytes, bytes]]:
    if state.recent.finished is not None:
        for key, transactions in state.recent.finished.each(entity):
            yield packed_key(key), packed_all(Transaction(*one) for one in transactions)
