"""A webhook gets signed JSON over real HTTP: in order, recognisable when it comes again, and nowhere else."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.alerts.webhook import WebhookDestination
from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.alerts.notices import AlertPolicy, Notice, PagerDutyPolicy, Success, WebhookPolicy
from fraud_retraining.domain.alerts.routing import opening_messages, update_messages
from fraud_retraining.services.delivery import Drained, Notifier, alerting, drain
from fraud_retraining_tests.support.notices import AS_OF, a_notice
from fraud_retraining_tests.support.reviewers import Clock, Receiver

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

SECRET = "s3cret-of-the-webhook-0123456789ab"
KEYS = {"ALERTS_WEBHOOK_SECRET": SECRET, "PAGERDUTY_ROUTING_KEY": "r" * 32}
HOSTILE = 'x\r\nX-Injected: 1\r\n\r\n{"event":"resolved"} <script>"\\ \u202e\x00'


class Console:
    """An outbox and the one receiver behind it."""

    def __init__(self, folder: Path, clock: Clock, url: str, seconds: float = 5) -> None:
        self.clock, self.home = clock, folder
        self.policy = AlertPolicy(slack=None, webhook=WebhookPolicy(url=url, timeout_seconds=seconds))
        self.outbox = Outbox(f"sqlite:///{folder}/ledger.db", clock=clock)

    def open(self, notice: Notice) -> None:
        self.outbox.open(
            notice, opening_messages(notice, self.policy), lambda seen: update_messages(notice, self.policy, seen)
        )

    def drain(self, **environment: str) -> Drained:
        return drain(self.outbox, Notifier(self.policy, self.home, environment or KEYS), self.policy)

    def cure(self) -> None:
        self.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver(SECRET)
    yield server
    server.close()


@pytest.fixture
def console(tmp_path: Path, clock: Clock, receiver: Receiver) -> Console:
    return Console(tmp_path, clock, receiver.url)


def test_a_notice_begins_is_counted_and_ends_in_one_thread(console: Console, receiver: Receiver) -> None:
    notice = a_notice(Category.GATE_FAILED)
    console.open(notice)
    assert console.drain() == Drained(sent=1)
    console.open(notice)
    assert console.drain() == Drained(sent=1)
    console.cure()
    assert console.drain() == Drained(sent=1)
    first, again, last = receiver.taken.values()
    assert receiver.events == ["opened", "seen_again", "resolved"]
    assert {one["thread"] for one in (first, again, last)} == {first["thread"]}
    assert (first["seen"], again["seen"], last["seen"]) == (1, 2, 2)
    assert (first["open"], last["open"]) == (True, False)
    assert last["resolved"] == f"retrain as of {AS_OF} passed"
    assert (first["version"], first["key"], first["title"]) == (1, f"fraud_detector/{notice.key}", notice.title)
    assert first["facts"][0] == {"name": "Model", "value": "fraud_detector"}
    console.open(notice)
    console.drain()
    assert list(receiver.taken.values())[-1]["thread"] != first["thread"], "the same again later is another incident"


def test_news_without_a_problem_is_resolved_as_it_is_sent(console: Console, receiver: Receiver) -> None:
    notice = a_notice(Category.CONFLICT)
    console.open(notice)
    console.outbox.resolve(notice.key, "told", messages=())
    assert console.drain() == Drained(sent=1)
    (taken,) = receiver.taken.values()
    assert (taken["event"], taken["open"]) == ("opened", False)


def test_a_receiver_that_took_it_and_answered_badly_knows_it_again(console: Console, receiver: Receiver) -> None:
    receiver.forgets_to_answer = 2
    console.open(a_notice(Category.GATE_FAILED))
    for _ in range(3):
        console.drain()
        console.clock.advance(minutes=6)
    assert console.drain() == Drained()
    assert len(receiver.requests) == 3
    assert len(receiver.taken) == 1


def test_another_secret_is_refused_and_neither_is_shown(console: Console, receiver: Receiver) -> None:
    console.open(a_notice(Category.GATE_FAILED))
    wrong = "another-secret-0123456789-abcdefgh"
    done = console.drain(ALERTS_WEBHOOK_SECRET=wrong)
    assert (done.failed, receiver.taken) == (1, {})
    assert done.errors == ('webhook: the webhook answered 401: {"error": "bad signature"}',)
    assert wrong not in str(console.outbox.backlog())
    console.clock.advance(minutes=6)
    assert console.drain() == Drained(sent=1)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(console: Console, receiver: Receiver, status: int) -> None:
    elsewhere = Receiver(SECRET)
    receiver.fail(status, {"Location": elsewhere.url})
    console.open(a_notice(Category.GATE_FAILED))
    done = console.drain()
    assert done.failed == 1
    assert "redirects are not followed: correct alerts.webhook.url" in done.errors[0]
    assert elsewhere.requests == []
    elsewhere.close()


@pytest.mark.parametrize(("status", "given_up"), [(400, 1), (413, 1), (422, 1), (401, 0), (404, 0), (500, 0), (503, 0)])
def test_what_a_refusal_means(console: Console, receiver: Receiver, status: int, given_up: int) -> None:
    receiver.fail(status)
    console.open(a_notice(Category.GATE_FAILED))
    done = console.drain()
    assert (done.given_up, done.failed) == (given_up, 1 - given_up)
    assert (console.home / "alerts.jsonl").exists() == bool(given_up), "what never arrives stands in the file"


def test_a_requested_wait_is_kept_and_a_forged_wait_is_bounded(console: Console, receiver: Receiver) -> None:
    console.open(a_notice(Category.GATE_FAILED))
    receiver.fail(429, {"Retry-After": "120"})
    console.drain()
    console.clock.advance(seconds=119)
    assert console.drain() == Drained()
    receiver.fail(503, {"Retry-After": "9" * 400})
    console.clock.advance(seconds=2)
    assert console.drain().failed == 1
    console.clock.advance(minutes=1)
    assert console.drain() == Drained(sent=1)


def test_an_outage_loses_nothing_and_pages_a_person(console: Console, receiver: Receiver) -> None:
    console.policy = console.policy.model_copy(update={"pagerduty": PagerDutyPolicy(api_url="https://127.0.0.1:9")})
    receiver.is_down = True
    console.open(a_notice(Category.GATE_FAILED))
    assert console.drain().failed == 1
    console.clock.advance(minutes=16)
    assert console.drain().escalated == 1
    receiver.is_down = False
    console.clock.advance(minutes=6)
    console.drain()
    assert receiver.events == ["opened"]


def dripping(pause: float, sent: bytes) -> tuple[socket.socket, str]:
    """A server that answers a byte at a time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                for byte in sent:
                    time.sleep(pause)
                    peer.sendall(bytes([byte]))

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.mark.parametrize("pause", [30, 0.05], ids=["silent", "dripping"])
def test_a_slow_receiver_takes_no_more_than_its_time(tmp_path: Path, clock: Clock, pause: float) -> None:
    listener, url = dripping(pause, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)
    with closing(listener):
        console = Console(tmp_path, clock, url, seconds=0.4)
        console.open(a_notice(Category.GATE_FAILED))
        begun = time.monotonic()
        done = console.drain()
    assert time.monotonic() - begun < 10
    assert done.failed == 1
    assert "the webhook did not answer" in done.errors[0]


