"""The outbox keeps one open notice a key, sends each message once, and loses none."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.alerts.delivery_queue import pause_after
from fraud_retraining.adapters.alerts.outbox import Announcement, Outbox
from fraud_retraining.adapters.alerts.records import Unreadable
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.tables import DELIVERIES, NOTICES
from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.alerts.notices import (
    Action,
    AlertPolicy,
    Message,
    Notice,
    PagerDutyPolicy,
    Success,
)
from fraud_retraining.domain.alerts.routing import escalation_message, opening_messages, update_messages
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining_tests.support.notices import AS_OF, a_notice
from fraud_retraining_tests.support.reviewers import Clock

pytest_plugins = ("fraud_retraining_tests.support.databases", "fraud_retraining_tests.support.reviewer_fixtures")

POLICY = AlertPolicy(pagerduty=PagerDutyPolicy())
D1, D2, D3 = (date(2026, 11, day) for day in (1, 2, 3))


@pytest.fixture
def outbox(ledger_url: str, clock: Clock) -> Outbox:
    return Outbox(ledger_url, clock=clock)


def opened(outbox: Outbox, notice: Notice) -> Any:
    return outbox.open(notice, opening_messages(notice, POLICY), lambda seen: update_messages(notice, POLICY, seen))


def failed(outbox: Outbox, run_id: str | None, notice: Notice) -> Any:
    announced = Announcement(
        notice, opening_messages(notice, POLICY), lambda seen: update_messages(notice, POLICY, seen)
    )
    keys = EventKeys(subject=run_id, as_of=notice.as_of)
    return outbox.record_failure(
        EventKind.RETRAIN_FAILED, {"cause": notice.key}, announced, keys=keys, channel="dagster"
    )


def drained(outbox: Outbox) -> list[tuple[str, str]]:
    """Destination and action of everything that is due, all of which arrives."""
    done = []
    while (delivery := outbox.claim()) is not None:
        outbox.sent(delivery, {"channel": "C1", "ts": f"{delivery.id}"})
        done.append((delivery.destination, str(delivery.action)))
    return done


def kinds(outbox: Outbox) -> list[str]:
    return [event.kind for event in outbox.events()]


def test_a_notice_is_sent_once_however_often_it_is_opened(outbox: Outbox) -> None:
    notice = a_notice(Category.UNEXPECTED)
    assert [opened(outbox, notice).seen for _ in range(5)] == [1, 2, 3, 4, 5]
    assert drained(outbox) == [("slack:#ml-oncall", "open"), ("pagerduty", "open")]
    assert kinds(outbox) == ["notice_opened"]
    (known,) = outbox.open_notices()
    assert (known.seen, known.notice) == (5, notice)


def test_counting_changes_the_message_that_waits_or_updates_the_one_that_was_sent(outbox: Outbox) -> None:
    notice = a_notice(Category.GATE_FAILED)
    opened(outbox, notice)
    opened(outbox, notice)
    waiting = outbox.claim()
    assert waiting is not None
    assert "seen 2 times" in json.dumps(waiting.body)
    opened(outbox, notice)
    outbox.sent(waiting, {"channel": "C1", "ts": "1"})
    opened(outbox, notice)
    update = outbox.claim()
    assert update is not None
    assert (update.action, update.receipt) == (Action.UPDATE, {"channel": "C1", "ts": "1"})
    assert "seen 4 times" in json.dumps(update.body)
    assert outbox.claim() is None


def test_the_failure_of_a_run_is_recorded_once_from_any_process(outbox: Outbox) -> None:
    notice = a_notice(Category.WORKER_DIED)
    assert failed(outbox, "run-1", notice) is not None
    assert failed(outbox, "run-1", notice) is None
    assert failed(outbox, "run-2", notice) is not None
    assert failed(outbox, None, notice) is not None
    assert [event.subject for event in outbox.events(EventKind.RETRAIN_FAILED)] == ["run-1", "run-2", None]
    assert outbox.open_notices()[0].seen == 3
    assert kinds(outbox).count("notice_opened") == 1


def test_a_notice_is_resolved_once_where_it_was_sent(outbox: Outbox) -> None:
    notice = a_notice(Category.UNEXPECTED)
    opened(outbox, notice)
    drained(outbox)
    assert outbox.resolve(notice.key, "it passed") is True
    assert outbox.resolve(notice.key, "it passed again") is False
    assert drained(outbox) == [
        ("slack:#ml-oncall", "update"),
        ("slack:#ml-oncall", "reply"),
        ("pagerduty", "resolve"),
    ]
    assert kinds(outbox) == ["notice_opened", "notice_resolved"]
    assert outbox.open_notices() == []
    assert opened(outbox, notice).new


def test_no_page_is_sent_for_what_was_over_before_it_was_sent(outbox: Outbox) -> None:
    notice = a_notice(Category.UNEXPECTED)
    opened(outbox, notice)
    outbox.resolve(notice.key, "it passed")
    first = outbox.claim()
    assert first is not None
    assert "Resolved" in first.body["text"]
    outbox.sent(first, {"channel": "C1", "ts": "1"})
    assert drained(outbox) == [("slack:#ml-oncall", "reply")]


def test_an_incident_that_may_have_been_opened_is_resolved(outbox: Outbox, clock: Clock) -> None:
    notice = a_notice(Category.UNEXPECTED)
    opened(outbox, notice)
    attempt = outbox.claim(without=["slack"])
    assert attempt is not None
    outbox.postpone(attempt, "no answer")
    outbox.resolve(notice.key, "it passed")
    clock.advance(minutes=10)
    assert ("pagerduty", "resolve") in drained(outbox)


class TestCure:
    @pytest.mark.parametrize(
        ("notice", "success", "cured"),
        [
            (a_notice(), Success(job="retrain", as_of=AS_OF), True),
            (a_notice(), Success(job="retrain", as_of=AS_OF + timedelta(2)), True),
            (a_notice(), Success(job="retrain", as_of=AS_OF - timedelta(1)), False),
            (a_notice(), Success(job="ingest", days=(AS_OF,)), False),
            (a_notice(Category.DATA_VALIDATION, days=(D1,)), Success(job="ingest", days=(D1,)), True),
            (a_notice(Category.DATA_VALIDATION, "ingest", days=(D1, D2)), Success(job="ingest", days=(D1, D2)), True),
            (a_notice(Category.DATA_VALIDATION, "ingest", days=(D1,)), Success(job="retrain", as_of=AS_OF), False),
            (a_notice(Category.DEPENDENCY, "monitor", days=(D1,)), Success(job="ingest", days=(D1,)), False),
            (a_notice(Category.DEPENDENCY, "monitor", days=(D1,)), Success(job="monitor", days=(D1, D2)), True),
            (a_notice(Category.DEPENDENCY, "ingest", days=(D1,)), Success(job="monitor", days=(D1,)), False),
            (a_notice(Category.DEPENDENCY, "clean"), Success(job="clean"), True),
            (a_notice(Category.DEPENDENCY, "clean"), Success(job="decide"), False),
            (a_notice(Category.DEPENDENCY, "decide"), Success(job="retrain", as_of=AS_OF), False),
            (a_notice(), Success(job="clean"), False),
        ],
        ids=[
            "the same as-of day",
            "a later one",
            "a backfill of an earlier one",
            "an ingest cures no retrain",
            "but it does the days that a retrain lacked",
            "all of its days",
            "a retrain cures no day",
            "an ingest does not watch",
            "watching does",
            "watching ingests nothing",
            "the next clean-up",
            "a decision cleans nothing up",
            "a retrain decides nothing by form",
            "a clean-up is no retrain",
        ],
    )
    def test_which_success_ends_a_notice(self, outbox: Outbox, notice: Notice, success: Success, cured: bool) -> None:
        opened(outbox, notice)
        assert outbox.resolve_after(success) == ([notice.key] if cured else [])
        assert bool(outbox.open_notices()) is not cured

    def test_days_are_cured_one_by_one(self, outbox: Outbox) -> None:
        notice = a_notice(Category.DATA_VALIDATION, "ingest", days=(D1, D2, D3))
        opened(outbox, notice)
        assert outbox.resolve_after(Success(job="ingest", days=(D1, D3))) == []
        assert outbox.open_notices()[0].notice.days == (D2,)
        assert outbox.resolve_after(Success(job="ingest", days=(D1, D3))) == []
        assert outbox.resolve_after(Success(job="ingest", days=(D2,))) == [notice.key]


class TestDelivery:
    def test_a_message_is_claimed_by_one(self, outbox: Outbox, ledger_url: str, clock: Clock) -> None:
        opened(outbox, a_notice(Category.GATE_FAILED))
        other = Outbox(ledger_url, clock=clock)
        first = outbox.claim()
        assert first is not None
        assert other.claim() is None
        clock.advance(seconds=61)
        again = other.claim()
        assert again is not None
        assert (again.id, again.attempts) == (first.id, 2)

    def test_two_processes_that_claim_at_once_get_different_messages(self, ledger_url: str) -> None:
        from concurrent.futures import ThreadPoolExecutor

        boxes = [Outbox(ledger_url) for _ in range(4)]
        for number in range(8):
            opened(boxes[0], a_notice(Category.GATE_FAILED, fingerprint=f"{number:016d}"))
        with ThreadPoolExecutor(4) as pool:
            claimed = list(pool.map(lambda n: boxes[n % 4].claim(), range(8)))
        numbers = [one.id for one in claimed if one is not None]
        assert len(numbers) == len(set(numbers)) == 8

    def test_messages_of_one_notice_go_in_order_and_others_pass(self, outbox: Outbox, clock: Clock) -> None:
        first, second = a_notice(Category.GATE_FAILED), a_notice(Category.DATA_VALIDATION)
        opened(outbox, first)
        stuck = outbox.claim()
        assert stuck is not None
        outbox.postpone(stuck, "down", timedelta(minutes=1))
        outbox.reply(first.key, {"text": "more"})
        opened(outbox, second)
        assert drained(outbox) == [("slack:#data-quality", "open")]
        clock.advance(minutes=2)
        assert drained(outbox) == [("slack:#ml-alerts", "open"), ("slack:#ml-alerts", "reply")]

    def test_a_requested_wait_holds_for_the_whole_kind_of_destination(self, outbox: Outbox, clock: Clock) -> None:
        opened(outbox, a_notice(Category.UNEXPECTED))
        opened(outbox, a_notice(Category.GATE_FAILED))
        delivery = outbox.claim()
        assert delivery is not None
        outbox.postpone(delivery, "ratelimited", timedelta(seconds=90))
        assert drained(outbox) == [("pagerduty", "open")]
        clock.advance(seconds=89)
        assert drained(outbox) == []
        clock.advance(seconds=2)
        assert drained(outbox) == [("slack:#ml-oncall", "open"), ("slack:#ml-alerts", "open")]

    def test_pauses_double_up_to_five_minutes(self) -> None:
        pauses = [pause_after(attempt).total_seconds() for attempt in range(1, 12)]
        assert 11 <= pauses[0] <= 15
        assert 22 <= pauses[1] <= 30
        assert 225 <= pauses[-1] <= 300

    def test_only_what_matters_and_waits_is_overdue(self, outbox: Outbox, clock: Clock) -> None:
        late = a_notice(Category.GATE_FAILED)
        opened(outbox, late)
        opened(outbox, a_notice(Category.UNEXPECTED))
        reported = a_notice(Category.DATA_VALIDATION)
        opened(outbox, reported)
        while (delivery := outbox.claim()) is not None:
            if delivery.notice.key == reported.key:
                outbox.sent(delivery, {})
        assert outbox.overdue(timedelta(minutes=15)) == []
        clock.advance(minutes=15)
        assert [one.notice.key for one in outbox.overdue(timedelta(minutes=15))] == [late.key]
        message = escalation_message(late, POLICY)
        assert message is not None
        outbox.escalate(late, message)
        outbox.escalate(late, message)
        assert outbox.overdue(timedelta(minutes=15)) == []
        assert outbox.backlog().waiting == 4

    def test_the_backlog_says_how_old_it_is_and_why(self, outbox: Outbox, clock: Clock) -> None:
        assert outbox.backlog().oldest is None
        opened(outbox, a_notice(Category.GATE_FAILED))
        since = clock()
        clock.advance(minutes=3)
        delivery = outbox.claim()
        assert delivery is not None
        outbox.postpone(delivery, "Slack answered 500 to xoxb-1-secret")
        backlog = outbox.backlog()
        assert (backlog.waiting, backlog.oldest, backlog.given_up) == (1, since, 0)
        assert backlog.last_error == "Slack answered 500 to ***"
        outbox.give_up(delivery, "too old")
        assert (outbox.backlog().waiting, outbox.backlog().given_up) == (0, 1)

    def test_who_delivers_is_known_for_two_minutes(self, outbox: Outbox, clock: Clock) -> None:
        outbox.record_sender(["slack"], "host:1")
        outbox.record_sender(["slack"], "host:2")
        assert outbox.has_sender("slack")
        assert not outbox.has_sender("pagerduty")
        clock.advance(minutes=2)
        assert not outbox.has_sender("slack")
        assert set(outbox.last_senders()) == {"slack"}


class TestOtherMessages:
    """What a release request needs: a message of its own making, changed later, with a thread and a receipt."""

    def test_a_message_can_be_changed_and_replied_to_after_its_notice_has_ended(self, outbox: Outbox) -> None:
        notice = a_notice(Category.CONFLICT).model_copy(update={"key": "release:7", "category": "release_waiting"})
        body = {"text": "approve?", "blocks": [{"type": "actions", "elements": [{"value": "signature=abc"}]}]}
        outbox.open(notice, [Message(destination="slack:#ml-alerts", action=Action.OPEN, body=body)])
        first = outbox.claim()
        assert first is not None
        assert first.body == body
        outbox.sent(first, {"channel": "C1", "ts": "17.5"})
        decided = Message(destination="slack:#ml-alerts", action=Action.UPDATE, body={"text": "approved by anna"})
        assert outbox.resolve("release:7", "approved", [decided])
        assert outbox.reply("release:7", {"text": "promoted"})
        assert not outbox.reply("release:8", {"text": "promoted"})
        second = outbox.claim()
        assert second is not None
        assert (second.action, second.receipt) == ("update", {"channel": "C1", "ts": "17.5"})
        outbox.sent(second, {"channel": "C1", "ts": "17.5"})
        assert drained(outbox) == [("slack:#ml-alerts", "reply")]


def test_notices_of_two_models_in_one_database_do_not_mix(ledger_url: str) -> None:
    one, other = Outbox(ledger_url, model="one"), Outbox(ledger_url, model="other")
    opened(one, a_notice(Category.GATE_FAILED))
    assert other.open_notices() == []
    assert other.claim() is None
    assert opened(other, a_notice(Category.GATE_FAILED)).new


def test_the_chain_with_notices_in_it_verifies(outbox: Outbox, ledger_url: str) -> None:
    notice = a_notice(Category.UNEXPECTED)
    failed(outbox, "run-1", notice)
    outbox.resolve(notice.key, "it passed")
    assert Ledger(ledger_url).verify().ok
    assert kinds(outbox) == ["retrain_failed", "notice_opened", "notice_resolved"]


# ------------------------------------------------------------------ rows of somebody else


def altered(outbox: Outbox, table: sa.Table, number: int, **values: Any) -> None:
    engine = sa.create_engine(outbox._url)
    with engine.begin() as cn:
        cn.execute(table.update().where(table.c.id == number).values(values))
    engine.dispose()


BAD = {
    "no JSON": {"message": "{"},
    "a list": {"message": "[]"},
    "not a number": {"message": '{"text": NaN}'},
    "half a character": {"message": '{"text": "\\ud800"}'},
    "nested without end": {"message": '{"a":' * 3000 + "1" + "}" * 3000},
    "longer than any": {"message": json.dumps({"text": "x" * 1_000_001})},
    "no action": {"action": "shout"},
    "no time": {"created_at": "yesterday"},
    "no time zone": {"created_at": "2026-11-20T00:00:00"},
}


@pytest.mark.parametrize("case", BAD)
def test_a_message_that_cannot_be_read_is_set_aside_and_the_next_is_sent(
    tmp_path: Path, clock: Clock, case: str
) -> None:
    outbox = Outbox(f"sqlite:///{tmp_path}/ledger.db", clock=clock)
    opened(outbox, a_notice(Category.GATE_FAILED))
    opened(outbox, a_notice(Category.DATA_VALIDATION))
    altered(outbox, DELIVERIES, 1, **BAD[case])
    with pytest.raises(Unreadable, match="row 1 of deliveries cannot be read and is set aside"):
        outbox.claim()
    assert drained(outbox) == [("slack:#data-quality", "open")]
    backlog = outbox.backlog()
    assert (backlog.waiting, backlog.given_up) == (0, 1)
    assert "row 1 of deliveries" in str(backlog.last_error)


def test_a_notice_that_cannot_be_read_stops_no_other(outbox: Outbox) -> None:
    bad, good = a_notice(Category.GATE_FAILED), a_notice(Category.DATA_VALIDATION)
    opened(outbox, bad)
    opened(outbox, good)
    altered(outbox, NOTICES, 1, notice='{"key": 1}')
    assert [one.notice.key for one in outbox.open_notices()] == [good.key]
    assert outbox.overdue(timedelta(0)) != []
    assert not outbox.reply(bad.key, {"text": "x"}), "what is said then is a message of its own"
    (why,) = outbox.set_aside_unreadable()
    assert "row 1 of notices cannot be read" in why
    assert outbox.set_aside_unreadable() == [], "it is told once"
    with pytest.raises(Unreadable, match="row 1 of deliveries"):
        outbox.claim()
    assert drained(outbox) == [("slack:#data-quality", "open")]
    assert opened(outbox, bad).new, "the same again opens a notice that can be read"


def test_a_sender_whose_time_cannot_be_read_is_none(outbox: Outbox) -> None:
    outbox.record_sender(["slack"], "host:1")
    engine = sa.create_engine(outbox._url)
    with engine.begin() as cn:
        cn.execute(sa.text("UPDATE leases SET seen_at = 'soon'"))
    engine.dispose()
    assert not outbox.has_sender("slack")
