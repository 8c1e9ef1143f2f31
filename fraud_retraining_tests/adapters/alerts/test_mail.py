"""E-mail over real SMTP within TLS: a thread a notice, once, whatever the server answers and whatever names hold."""

import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fraud_retraining.adapters.alerts.mail import EmailDestination
from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.alerts.notices import (
    Action,
    AlertPolicy,
    EmailChannels,
    EmailPolicy,
    Link,
    Message,
    Notice,
    PagerDutyPolicy,
    Success,
)
from fraud_retraining.domain.alerts.routing import composer_of, opening_messages, update_messages
from fraud_retraining.services.delivery import Drained, Notifier, alerting, drain
from fraud_retraining_tests.support.mail_servers import PASSWORD, USER, MailServer
from fraud_retraining_tests.support.notices import AS_OF, a_notice
from fraud_retraining_tests.support.reviewers import Clock, certified

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

KEYS = {"ALERTS_SMTP_USER": USER, "ALERTS_SMTP_PASSWORD": PASSWORD, "PAGERDUTY_ROUTING_KEY": "r" * 32}
ANNA, BOB = "anna@bank.example", "bob+fraud@bank.example"
CHANNELS = EmailChannels(data=("data@bank.example",), model=(ANNA, BOB), oncall=("oncall@bank.example",))
HOSTILE = "x\r\nBcc: evil@evil.example\r\n\r\n<script>alert(1)</script><a href='https://evil.example'>\u202e\x00\n.\n"


class Console:
    """An outbox, a mail server, and the settings that lead to it."""

    def __init__(self, folder: Path, clock: Clock, server: MailServer, **settings: Any) -> None:
        self.clock, self.home, self.server = clock, folder, server
        values = {"host": "127.0.0.1", "port": server.port, "sender": USER, "channels": CHANNELS, "timeout_seconds": 5}
        self.policy = AlertPolicy(slack=None, email=EmailPolicy(**{**values, **settings}))
        self.outbox = Outbox(f"sqlite:///{folder}/ledger.db", clock=clock)

    def open(self, notice: Notice) -> None:
        self.outbox.open(
            notice, opening_messages(notice, self.policy), lambda seen: update_messages(notice, self.policy, seen)
        )

    def drain(self, **environment: str) -> Drained:
        return drain(self.outbox, Notifier(self.policy, self.home, environment or KEYS), self.policy)


