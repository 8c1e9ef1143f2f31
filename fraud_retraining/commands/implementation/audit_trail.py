"""The audit of the ledger: verify it, explain why a version is live, export it, archive it.

Here: reading ledger, store and MLflow together. Not here: printing (`audit_tables.py`) and what the record
means (`domain/audit/history.py`, `domain/audit/archiving.py`).
"""

import getpass
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger.archive import Archives, ArchivingLedger
from fraud_retraining.adapters.ledger.database_grants import OwnedLedger
from fraud_retraining.adapters.ledger.verification import Verification
from fraud_retraining.commands.implementation.release_decisions import Decisions
from fraud_retraining.domain.audit.archiving import Archived
from fraud_retraining.domain.audit.history import ReleaseHistory
from fraud_retraining.domain.audit.period import Period
from fraud_retraining.domain.ledger.events import Event
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.errors import (
    DependencyUnreachable,
    IntegrityError,
    RetrainingError,
    SettingsError,
)
from fraud_retraining.orchestration.resources import (
    ledger_of,
    open_ledger,
    open_registry,
    open_signed_rows,
    open_store,
)
from fraud_retraining.services.exports import Export, export_period, export_version
from fraud_retraining.services.recorded_versions import beside_registry
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining.settings import Settings

CHANNEL = "command line"
T = TypeVar("T")
ROWS = re.compile(r"(?P<first>[1-9]\d{0,17})(?:\.\.(?P<last>[1-9]\d{0,17}))?")
HEAD = re.compile(r"(?P<seq>\d+):(?P<hash>[0-9a-f]{64})")


@dataclass(frozen=True)
class Shown:
    """The history of a version with its review report; `problem` is why a report that was made could not be read."""

    history: ReleaseHistory
    review_report: ReviewReport | None
    problem: RetrainingError | None = None


def show(settings: Settings, version: int) -> Shown:
    """The history of a version; it comes from the ledger, and is whole without a review report that cannot be read.

    Raises:
        Conflict: the ledger has no such version.
    """
    history = read_release_history(open_ledger(settings), version)
    judged = history.evaluation
    if judged is None or not judged.review_digest:
        return Shown(history, None)
    try:
        return Shown(
            history, read_review_report(open_store(settings), history.release.fingerprint, judged.review_digest)
        )
    except RetrainingError as problem:
        return Shown(history, None, problem)


@dataclass(frozen=True)
class Exporting:
    """An export; `problem` is why a review report is missing from it."""

    export: Export
    problem: RetrainingError | None = None


def export(
    settings: Settings, folder: Path, *, version: int | None, first: date | None, last: date | None
) -> Exporting:
    """Export the history of a version, or the events of a period, as files.

    Raises:
        SettingsError: neither a version nor a period was named, or both.
        Conflict: the ledger has no such version.
    """
    if version is not None and first is None and last is None:
        shown = show(settings, version)
        return Exporting(export_version(open_ledger(settings), version, shown.review_report, folder), shown.problem)
    if version is None and first is not None and last is not None and first <= last:
        return Exporting(export_period(open_ledger(settings), Period(first=first, last=last), folder))
    raise SettingsError("name --version N, or --from and --to of a period", remedy="`--from` is not after `--to`.")


@dataclass(frozen=True)
class Verified:
    """Findings of a verification: of the ledger, of its comparison with MLflow, and why MLflow could not be read."""

    ledger: Verification
    beside: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return self.ledger.ok and not self.beside


def verify(settings: Settings, head: str | None, archive: Path | None) -> Verified:
    """Verify that the record is whole, has the heads that were kept elsewhere, and agrees with MLflow."""
    known = [named_head(head)] if head else []
    ledger = open_ledger(settings)
    models = [(open_registry(one), ledger_of(ledger, one)) for one in settings.each_model()]
    # One chain for all models, and each keeps heads of it at its own registered model, also one that the
    # settings no longer name.
    former = [name for name in ledger.recorded_models() if name not in settings.model_names]
    keepers = [*(one for one, _ in models), *(open_registry(settings.of_former(name)) for name in former)]
    pinned, unknown = _read_mlflow(settings, lambda: [head for one in keepers for head in one.pinned_heads()])
    kept = Archives(archive) if archive else None
    found = ledger.verify(*known, archive=kept, also_pinned=pinned or ())
    if unknown or not found.ok:
        return Verified(found, unknown=unknown)
    beside, unknown = _read_mlflow(settings, lambda: [line for one in models for line in beside_registry(*one)])
    return Verified(found, tuple(beside or ()), unknown)


