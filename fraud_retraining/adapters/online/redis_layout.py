"""How states and transactions lie in Redis: names of keys, packed values, and the script that adds and reads.

Not here: asking a server (`redis_server.py`) and when what is read (`redis_states.py`).

Under `fraud_retraining:<feature version>:`, so that versions of the features that differ share nothing:

- `current`: which states are published, a `Pointer`; each state has a name that no other one had.
- `state:<name>:<entity>`: a hash with the statistics of each key, float64 in a row, NaN for null.
- `day:<name>:<entity>`: a hash with the transactions of the state's own day by key, as the lake has them.
- `since:<day>:<name or ->:<entity>:<key>`: a sorted set of transactions of a day in the order in which they came; `-`
  while the day has no state, and what came after it was published under its name.
- `loading:<digest>`: the process that brings a state here.

Each hash has a mark that is written last. All values are binary.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from pydantic import ValidationError

from fraud_retraining.domain.features.key_tables import Key
from fraud_retraining.domain.features.live import DAY, KEPT_STATES
from fraud_retraining.domain.values.base import Value

MARK = b""
"""The field of a hash that says that it is whole; a key is never packed like this."""
LOST = "LOST"
_HEAD = struct.Struct("<qd")
_LENGTH = struct.Struct("<I")

SCRIPT = f"""
-- KEYS: the pointer. ARGV: its expected value, the seconds that transactions are kept, the number of entities; then of
-- each entity: the hashes of the state, of today and of yesterday ('' for none), the prefixes of today's and
-- yesterday's sorted sets, the number of transactions, key and transaction of each, the number of keys, and of each key
-- itself and the first places that are read of today and of yesterday ('' for all, and what the hash has).
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return false end
local place = 1
local function taken() place = place + 1; return ARGV[place] end
local function past(hash, prefix, key, first)
  if first ~= '' then return false, redis.call('ZRANGE', prefix .. key, first, -1) end
  return hash ~= '' and redis.call('HGET', hash, key), redis.call('ZRANGE', prefix .. key, 0, -1)
end
local seconds, found = taken(), {{}}
for entity = 1, tonumber(taken()) do
  local state, today, yesterday, now, before = taken(), taken(), taken(), taken(), taken()
  for _, hash in ipairs({{state, today, yesterday}}) do
    if hash ~= '' and redis.call('HEXISTS', hash, '') == 0 then return redis.error_reply('{LOST} ' .. hash) end
  end
  for _ = 1, tonumber(taken()) do
    local set = now .. taken()
    redis.call('ZADD', set, 'NX', redis.call('ZCARD', set), taken())
    redis.call('EXPIRE', set, seconds)
  end
  local rows = {{}}
  for row = 1, tonumber(taken()) do
    local key = taken()
    local day, later = past(today, now, key, taken())
    local day_before, later_before = past(yesterday, before, key, taken())
    rows[row] = {{state ~= '' and redis.call('HGET', state, key), day, later, day_before, later_before}}
  end
  found[entity] = rows
end
return found
"""
"""Adds transactions and reads what is known of keys, in one step that nothing can come between.

It answers nothing where the pointer is not the expected one, and then has added nothing. A transaction that is there
stays; places in a sorted set are given in the order of arrival and never change.
"""


class PublishedName(Value):
    """A published state: the digest of its partition, and its name here."""

    digest: str
    name: str


class Pointer(Value):
    """Which states are published, by day; `epoch` is another one in a Redis that lost what it held."""

    epoch: str
    states: Mapping[date, PublishedName]

    def with_state(self, day: date, state: PublishedName) -> "Pointer":
        """With a further state, and without those that are too old."""
        states = {**self.states, day: state}
        newest = max(states)
        return Pointer(
            epoch=self.epoch,
            states={one: states[one] for one in sorted(states) if one > newest - KEPT_STATES * DAY},
        )

    @classmethod
    def read(cls, text: bytes) -> "Pointer | None":
        """What a stored text says; None where nothing is stored.

        Raises:
            ValueError: it is no pointer.
        """
        try:
            return cls.model_validate_json(text) if text else None
        except ValidationError as error:
            raise ValueError("the pointer to the current states cannot be understood") from error


class Keys:
    """Names of keys of one version of the features."""

    def __init__(self, feature_version: str) -> None:
        self._root = f"fraud_retraining:{feature_version[:16]}"
        self.pointer = f"{self._root}:current"

    def state(self, name: str, entity: str) -> str:
        """The statistics of a state."""
        return f"{self._root}:state:{name}:{entity}"

    def day(self, name: str, entity: str) -> str:
        """The transactions of a state's own day."""
        return f"{self._root}:day:{name}:{entity}"

    def since(self, day: date, name: str | None, entity: str) -> str:
        """What the names of the transactions of a day begin with."""
        return f"{self._root}:since:{day}:{name or '-'}:{entity}:"

    def loading(self, digest: str) -> str:
        """Which process brings a state here."""
        return f"{self._root}:loading:{digest[:16]}"


class Transaction(NamedTuple):
    """A transaction of a key: microseconds since midnight, id, amount."""

    clock: int
    number: Any
    amount: float


def packed_key(key: Key) -> bytes:
    """A key, or an id: numbers and text are told apart.

    >>> packed_key(17), packed_key("17")
    (b'i17', b't17')
    """
    return b"i%d" % key if isinstance(key, int) else b"t" + str(key).encode()


def packed(one: Transaction) -> bytes:
    """A transaction."""
    return _HEAD.pack(one.clock, one.amount) + packed_key(one.number)


def unpacked(data: bytes) -> Transaction:
    """The transaction that `packed` packed."""
    clock, amount = _HEAD.unpack_from(data)
    number = data[_HEAD.size + 1 :]
    return Transaction(clock, int(number) if data[_HEAD.size] == ord("i") else number.decode(), amount)


def packed_all(transactions: Iterable[Transaction]) -> bytes:
    """Several transactions, each after its length."""
    return b"".join(_LENGTH.pack(len(one)) + one for one in map(packed, transactions))


def unpacked_all(data: bytes) -> Iterator[Transaction]:
    """The transactions that `packed_all` packed."""
    place = 0
    while place < len(data):
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        yield unpacked(data[place : place + length])
        place += length


class Reading(NamedTuple):
    """What one call of the script adds and reads of an entity; keys are packed, places as the script takes them."""

    state: str
    today: str
    yesterday: str
    now: str
    before: str
    added: Sequence[tuple[bytes, bytes]]
    wanted: Sequence[tuple[bytes, int | str, int | str]]

    def arguments(self) -> Iterator[Any]:
        """As the script takes it."""
        yield from self[:5]
        yield len(self.added)
        for key, transaction in self.added:
            yield key
            yield transaction
        yield len(self.wanted)
        for wanted in self.wanted:
            yield from wanted


class Found(NamedTuple):
    """What the script answers of a key; None where there is nothing or nothing was wanted."""

    state: bytes | None
    today: bytes | None
    now: Sequence[bytes]
    yesterday: bytes | None
    before: Sequence[bytes]