@pytest.fixture
def tls(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server's certificate that this process trusts."""
    context, trusted = certified(tmp_path_factory.mktemp("tls"))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


@pytest.fixture
def server(tls: Any) -> Iterator[MailServer]:
    running = MailServer(tls)
    yield running
    running.close()


@pytest.fixture
def console(tmp_path: Path, clock: Clock, server: MailServer) -> Console:
    return Console(tmp_path, clock, server)


def parts(mail: EmailMessage) -> tuple[str, str]:
    plain, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None and html is not None
    return plain.get_content().replace("\r\n", "\n"), html.get_content().replace("\r\n", "\n")


def test_each_address_of_the_audience_gets_one_thread_of_begin_and_end(console: Console) -> None:
    notice = a_notice(Category.GATE_FAILED)
    console.open(notice)
    console.open(notice)
    assert console.drain() == Drained(sent=2)
    console.outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
    assert console.drain() == Drained(sent=2)
    threads = set()
    for address in (ANNA, BOB):
        first, last = console.server.box(address)
        assert (first["To"], first["From"], first["Subject"]) == (address, USER, f"[fraud_detector] {notice.title}")
        assert first["In-Reply-To"] is None
        assert last["In-Reply-To"] == last["References"] == first["Message-ID"] != last["Message-ID"]
        assert last["Subject"] == f"Re: {first['Subject']}"
        assert parts(last)[0].startswith(f"Resolved: retrain as of {AS_OF} passed")
        for part in parts(first):
            assert all(word in part for word in (notice.title, notice.serving, notice.why[0], "fraud_detector"))
        assert '<a href="https://dagster.example/runs/run-1">Dagster run</a>' in parts(first)[1]
        threads.add(first["Message-ID"])
    assert len(threads) == 2
    console.open(notice)
    console.drain()
    assert console.server.box(ANNA)[-1]["Message-ID"] not in threads, "the same again later is another thread"


def test_tls_from_the_first_byte(tmp_path: Path, clock: Clock, tls: Any) -> None:
    server = MailServer(tls, implicit=True)
    console = Console(tmp_path, clock, server, security="tls")
    console.open(a_notice(Category.UNEXPECTED))
    assert console.drain() == Drained(sent=1)
    (mail,) = server.box("oncall@bank.example")
    assert (mail["Importance"], "STARTTLS" in server.commands) == ("high", False)
    assert mail["Subject"].startswith("[fraud_detector] critical: ")
    server.close()


def test_nothing_is_said_outside_of_tls(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.open(a_notice(Category.UNEXPECTED))
    console.server.offers_no_tls = True
    assert "502 not here" in console.drain().errors[0].replace(": ", " ")
    console.server.offers_no_tls = False
    monkeypatch.delenv("SSL_CERT_FILE")
    console.clock.advance(minutes=6)
    assert "CERTIFICATE_VERIFY_FAILED" in console.drain().errors[0]
    assert console.server.mails == []
    assert not {"AUTH", "MAIL"} & set(console.server.commands)


def test_hostile_names_add_no_header_no_recipient_and_no_markup(console: Console) -> None:
    links = (Link(text=HOSTILE, url="javascript:alert(1)"), Link(text="x", url="https://x/'\"><script>y"))
    notice = a_notice(Category.UNEXPECTED).model_copy(
        update={
            "model": HOSTILE,
            "title": HOSTILE,
            "why": (HOSTILE, "postgresql://u:hunter2@db/x"),
            "facts": ((HOSTILE, HOSTILE),),
            "links": links,
        }
    )
    console.open(notice)
    console.outbox.reply(notice.key, {"text": "x"}, HOSTILE)
    console.outbox.resolve(notice.key, HOSTILE)
    assert console.drain() == Drained(sent=3)
    assert [recipient for recipient, _ in console.server.mails] == ["oncall@bank.example"] * 3
    for mail, raw in zip(console.server.box("oncall@bank.example"), console.server.raw, strict=True):
        assert mail["Bcc"] is None
        assert b"\nBcc:" not in raw.partition(b"\r\n\r\n")[0]
        plain, html = parts(mail)
        assert "<script" not in html and "evil.example'>" not in html
        assert "\u202e" not in plain + html and "hunter2" not in plain + html
    assert "javascript:" not in "".join(part.split("href=")[1] for part in parts(mail)[1].split("<a ")[1:])


def test_an_address_with_a_line_break_in_the_outbox_is_given_up(console: Console) -> None:
    body = console_body()
    message = Message(destination="email:a@b.example\r\nBcc: evil@evil.example", action=Action.OPEN, body=body)
    console.outbox.open(a_notice(), [message])
    assert console.drain().given_up == 1
    assert console.server.mails == []


def console_body() -> dict[str, Any]:
    return composer_of("email:x").opening(a_notice(), AlertPolicy())


def test_the_words_of_a_request_replace_the_notices_in_both_forms(console: Console) -> None:
    body = composer_of("email:x").worded(console_body(), "Approve?\n  <b>yes</b> & token=abc123\r\n")
    console.outbox.open(a_notice(), [Message(destination=f"email:{ANNA}", action=Action.OPEN, body=body)])
    console.drain()
    plain, html = parts(console.server.box(ANNA)[0])
    assert plain.startswith("Approve?\n  <b>yes</b> & token=***")
    assert "<pre>Approve?\n  &lt;b&gt;yes&lt;/b&gt; &amp; token=***" in html


@pytest.mark.parametrize(
    ("command", "answer", "given_up", "escalated"),
    [
        ("MAIL", "451 later", 0, 0),
        ("RCPT", "450 greylisted", 0, 0),
        ("content", "452 full", 0, 0),
        ("RCPT", "550 no such user", 0, 1),
        ("MAIL", "553 not your address", 0, 1),
        ("AUTH", "535 no", 0, 1),
        ("content", "554 looks like spam", 1, 1),
    ],
)
def test_what_a_refusal_means(console: Console, command: str, answer: str, given_up: int, escalated: int) -> None:
    console.policy = console.policy.model_copy(update={"pagerduty": PagerDutyPolicy(api_url="https://127.0.0.1:9")})
    console.server.answers[command] = [answer]
    console.open(a_notice(Category.DATA_VALIDATION))
    done = console.drain(**{name: KEYS[name] for name in KEYS if "SMTP" in name})
    assert done.given_up == given_up
    assert f"the mail server answered {answer.replace(' ', ': ', 1)}" in done.errors[0]
    lines = (console.home / "alerts.jsonl").read_text() if (console.home / "alerts.jsonl").exists() else ""
    assert lines.count('"destination": "pagerduty"') == escalated, "without its key an incident is a line of the file"
    console.clock.advance(minutes=6)
    assert console.drain().sent == (0 if given_up else 1)
    assert len(console.server.mails) == (0 if given_up else 1)


def test_one_bad_address_holds_up_no_other(console: Console) -> None:
    console.server.answers["RCPT"] = ["550 no such user"]
    console.open(a_notice(Category.GATE_FAILED))
    done = console.drain()
    assert (done.sent, done.failed) == (1, 1)
    console.clock.advance(minutes=6)
    assert console.drain() == Drained(sent=1)
    assert [len(console.server.box(address)) for address in (ANNA, BOB)] == [1, 1]


def test_a_lost_answer_sends_it_once_more_and_its_reader_can_tell(console: Console) -> None:
    console.server.lost_answers = 1
    console.open(a_notice(Category.DATA_VALIDATION))
    assert console.drain().failed == 1
    for _ in range(3):
        console.clock.advance(minutes=6)
        console.drain()
    first, second = console.server.box("data@bank.example")
    assert first["Message-ID"] == second["Message-ID"]


def test_an_outage_loses_nothing_and_doubles_nothing(console: Console) -> None:
    console.server.is_down = True
    console.open(a_notice(Category.GATE_FAILED))
    for _ in range(3):
        console.drain()
        console.clock.advance(minutes=6)
    console.server.is_down = False
    assert console.drain() == Drained(sent=2)
    assert len(console.server.mails) == 2


@pytest.mark.parametrize("pause", [5, 0.05], ids=["silent", "dripping"])
def test_a_slow_server_takes_no_more_than_its_time(
    tmp_path: Path, clock: Clock, server: MailServer, pause: float
) -> None:
    console = Console(tmp_path, clock, server, timeout_seconds=0.3)
    server.pause = pause
    console.open(a_notice(Category.DATA_VALIDATION))
    begun = time.monotonic()
    assert console.drain().failed == 1
    assert time.monotonic() - begun < 4


def test_a_wrong_password_is_reported_without_it(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    console.open(a_notice(Category.UNEXPECTED))
    done = console.drain(ALERTS_SMTP_USER=USER, ALERTS_SMTP_PASSWORD="wr0ng-and-secret")
    assert "535: wrong password ***" in done.errors[0]
    assert "wr0ng" not in f"{done}{caplog.text}{console.outbox.backlog()}"


@pytest.mark.parametrize(
    "settings",
    [
        {"sender": "a@b\r\nBcc: c@d"},
        {"sender": "Alerts <a@b.example>"},
        {"sender": "a@b.example, c@d.example"},
        {"channels": {"data": ["a@b"], "model": [], "oncall": ["a@b"]}},
        {"channels": {"data": ["a@b"], "model": ["a b@c"], "oncall": ["a@b"]}},
        {"security": "none"},
        {"host": "mail.example\r\nQUIT"},
        {"password": "x"},
    ],
)
def test_what_cannot_be_an_address_is_refused(settings: dict[str, Any]) -> None:
    values = {"host": "mail.example", "sender": USER, "channels": CHANNELS}
    with pytest.raises(ValidationError):
        EmailPolicy(**{**values, **settings})


def test_status_names_the_server_and_what_is_missing(console: Console) -> None:
    able = alerting(console.outbox, Notifier(console.policy, console.home, KEYS), console.policy)
    assert f"E-mail: from {USER} by 127.0.0.1" in able.summary()
    bare = alerting(console.outbox, Notifier(console.policy, console.home, {}), console.policy)
    assert "ALERTS_SMTP_USER and ALERTS_SMTP_PASSWORD are not set here: alerts go to" in bare.summary()
    open_relay = console.policy.model_copy(update={"email": console.policy.email.model_copy(update={"login": False})})
    assert EmailDestination().variables(open_relay) == ()
