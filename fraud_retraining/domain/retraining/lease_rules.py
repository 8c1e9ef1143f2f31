"""The lease that lets one retrain run at a time.

Here: who may take, renew and give back a lease, and when a token is stale. Not here: where a lease is stored
(`adapters/ledger/leases.py`), and whether a process is alive (`adapters/ledger/processes.py`).

Each taking gives a higher token (a fencing token), and work under a lease is done only while its token is current. A
lease without a sign of life for too long has expired, and is not renewed even if no other owner took it meanwhile: a
stopped worker that continues is refused, so others can rely on its expiry.
"""

from datetime import date, datetime, timedelta
from typing import Literal

from pydantic import Field

from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.errors import Busy, Conflict

BEATS_BEFORE_EXPIRY = 6
UNDER_WAY = {"retrain": "another retrain is under way", "clean": "old runs and artifacts are being removed"}


class LeasePolicy(Policy):
    """Time to expiry of a lease."""

    expires_seconds: float = Field(120, gt=0, le=3600, description="Silence after which a lease may be taken over.")

    @property
    def beat_seconds(self) -> float:
        """Time between two signs of life; several may be lost."""
        return self.expires_seconds / BEATS_BEFORE_EXPIRY


class Process(Value):
    """A process, distinguishable from every other one at any time; marks are empty where the system gives none."""

    host: str
    pid: int
    machine: str = Field("", description="The running system and the space that its process numbers belong to.")
    started: str = Field("", description="When it started, on that system's own count.")


class Owner(Value):
    """A Dagster run in the process that executes it."""

    run_id: str
    process: Process

    def summary(self) -> str:
        """The run and its process, in words."""
        return f"run {self.run_id} (process {self.process.pid} on {self.process.host})"


class Purpose(Value):
    """What a lease is held for."""

    work: Literal["retrain", "clean"] = "retrain"
    as_of: date | None = None
    trigger: str = ""

    def summary(self) -> str:
        """The work with its as-of day and trigger, in words."""
        as_of = f" as of {self.as_of}" if self.as_of else ""
        return f"{self.work}{as_of}{f', trigger {self.trigger}' if self.trigger else ''}"


class Claim(Value):
    """Request for a lease: which one, for whom, for what."""

    name: str
    owner: Owner
    purpose: Purpose


class Lease(Value):
    """A lease: owner, token and times; no owner means it is free. Times are aware, UTC, from the database's clock."""

    name: str
    token: int = Field(ge=1)
    owner: Owner | None
    purpose: Purpose
    taken_at: datetime
    seen_at: datetime
    expires_at: datetime

    def held(self, now: datetime) -> bool:
        """Whether it has an owner and has not expired."""
        return self.owner is not None and now < self.expires_at


def take(current: Lease | None, claim: Claim, policy: LeasePolicy, now: datetime, *, gone: bool) -> Lease:
    """Return the lease as held by the owner of the claim: with a new token, or renewed if this owner holds it already.

    Args:
        current: the lease as stored; None before it was ever taken.
        claim: the lease that is wanted, its owner and purpose.
        policy: time to expiry.
        now: the time of the database, aware, UTC.
        gone: whether the process of the present owner is known to have ended; then its expiry is not awaited.

    Raises:
        Busy: another run holds it.
    """
    if current is not None and current.held(now):
        # A take that was repeated after a lost answer.
        if current.owner == claim.owner:
            return renew(current, current, policy, now)
        if not gone and not _same_run(current, claim.owner):
            raise busy(current)
    return Lease(
        name=claim.name,
        # Higher each time: a late write of the owner before is known by its lower token.
        token=current.token + 1 if current else 1,
        owner=claim.owner,
        purpose=claim.purpose,
        taken_at=now,
        seen_at=now,
        expires_at=now + timedelta(seconds=policy.expires_seconds),
    )


def _same_run(current: Lease, owner: Owner) -> bool:
    """Another process of the same run: Dagster executes a run in one, so the earlier one was given up."""
    return current.owner is not None and current.owner.run_id == owner.run_id


def renew(current: Lease | None, mine: Lease, policy: LeasePolicy, now: datetime) -> Lease:
    """Return the lease with a new sign of life.

    Raises:
        Conflict: another owner or token holds it, or it expired.
    """
    kept = require(current, mine, now)
    return kept.model_copy(update={"seen_at": now, "expires_at": now + timedelta(seconds=policy.expires_seconds)})


def require(current: Lease | None, mine: Lease, now: datetime) -> Lease:
    """Return the current lease, if it is still the one that was taken.

    Raises:
        Conflict: it expired, was given back, or another owner took it since.
    """
    if current is None or current.token != mine.token or current.owner != mine.owner:
        raise _stale(mine, _taken_by(current))
    # Also when nobody took it: others may have relied on its expiry.
    if not current.held(now):
        raise _stale(mine, f"no sign of life between {_time(current.seen_at)} and {_time(now)}")
    return current


def give_back(current: Lease | None, mine: Lease, now: datetime) -> Lease | None:
    """Return the lease without an owner; None where `mine` is not the current one."""
    if current is None or current.token != mine.token or current.owner != mine.owner:
        return None
    return current.model_copy(update={"owner": None, "seen_at": now, "expires_at": now})


def abandoned(current: Lease | None, now: datetime, *, gone: bool) -> bool:
    """Whether its owner ended, or must be taken as ended, without giving it back."""
    return current is not None and current.owner is not None and (gone or not current.held(now))


def busy(current: Lease) -> Busy:
    """Return the refusal of a second owner."""
    owner = current.owner.summary() if current.owner else "no owner any more"
    return Busy(
        UNDER_WAY[current.purpose.work],
        culprits=[
            f"{owner}: {current.purpose.summary()}",
            f"since {_time(current.taken_at)}, last heard of at {_time(current.seen_at)}",
        ],
        remedy=f"wait for it; a worker that is not heard of until {_time(current.expires_at)} is given up. "
        "`triggers.when_busy: queue` lets a retrain wait by itself.",
    )


def _stale(mine: Lease, why: str) -> Conflict:
    return Conflict(
        f"this retrain lost its lease, taken at {_time(mine.taken_at)}: {why}",
        remedy="It changed nothing after that. Request a retrain again if none has run since.",
    )


def _taken_by(current: Lease | None) -> str:
    if current is None:
        return "the ledger knows no lease"
    if current.owner is None:
        return f"it was given back at {_time(current.seen_at)}"
    return f"{current.owner.summary()} took it at {_time(current.taken_at)}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
