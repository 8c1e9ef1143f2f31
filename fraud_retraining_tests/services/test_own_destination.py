"""A destination that this package does not bring needs one class: it composes, is sent to, and ends what it began."""

from pathlib import Path

import pytest

from fraud_retraining.adapters.alerts.destination import Destination, Receipt, SendingMeans, Undelivered
from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.alerts.records import Delivery
from fraud_retraining.adapters.alerts.registry import DESTINATIONS, FALLBACK
from fraud_retraining.domain.alerts.composer import Body
from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.alerts.notices import Action, AlertPolicy, Message, Notice, PagerDutyPolicy, Success
from fraud_retraining.domain.alerts.routing import COMPOSERS, opening_messages
from fraud_retraining.services.delivery import Drained, Notifier, alerting, drain
from fraud_retraining_tests.support.notices import AS_OF, a_notice
from fraud_retraining_tests.support.reviewers import Clock

pytest_plugins = ("fraud_retraining_tests.support.reviewer_fixtures",)

ALONE = AlertPolicy(slack=None)
KEYS = {"BOARD_KEY": "k"}


class Board(Destination):
    """A board on the wall of an office: what is pinned to it stays until it is taken off."""

    kind = "board"
    title = "Board"
    escalates = True

    def __init__(self) -> None:
        self.pinned: dict[str, str] = {}
        self.taken_off: list[str] = []
        self.refuses: Undelivered | None = None

    def is_on(self, policy: AlertPolicy) -> bool:
        return True

    def addresses(self, notice: Notice, policy: AlertPolicy) -> tuple[str, ...]:
        return (f"board:{notice.audience}",)

    def opening(self, notice: Notice, policy: AlertPolicy) -> Body:
        return {"title": notice.title}

    def reminding(self, notice: Notice, seen: int) -> Body | None:
        return {"title": f"{notice.title}, {seen} times"}

    def resolving(self, notice: Notice, why: str, seen: int) -> tuple[tuple[Action, Body], ...]:
        return ((Action.RESOLVE, {"why": why}),)

    def variables(self, policy: AlertPolicy) -> tuple[str, ...]:
        return ("BOARD_KEY",)

    def send(self, delivery: Delivery, means: SendingMeans) -> Receipt:
        assert means.secret("BOARD_KEY") == "k"
        if self.refuses is not None:
            raise self.refuses
        if delivery.action is Action.RESOLVE:
            self.taken_off.append(f"{self.pinned.pop(delivery.destination)}: {delivery.body['why']}")
        else:
            self.pinned[delivery.destination] = delivery.body["title"]
        return {"pinned": True}


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def outbox(tmp_path: Path, board: Board, clock: Clock) -> Outbox:
    return Outbox(f"sqlite:///{tmp_path}/ledger.db", clock=clock, composers=(*COMPOSERS, board))


def notifier(home: Path, board: Board, policy: AlertPolicy = ALONE, **environment: str) -> Notifier:
    return Notifier(policy, home, environment or KEYS, destinations=(*DESTINATIONS, board))


def opened(outbox: Outbox, notice: Notice, policy: AlertPolicy = ALONE) -> None:
    outbox.open(notice, opening_messages(notice, policy, outbox.composers))


def test_a_notice_is_delivered_to_it_and_resolved_there(tmp_path: Path, outbox: Outbox, board: Board) -> None:
    notice = a_notice(Category.GATE_FAILED)
    opened(outbox, notice)
    able = notifier(tmp_path, board)
    assert drain(outbox, able, ALONE) == Drained(sent=1)
    assert board.pinned == {"board:model": notice.title}
    outbox.resolve_after(Success(job="retrain", as_of=AS_OF))
    assert drain(outbox, able, ALONE) == Drained(sent=1)
    assert (board.pinned, board.taken_off) == ({}, [f"{notice.title}: retrain as of {AS_OF} passed"])
    assert not (tmp_path / "alerts.jsonl").exists()
    assert "board: on" in alerting(outbox, able, ALONE).summary()


def test_what_its_refusals_mean_is_obeyed(tmp_path: Path, outbox: Outbox, board: Board, clock: Clock) -> None:
    policy = AlertPolicy(slack=None, pagerduty=PagerDutyPolicy())
    opened(outbox, a_notice(Category.GATE_FAILED), policy)
    able = notifier(tmp_path, board, policy)
    board.refuses = Undelivered("come again")
    assert drain(outbox, able, policy).failed == 1
    clock.advance(minutes=16)
    assert drain(outbox, able, policy).escalated == 1, "what it does not take in time wakes somebody"
    board.refuses = Undelivered("never", hopeless=True)
    clock.advance(minutes=6)
    assert drain(outbox, able, policy).given_up == 1
    assert outbox.backlog().given_up == 1


def test_without_its_secret_its_messages_go_to_the_file(tmp_path: Path, outbox: Outbox, board: Board) -> None:
    opened(outbox, a_notice(Category.GATE_FAILED))
    assert drain(outbox, notifier(tmp_path, board, NOTHING=""), ALONE) == Drained(sent=1)
    assert board.pinned == {}
    assert '"board:model"' in (tmp_path / "alerts.jsonl").read_text()


def test_one_whose_name_begins_like_anothers_is_not_held_up_by_it(outbox: Outbox) -> None:
    names = ("board:x", "boarding:x", "board", "bo_rd")
    outbox.open(a_notice(), [Message(destination=name, action=Action.OPEN, body={}) for name in names])
    left = []
    while (delivery := outbox.claim({"board", "bo_rd"})) is not None:
        left.append(delivery.destination)
    assert left == ["boarding:x"]


def test_messages_of_a_destination_that_is_gone_go_to_the_file(tmp_path: Path, outbox: Outbox, board: Board) -> None:
    opened(outbox, a_notice(Category.GATE_FAILED))
    later = Outbox(f"sqlite:///{tmp_path}/ledger.db", clock=outbox._clock)
    later.resolve_after(Success(job="retrain", as_of=AS_OF))
    assert drain(later, Notifier(ALONE, tmp_path, KEYS), ALONE) == Drained(sent=2)
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == 2


def test_every_destination_that_composes_sends_as_well() -> None:
    assert [one.kind for one in (*DESTINATIONS, FALLBACK)] == [one.kind for one in COMPOSERS]
    assert all(isinstance(one, type(composer)) for one, composer in zip(DESTINATIONS, COMPOSERS, strict=False))