def test_hostile_text_stays_within_its_field(console: Console, receiver: Receiver) -> None:
    notice = a_notice().model_copy(
        update={
            "title": HOSTILE,
            "why": (HOSTILE,) * 80,
            "model": HOSTILE,
            "serving": f"postgresql://u:hunter2@db {HOSTILE}",
        }
    )
    console.open(notice)
    assert console.drain() == Drained(sent=1)
    (taken,) = receiver.taken.values()
    assert taken["event"] == "opened"
    assert taken["title"] == 'x X-Injected: 1 {"event":"resolved"} <script>"\\'
    assert taken["why"][-1] == "... and 30 more"
    assert "hunter2" not in str(taken)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "file:///etc/passwd",
        "https://user:password@h/x",
        "https://h/x y",
        "https://h/x\r\nHost: other",
        "https://h/x#part",
        "https://h/é",
        "h/x",
    ],
)
def test_only_plain_addresses_of_the_web_are_accepted(url: str) -> None:
    with pytest.raises(ValidationError):
        WebhookPolicy(url=url)


def test_status_names_the_host_and_a_missing_secret(console: Console) -> None:
    able = alerting(console.outbox, Notifier(console.policy, console.home, KEYS), console.policy)
    assert "Webhook: 127.0.0.1:" in able.summary()
    assert "/hooks/" not in able.summary()
    bare = alerting(console.outbox, Notifier(console.policy, console.home, {}), console.policy)
    assert "Webhook: ALERTS_WEBHOOK_SECRET is not set here: alerts go to" in bare.summary()
    assert (
        WebhookDestination()
        .unfit(console.policy, {"ALERTS_WEBHOOK_SECRET": "short"})[0]
        .startswith("ALERTS_WEBHOOK_SECRET is too short")
    )
