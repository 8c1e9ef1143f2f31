"""What somebody with the ledger's app role, who can only add rows, can bring about: nothing, where rows are signed.

Each forged row follows from the last one as it should, and the working row of its release fits it.
"""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger.database_grants import OwnedLedger
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.online.published_state import is_recorded
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.promotion_mode import EarnedPolicy
from fraud_retraining.domain.releases.release import Intent, Release, ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining.services.track_record import read_standing
from fraud_retraining_tests.support.approvals_fixture import Backend, Trained, new_backend
from fraud_retraining_tests.support.signing import append_forged, signed_ledger
from fraud_retraining_tests.support.tampering import run_sql

pytest_plugins = ("fraud_retraining_tests.support.databases",)

S = ReleaseState
IDENTITY = {"name": "alice", "verified": False, "how": "unverified"}
Forge = Callable[[Backend, str, Release], None]


@pytest.fixture
def app_url(ledger_url: str) -> str:
    """How the application connects: on PostgreSQL as a role that can only add."""
    if ledger_url.startswith("sqlite"):
        return ledger_url
    role = f"app_{uuid4().hex[:8]}"
    run_sql(ledger_url, f"CREATE ROLE {role} LOGIN PASSWORD 'app'")
    OwnedLedger(ledger_url).grant(role)
    return sa.make_url(ledger_url).set(username=role, password="app").render_as_string(hide_password=False)


@pytest.fixture
def attacked(trained: Trained, app_url: str) -> Backend:
    """Version 1 serves and version 2 waits; every row is signed."""
    backend = new_backend(trained, app_url)
    backend.ledger = signed_ledger(app_url, model=backend.registry.model_name)
    return with_releases(backend)


def with_releases(backend: Backend) -> Backend:
    backend.champion(0)
    backend.waiting(1)
    return backend


def forge(backend: Backend, url: str, kind: str, before: Release, more: dict[str, Any], **changes: Any) -> None:
    """An event about a release that was changed so, and its working row."""
    release = {**before.model_dump(mode="json"), "moved_by": "alice", "decided_by": "alice", **changes}
    release["decided_via"] = "cli, unverified"
    append_forged(
        url,
        kind,
        {"release": release, **more},
        release=release,
        model=before.model,
        version=before.version,
        fingerprint=before.fingerprint,
        as_of=before.as_of.isoformat(),
        at=release["moved_at"],
    )


def approval(backend: Backend, url: str, before: Release) -> None:
    now = backend.ledger.now().isoformat().replace("+00:00", "Z")
    step = {"from": "awaiting_approval", "to": "approved", "reason": "", "identity": IDENTITY}
    forge(
        backend, url, EventKind.RELEASE_MOVED, before, step,
        state="approved", decided_at=now, moved_at=now, reason="",
    )  # fmt: skip


def intent(backend: Backend, url: str, before: Release) -> None:
    approval(backend, url, before)
    now, seq = backend.ledger.now(), backend.ledger.head().seq + 1
    meant = Intent(
        seq=seq,
        model=before.model,
        version=before.version,
        expected_champion=1,
        artifact_digest=before.artifact_digest,
        rollback=False,
        came_from=S.APPROVED,
        actor="alice",
        channel="cli, unverified",
        reason="",
        at=now,
    )
    at = now.isoformat().replace("+00:00", "Z")
    more = {"intent": meant.model_dump(mode="json")}
    forge(
        backend, url, EventKind.PROMOTION_INTENDED, before, more,
        state="promoting", intent=seq, decided_at=at, moved_at=at, reason="",
    )  # fmt: skip


def test_without_signatures_a_forged_approval_is_carried_out(trained: Trained, app_url: str):
    """The attack as such works: what is refused below is refused for its signature."""
    backend = with_releases(new_backend(trained, app_url))
    (before,) = backend.ledger.waiting()
    approval(backend, app_url, before)
    backend.watch.check_champion()
    assert backend.serving() == 2