def _read_mlflow(settings: Settings, read: Callable[[], Sequence[T]]) -> tuple[Sequence[T] | None, str]:
    """What MLflow holds, or why it cannot be read."""
    # MLflow makes a SQLite store that is missing when it opens it; a verification must not leave one behind.
    file = settings.tracking_uri.removeprefix("sqlite:///")
    if file != settings.tracking_uri and not (Path(file).exists() and Path(file).stat().st_size):
        return None, ""
    try:
        return read(), ""
    except IntegrityError:
        raise
    except DependencyUnreachable as error:
        return None, error.what


def named_head(text: str) -> Head:
    """A head of the chain, given as `SEQ:HASH` or as the file that `audit export` wrote.

    >>> named_head("12:" + "0" * 64).seq
    12

    Raises:
        SettingsError: it is neither.
    """
    if (found := HEAD.fullmatch(text)) is not None:
        return Head(seq=int(found["seq"]), hash=found["hash"])
    try:
        document = json.loads(Path(text).read_text(encoding="utf-8"))
        return Head.model_validate(document.get("head", document))
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"{text} is no head of a chain: {error}",
            remedy="Give SEQ:HASH, or the head.json that `audit export` wrote.",
        ) from None


def archive(settings: Settings, folder: Path) -> Archived | None:
    """Move out events older than the ledger keeps; None where there are none.

    Raises:
        SettingsError: everything is kept.
    """
    days = settings.ledger.retention_days
    if days is None:
        raise SettingsError(
            "ledger.retention_days is null: every event is kept for ever",
            remedy="Set it to the days that events have to stay, at least 365.",
        )
    ledger = ArchivingLedger(settings.ledger_url, model=settings.recorded_as, signed=open_signed_rows(settings))
    return ledger.move_out(folder, days, actor=getpass.getuser(), channel=CHANNEL)


def begin_signing(settings: Settings, decisions: Decisions, reason: str) -> Event:
    """Sign every event from now on.

    Raises:
        NotPermitted: this person may not.
        RecordAltered: what is there is not what was written.
        DependencyUnreachable: MLflow, which keeps heads of the chain too, does not answer.
    """
    # Before signing began, nothing can be recorded, a refusal neither.
    identity = decisions.admitted("sign", recorded=False)
    ledger, registry = open_ledger(settings), open_registry(settings)
    pinned, unknown = _read_mlflow(settings, registry.pinned_heads)
    if unknown:
        raise DependencyUnreachable(f"the heads that MLflow keeps cannot be compared: {unknown}")
    channel = f"{CHANNEL}, {identity.how}"
    return ledger.begin_signing(actor=identity.name, channel=channel, reason=reason, also_pinned=pinned or ())


class NamedRows(NamedTuple):
    """A row of the ledger, or the first and the last of several."""

    first: int
    last: int | None = None


def named_rows(text: str) -> NamedRows:
    """Rows as a person names them.

    >>> named_rows("12"), named_rows("12..15")
    (NamedRows(first=12, last=None), NamedRows(first=12, last=15))

    Raises:
        SettingsError: it names none.
    """
    found = ROWS.fullmatch(text)
    if found is None:
        raise SettingsError(f"{text!r} names no row of the ledger", remedy="Give its number, or FROM..TO.")
    return NamedRows(int(found["first"]), int(found["last"]) if found["last"] else None)


def void(
    settings: Settings, decisions: Decisions, rows: NamedRows, reason: str, *, despite_signature: bool = False
) -> Event:
    """Take rows that are not signed out of the record.

    Raises:
        NotPermitted: this person may not.
        Conflict: a row is signed, or only these settings say that it is not as it should be.
    """
    identity = decisions.admitted("void")
    return open_ledger(settings).void_row(
        rows.first,
        actor=identity.name,
        channel=f"{CHANNEL}, {identity.how}",
        reason=reason,
        through=rows.last,
        despite_signature=despite_signature,
    )


def grants(settings: Settings, role: str, *, execute: bool) -> list[str]:
    """The statements that grant the insert-only role; executed where `execute` is set."""
    ledger = OwnedLedger(settings.ledger_url, model=settings.recorded_as)
    return ledger.grant(role) if execute else ledger.grants(role)
