"""Old rows may go only where a row that stays says so, and only when they are old enough."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.audit.archiving import Archived, archived, live, release_digest, standing_pauses
from fraud_retraining.domain.ledger.events import Event, EventKind, plain
from fraud_retraining.domain.ledger.hash_chain import NO_HASH, Head, Row, canonical_json, chained, verify_chain
from fraud_retraining.domain.releases.release import Release, ReleaseState

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
S = ReleaseState


def row(seq: int, kind: str = EventKind.MODEL_TRAINED, payload: object = None, before: str = NO_HASH, **more) -> Row:
    values = {"subject": None, "as_of": None, "version": None, "fingerprint": None, **more}
    text = canonical_json(plain(payload or {}))
    about = {"model": "m", "kind": str(kind), "actor": "a", "channel": "c", "txn": "t", "payload": text, **values}
    return chained(Row(seq=seq, at=NOW.isoformat(), prev_hash=before, hash="", **about))


def archive_event(through: int, newest: datetime = NOW - 400 * DAY, days: int = 400) -> Archived:
    return Archived(
        first=1,
        through=Head(seq=through, hash="a" * 64),
        oldest=NOW - 900 * DAY,
        newest=newest,
        retention_days=days,
        file="ledger.parquet",
        file_digest="b" * 64,
        releases={},
    )


def archiving(seq: int, facts: Archived) -> Row:
    return row(seq, EventKind.HISTORY_ARCHIVED, facts.model_dump(mode="json"))


class TestArchivedRows:
    def test_the_newest_counts(self) -> None:
        rows = [archiving(9, archive_event(5, NOW - 500 * DAY)), archiving(4, archive_event(2, NOW - 600 * DAY))]
        found = archived([*rows, row(10)])
        assert found is not None and found.through.seq == 5

    @pytest.mark.parametrize(
        "made_up",
        [
            archiving(9, archive_event(5, newest=NOW - 399 * DAY)),
            archiving(9, archive_event(5, NOW - 500 * DAY))._replace(actor="mallory"),
            row(9, EventKind.HISTORY_ARCHIVED, {"through": {"seq": 5, "hash": "a" * 64}}),
            row(9, EventKind.HISTORY_ARCHIVED, {**archive_event(5).model_dump(mode="json"), "retention_days": 30}),
            row(9, EventKind.MODEL_TRAINED, archive_event(5, NOW - 500 * DAY).model_dump(mode="json")),
        ],
        ids=["too young", "edited", "incomplete", "less than a year", "another kind"],
    )
    def test_what_was_made_up_tells_nothing(self, made_up: Row) -> None:
        assert archived([made_up]) is None


@st.composite
def cut_chains(draw: st.DrawFn) -> tuple[list[Row], int]:
    rows: list[Row] = []
    for seq in range(1, draw(st.integers(2, 12)) + 1):
        rows.append(row(seq, payload={"n": seq}, before=rows[-1].hash if rows else NO_HASH))
    return rows, draw(st.integers(0, len(rows) - 1))


@given(cut_chains(), st.data())
def test_a_chain_goes_on_from_the_row_that_was_archived_last_and_shows_every_change(cut, data) -> None:
    rows, gone = cut
    start = Head(seq=gone, hash=rows[gone - 1].hash) if gone else Head()
    left = rows[gone:]
    head = Head(seq=rows[-1].seq, hash=rows[-1].hash)
    assert verify_chain(left, head, start=start) == (head, None)
    place = data.draw(st.integers(0, len(left) - 1))
    edited = [*left[:place], left[place]._replace(actor="mallory"), *left[place + 1 :]]
    missing = left[:place] + left[place + 1 :]
    for changed in (edited, missing):
        _, bad = verify_chain(changed, head, start=start)
        assert bad is not None and bad.seq == left[place].seq


def release(version: int, state: ReleaseState, before: int | None = None, model: str = "m") -> Release:
    return Release(
        model=model,
        version=version,
        fingerprint=f"f{version}",
        as_of=date(2026, 1, 1) + version * DAY,
        trigger="schedule",
        state=state,
        artifact_digest="d",
        verdict_passed=True,
        champion_before=before,
        opened_at=NOW,
        moved_at=NOW,
        moved_by="alice",
    )


def test_what_is_open_serves_or_served_just_before_stays() -> None:
    known = [
        release(1, S.SUPERSEDED),
        release(2, S.ROLLED_BACK),
        release(3, S.SUPERSEDED),
        release(4, S.PROMOTED, before=2),
        release(5, S.REJECTED, before=4),
        release(6, S.AWAITING_APPROVAL, before=4),
        release(2, S.SUPERSEDED, model="other"),
    ]
    assert [(one.model, one.version) for one in live(known)] == [("m", 2), ("m", 4), ("m", 6)]


def test_a_field_that_a_later_schema_adds_changes_no_digest() -> None:
    one = release(1, S.SUPERSEDED).model_dump(mode="json")
    assert release_digest(one) == release_digest({**one, "brand_new": None, "also_new": ""})
    assert release_digest(one) != release_digest({**one, "state": "promoted"})


def test_a_pause_stands_until_somebody_ends_it_and_began_with_its_first_row() -> None:
    paused, resumed = EventKind.AUTOMATION_PAUSED, EventKind.AUTOMATION_RESUMED
    rows = [
        row(1, paused, subject="promotion"),
        row(2, paused, subject="retraining"),
        row(3, resumed, subject="promotion"),
        row(4, paused, subject="promotion", model="other"),
        row(5, paused, subject="retraining"),
        row(6, resumed, subject="promotion"),
    ]
    assert standing_pauses(map(Event.of, reversed(rows))) == [2, 4]