@pytest.mark.parametrize("forged", [approval, intent], ids=["approval", "promotion intent"])
def test_a_forged_approval_or_promotion_is_not_carried_out(attacked: Backend, app_url: str, forged: Forge):
    (before,) = attacked.ledger.waiting()
    seen = attacked.ledger.head().seq
    forged(attacked, app_url, before)
    with pytest.raises(RecordAltered, match=r"row \d+ \((release moved|promotion intended)\) is not signed") as altered:
        attacked.watch.check_champion()
    assert attacked.serving() == 1
    attacked.watch.stop_for(altered.value)
    assert_stopped(attacked, after=seen)


def test_a_person_who_decides_beside_a_forged_row_is_told_of_it(attacked: Backend, app_url: str):
    (before,) = attacked.ledger.waiting()
    approval(attacked, app_url, before)
    acts: tuple[Callable[[], object], ...] = (
        lambda: attacked.promoter.verify(2),
        lambda: attacked.promoter.promote(2, actor="alice", channel="cli"),
        lambda: attacked.promoter.promote(1, actor="alice", channel="cli", rollback=True),
    )
    for act in acts:
        with pytest.raises(RecordAltered, match="is not signed"):
            act()
    assert attacked.serving() == 1


def test_a_forged_end_of_a_pause_ends_nothing(attacked: Backend, app_url: str):
    attacked.ledger.append(
        EventKind.AUTOMATION_PAUSED,
        actor="alice",
        payload={"reason": "rolled back"},
        keys=EventKeys(subject=Automation.PROMOTION),
    )
    model, seen = attacked.registry.model_name, attacked.ledger.head().seq
    append_forged(app_url, EventKind.AUTOMATION_RESUMED, {"reason": "ok"}, subject=Automation.PROMOTION, model=model)
    with pytest.raises(RecordAltered, match="automation resumed") as altered:
        attacked.ledger.pause(Automation.PROMOTION)
    attacked.watch.stop_for(altered.value)
    assert_stopped(attacked, after=seen)


def test_a_forged_state_is_not_one_that_was_published(attacked: Backend, app_url: str):
    day = date(2026, 11, 20)
    honest, planted = (Partition(asset="online_state", day=day, digest=name, files={}) for name in ("a", "b"))
    published = {"digest": honest.digest, "record_digest": digest(honest)}
    keys = EventKeys(subject=day.isoformat())
    attacked.ledger.append(EventKind.STATE_PUBLISHED, actor="pipeline", payload=published, keys=keys)
    assert is_recorded(attacked.ledger, honest) and not is_recorded(attacked.ledger, planted)
    forged, model = {"digest": planted.digest, "record_digest": digest(planted)}, attacked.registry.model_name
    assert is_recorded(attacked.ledger, honest, {"shared", model})
    append_forged(app_url, EventKind.STATE_PUBLISHED, forged, subject=day.isoformat(), model="shared")
    assert is_recorded(attacked.ledger, honest)
    with pytest.raises(RecordAltered, match=r"\(state published\) is not signed"):
        is_recorded(attacked.ledger, planted, {"shared", model})
    append_forged(app_url, EventKind.STATE_PUBLISHED, forged, subject=day.isoformat(), model=model)
    with pytest.raises(RecordAltered, match=r"\(state published\) is not signed"):
        is_recorded(attacked.ledger, planted)


def test_trust_is_not_earned_by_forged_verdicts(attacked: Backend, app_url: str):
    assert read_standing(attacked.ledger, EarnedPolicy()) is not None
    model = attacked.registry.model_name
    append_forged(app_url, EventKind.MATURED_VERDICT, {"outcome": "confirmed"}, version=1, model=model)
    with pytest.raises(RecordAltered, match="matured verdict"):
        read_standing(attacked.ledger, EarnedPolicy())


def assert_stopped(attacked: Backend, after: int) -> None:
    """The finding is recorded, both kinds of automation are paused, and somebody hears of it."""
    news = attacked.watch.notices_after(after).notices
    assert "record_altered" in [notice.kind for notice in news]
    skipped: Ledger = attacked.ledger
    paused = skipped.events(EventKind.AUTOMATION_PAUSED, after=after, skip_altered=True)
    already = skipped.events(EventKind.AUTOMATION_PAUSED, skip_altered=True)
    assert {event.subject for event in [*paused, *already]} == {subject.value for subject in Automation}
