"""Releases in the ledger: opening them, moving them, and reading them from the chain.

Here: which event and which row belong together in one transaction. Not here: which moves are allowed
(`domain/releases/lifecycle.py`), reviewers' decisions and promotions (`decisions.py` and `promotions.py` beside it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.ledger import append_only_triggers
from fraud_retraining.adapters.ledger.event_log import EventLog, clean_text, sql
from fraud_retraining.adapters.ledger.leases import require_current
from fraud_retraining.domain.audit.archiving import archived
from fraud_retraining.domain.audit.stored_state import recorded_releases
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.lifecycle import RESTORABLE, latest_champions, move
from fraud_retraining.domain.releases.release import MOST_VERSION, Moved, Release, ReleaseState
from fraud_retraining.domain.retraining.lease_rules import Lease
from fraud_retraining.domain.values.errors import IntegrityError, SettingsError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fraud_retraining.adapters.ledger.database import Transaction

S = ReleaseState


@dataclass(frozen=True)
class NewRelease:
    """A registered version whose release is to be opened; see `Release` for what the fields mean."""

    version: int
    fingerprint: str
    as_of: date
    trigger: str
    artifact_digest: str
    verdict_passed: bool
    verdict_digest: str = ""
    needs_human: str | None = None
    floors_missed: Sequence[str] = ()
    requested_by: str = ""
    champion_before: int | None = None


class ReleaseRecords(EventLog):
    """The releases of one model, each as the chain of events has it.

    A working row only finds a release quickly: one that differs from the chain is refused, never used.
    """

    def release_by_version(self, version: int) -> Release | None:
        """The release of a version of the registry; none for a number that no version can have."""
        return next(iter(self._releases(version=version)), None) if 0 < version <= MOST_VERSION else None

    def release_by_fingerprint(self, fingerprint: str) -> Release | None:
        """The release of a fingerprint."""
        return next(iter(self._releases(fingerprint=fingerprint)), None)

    def releases(self, *states: ReleaseState) -> list[Release]:
        """Releases in one of the states, or all, by version."""
        return self._releases(state=list(states)) if states else self._releases()

    def recorded_models(self) -> tuple[str, ...]:
        """Models of the chain that have a working row of a release, by name; none where tables are missing."""

        def work(cn: "sa.Connection") -> tuple[str, ...]:
            there = not append_only_triggers.missing_tables(cn)
            return tuple(sorted({row["model"] for row in sql().releases(cn, {})})) if there else ()

        return self._database.read(work)

    def waiting(self) -> list[Release]:
        """Releases that wait for a reviewer."""
        return self.releases(S.AWAITING_APPROVAL)

    def champion(self) -> Release | None:
        """The release that the ledger made champion. Whom the registry's alias names is for the registry to say."""
        return next(iter(self.releases(S.PROMOTED)), None)

    def latest_champions(self) -> list[Release]:
        """Versions that were champion and can be brought back, the one that served last first."""
        return latest_champions(self.releases(*RESTORABLE))

    def verdict(self, release: Release) -> Evaluation | None:
        """The evaluation that the release was registered with, as it was recorded then."""
        opened = self.last(EventKind.VERSION_REGISTERED, version=release.version)
        judged = self.events(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
        before = [event for event in judged if opened is None or event.seq < opened.seq]
        return Evaluation.model_validate(before[-1].payload) if before else None

    def now(self) -> datetime:
        """The time by the database's clock, by which deadlines are judged."""
        return self._database.read(lambda cn: datetime.fromisoformat(sql().clock(cn)))

    def open_release(
        self,
        new: NewRelease,
        *,
        actor: str,
        channel: str,
        facts: Mapping[str, Any] | None = None,
        lease: Lease | None = None,
    ) -> Release:
        """Return the release of a fingerprint, opened if there is none. `facts` go into the event beside the release.

        Raises:
            IntegrityError: the version belongs to another fingerprint.
            Conflict: the lease of the retrain that registers it was lost.
        """

        def work(tx: "Transaction") -> Release:
            require_current(tx, lease)
            for known in self._read_releases(tx.connection, fingerprint=new.fingerprint):
                return known
            self._refuse_taken(tx, new.version, new.fingerprint)
            moved = moved_by(tx, actor, channel)
            release = self._opened(new, moved)
            tx.insert_release(row_of(release))
            self._release_event(tx, EventKind.VERSION_REGISTERED, release, moved, {"facts": facts or {}})
            return release

        return self._database.write(work)

    def _opened(self, new: NewRelease, moved: Moved) -> Release:
        return Release(
            model=self.model,
            version=new.version,
            fingerprint=clean_text(new.fingerprint),
            as_of=new.as_of,
            trigger=clean_text(new.trigger),
            state=S.REGISTERED,
            artifact_digest=clean_text(new.artifact_digest),
            verdict_passed=new.verdict_passed,
            verdict_digest=clean_text(new.verdict_digest),
            needs_human=clean_text(new.needs_human) if new.needs_human else None,
            floors_missed=clean_text(", ".join(new.floors_missed)) or None,
            requested_by=clean_text(new.requested_by),
            champion_before=new.champion_before,
            opened_at=moved.at,
            moved_at=moved.at,
            moved_by=moved.by,
        )

    def move_release(
        self,
        version: int,
        to: ReleaseState,
        *,
        actor: str,
        channel: str,
        reason: str = "",
        lease: Lease | None = None,
    ) -> Release:
        """Move an open release: state, event and row in one transaction. The first answer wins.

        Raises:
            Conflict: it was moved before; the message says who did and when. Or the retrain's lease was lost.
        """

        def work(tx: "Transaction") -> Release:
            require_current(tx, lease)
            release = self._known(tx, version)
            moved = moved_by(tx, actor, channel, reason)
            return self._save(tx, release, move(release, to, moved), moved)

        return self._database.write(work)

    # -- inside a transaction

    def _save(
        self, tx: "Transaction", before: Release, after: Release, moved: Moved, more: Mapping[str, Any] | None = None
    ) -> Release:
        tx.update_release(row_of(after))
        step = {"from": before.state, "to": after.state, "reason": after.reason, **(more or {})}
        self._release_event(tx, EventKind.RELEASE_MOVED, after, moved, step)
        return after

    def _release_event(
        self,
        tx: "Transaction",
        kind: EventKind,
        release: Release,
        moved: Moved,
        more: Mapping[str, Any],
        subject: str | None = None,
    ) -> Event:
        """An event that keeps the whole release as it is now, so that its row can be checked against the chain."""
        about = {"version": release.version, "fingerprint": release.fingerprint, "as_of": release.as_of}
        payload = {"release": row_of(release), **more}
        return self._event(tx, kind, payload, actor=moved.by, channel=moved.via, subject=subject, **about)

    def _supersede(self, tx: "Transaction", releases: list[Release], reason: str, moved: Moved) -> None:
        why = moved.model_copy(update={"reason": reason})
        for release in releases:
            self._save(tx, release, move(release, S.SUPERSEDED, why), why)

    def _champion(self, tx: "Transaction") -> Release | None:
        return next(iter(self._read_releases(tx.connection, state=S.PROMOTED)), None)

    def _known(self, tx: "Transaction", version: int) -> Release:
        for release in self._read_releases(tx.connection, version=version):
            return release
        raise SettingsError(
            f"version {version} of {self.model} has no release in the ledger",
            remedy="See `fraud-retraining audit list` for the versions that there are.",
        )

    def _refuse_taken(self, tx: "Transaction", version: int, fingerprint: str) -> None:
        for other in self._read_releases(tx.connection, version=version):
            raise IntegrityError(
                f"version {version} of {self.model} is in the ledger with another fingerprint",
                culprits=[f"ledger: {other.fingerprint}", f"now: {fingerprint}"],
                remedy="Registry and ledger do not belong together; restore both from the same time.",
            )

    def _releases(self, **where: Any) -> list[Release]:
        return self._database.read(lambda cn: self._read_releases(cn, **where))

    def _read_releases(self, cn: "sa.Connection", **where: Any) -> list[Release]:
        """Releases as the chain has them, each held against its working row.

        Raises:
            RecordAltered: a row was changed, added or removed.
        """
        about: dict[str, Any] = {
            "model": self.model,
            **{name: where[name] for name in ("version", "fingerprint") if name in where},
        }
        gone = archived(sql().events(cn, {"kind": EventKind.HISTORY_ARCHIVED}))
        # Filtered by state only after the comparison: a forged state must not hide a release from it.
        rows, stored = sql().last_release_rows(cn, about), sql().releases(cn, about)
        found = recorded_releases(rows, stored, gone.releases if gone else {})
        return [one for one in found if all(_matches(one, name, value) for name, value in where.items())]


def moved_by(tx: "Transaction", actor: str, channel: str, reason: str = "") -> Moved:
    """Who moves a release and why, at the time of the transaction, in texts that every database can hold."""
    at = datetime.fromisoformat(tx.now)
    return Moved(by=clean_text(actor), via=clean_text(channel), at=at, reason=clean_text(reason))


def row_of(release: Release) -> dict[str, Any]:
    """A release as its columns hold it."""
    return release.model_dump(mode="json")


def _matches(release: Release, name: str, wanted: Any) -> bool:
    value = getattr(release, name)
    return value in wanted if isinstance(wanted, list | set | frozenset | tuple) else value == wanted
