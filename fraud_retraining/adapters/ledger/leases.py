"""Leases in the ledger's database, and the heartbeat that keeps one.

Here: one lease per name, read and written in the ledger's transactions, on the database's clock, so that it holds
between machines. Not here: who may have it (`domain/retraining/lease_rules.py`) and what is done under it
(`orchestration/runs/retrain_lease.py`).
"""

import json
import logging
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

from fraud_retraining.adapters.ledger.event_log import sql
from fraud_retraining.adapters.ledger.processes import has_ended
from fraud_retraining.domain.ledger.events import plain
from fraud_retraining.domain.ledger.hash_chain import canonical_json
from fraud_retraining.domain.retraining import lease_rules as rules
from fraud_retraining.domain.retraining.lease_rules import Lease, LeasePolicy, Owner, Purpose
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, RecordAltered

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Database, Transaction

LOG = logging.getLogger("fraud_retraining.lease")
MOST_CHARACTERS = 100_000


class Leases:
    """One lease, which at most one owner holds.

    Every method raises `DependencyUnreachable` when the database cannot be used after bounded retries. Doing one twice
    is doing it once.
    """

    def __init__(self, database: "Database", name: str, policy: LeasePolicy | None = None) -> None:
        self._database = database
        self._name = name
        self.policy = policy or LeasePolicy()

    def take(self, owner: Owner, purpose: Purpose) -> Lease:
        """The lease in the owner's hands.

        Raises:
            Busy: another run holds it.
        """

        def work(tx: "Transaction") -> Lease:
            before = _read(tx.connection, self._name)
            claim = rules.Claim(name=self._name, owner=owner, purpose=purpose)
            taken = rules.take(before, claim, self.policy, _now(tx), gone=_owner_ended(before))
            return _saved(tx, taken)

        return self._database.write(work)

    def renew(self, mine: Lease) -> Lease:
        """The lease with a new sign of life.

        Raises:
            Conflict: it was lost.
        """

        def work(tx: "Transaction") -> Lease:
            return _saved(tx, rules.renew(_read(tx.connection, self._name), mine, self.policy, _now(tx)))

        return self._database.write(work)

    def give_back(self, mine: Lease) -> None:
        """Give the lease back; nothing happens where it was lost before."""

        def work(tx: "Transaction") -> None:
            free = rules.give_back(_read(tx.connection, self._name), mine, _now(tx))
            if free is not None:
                _saved(tx, free)

        self._database.write(work)

    def holder(self) -> Lease | None:
        """The lease, if it is held now."""
        lease, now = self._database.read(lambda cn: (_read(cn, self._name), _clock(cn)))
        return lease if lease is not None and lease.held(now) and not _owner_ended(lease) else None

    def abandoned(self) -> Lease | None:
        """The lease, if its owner died, or was not heard of for too long, and it was not taken since."""
        lease, now = self._database.read(lambda cn: (_read(cn, self._name), _clock(cn)))
        return lease if rules.abandoned(lease, now, gone=_owner_ended(lease)) else None


class Heartbeat:
    """Signs of life for a lease, from a thread of its own, until it is stopped or the lease is lost."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases = leases
        self._lease = lease
        self._stopping = threading.Event()
        self._refusal: Conflict | None = None
        self._seen = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a sign of life that is under way is waited for."""
        self._stopping.set()
        self._thread.join()

    def require(self) -> None:
        """Nothing, while there is no reason to believe that the lease was lost. Reads no database: to be called often.

        Raises:
            Conflict: it was refused, or the database was out of reach for so long that it has expired.
        """
        if self._refusal is not None:
            raise self._refusal
        silence = time.monotonic() - self._seen
        if silence >= self._leases.policy.expires_seconds:
            raise Conflict(
                f"this retrain lost its lease: it gave no sign of life for {silence:.0f} s",
                remedy="the process was stopped, or the ledger's database was out of reach; ask for a retrain again.",
            )

    def _beat(self) -> None:
        while not self._stopping.wait(self._leases.policy.beat_seconds):
            began = time.monotonic()
            try:
                self._leases.renew(self._lease)
            except DependencyUnreachable as error:
                LOG.warning("no sign of life could be given, it is tried again: %s", error.what)
            except Conflict as refusal:
                LOG.error("%s", refusal)
                self._refusal = refusal
                return
            else:
                # The time before the request: the lease counts from then, however long the answer took.
                self._seen = began


def require_current(tx: "Transaction", mine: Lease | None) -> None:
    """Refuse what is about to be written in this transaction under a lease that is not the current one.

    None stands for a caller who needs no lease: a user.

    Raises:
        Conflict: the lease was lost.
    """
    if mine is not None:
        rules.require(_read(tx.connection, mine.name), mine, _now(tx))


def _read(connection: "sa.Connection", name: str) -> Lease | None:
    row = sql().lease(connection, name)
    if row is None:
        return None
    owner, purpose = row.pop("owner"), row.pop("detail")
    try:
        _require_short(owner, purpose)
        found = Lease(owner=json.loads(owner) if owner else None, purpose=json.loads(purpose), **row)
        _require_time_zones(found)
        return found
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordAltered(
            f"the row of the lease '{name}' in the table leases is none that this program writes",
            culprits=[" ".join(str(error).split())[:200]],
            remedy="find out who wrote it; once no retrain runs, delete it as the owner of the tables: "
            f"{_removal(name)}",
        ) from error


def _require_short(*texts: str) -> None:
    longest = max(map(len, texts))
    if longest > MOST_CHARACTERS:
        raise ValueError(f"it has {longest} characters, more than {MOST_CHARACTERS}")


def _require_time_zones(found: Lease) -> None:
    if any(at.tzinfo is None for at in (found.taken_at, found.seen_at, found.expires_at)):
        raise ValueError("a time names no time zone")


def _removal(name: str) -> str:
    quoted = name.replace("'", "''")
    return f"DELETE FROM leases WHERE name = '{quoted}'"


def _saved(tx: "Transaction", lease: Lease) -> Lease:
    row = lease.model_dump(mode="json")
    owner, purpose = row.pop("owner"), row.pop("purpose")
    tx.save_lease(
        {**row, "owner": canonical_json(plain(owner)) if owner else "", "detail": canonical_json(plain(purpose))}
    )
    return lease


def _owner_ended(lease: Lease | None) -> bool:
    return lease is not None and lease.owner is not None and has_ended(lease.owner.process)


def _now(tx: "Transaction") -> datetime:
    return datetime.fromisoformat(tx.now)


def _clock(connection: "sa.Connection") -> datetime:
    return datetime.fromisoformat(sql().clock(connection))
