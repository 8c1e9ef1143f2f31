"""What destinations have in common: secrets that are missing, waits, and an end to what drips."""

import socket
import time
from datetime import timedelta

import pytest

from fraud_retraining.adapters.alerts.destination import (
    Undelivered,
    ended_after,
    hang_up,
    lacking,
    retry_after,
    secret_problems,
)
from fraud_retraining.adapters.alerts.pagerduty import PAGERDUTY_VARIABLE, PagerDutyDestination
from fraud_retraining.domain.alerts.notices import AlertPolicy

PAGING = AlertPolicy.model_validate({"pagerduty": {}})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "7"}, 7),
        ({"Retry-After": "999999999"}, 3600),
        ({"Retry-After": "9" * 400}, 30),
        ({"Retry-After": "-7"}, 30),
        ({"Retry-After": "\N{ARABIC-INDIC DIGIT SEVEN}"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({}, 30),
    ],
)
def test_a_wait_is_what_the_server_requests_within_an_hour(headers: dict[str, str], seconds: int) -> None:
    assert retry_after(headers) == timedelta(seconds=seconds)


def test_an_error_holds_no_secret() -> None:
    assert "hunter2" not in str(Undelivered("cannot reach https://u:hunter2@host/"))


def test_a_blank_secret_is_a_missing_one() -> None:
    destination = PagerDutyDestination()
    assert lacking(destination, PAGING, {PAGERDUTY_VARIABLE: " "}) == [PAGERDUTY_VARIABLE]
    assert lacking(destination, PAGING, {PAGERDUTY_VARIABLE: "key"}) == []


def test_a_missing_secret_is_a_problem_only_where_the_destination_is_on() -> None:
    destination = PagerDutyDestination()
    (problem,) = secret_problems(destination, PAGING, {})
    assert problem == f"alerts.pagerduty is on, but the environment has no {PAGERDUTY_VARIABLE}"
    assert list(secret_problems(destination, AlertPolicy(), {})) == []


def test_what_ends_in_time_is_left_alone() -> None:
    ends: list[float] = []
    with ended_after(30, lambda: ends.append(time.monotonic())):
        pass
    assert ends == []


def test_a_read_that_never_ends_is_ended() -> None:
    waiting, other = socket.socketpair()
    with (
        other,
        waiting,
        pytest.raises(TimeoutError, match=r"longer than 0\.1 s"),
        ended_after(0.1, lambda: hang_up(waiting)),
    ):
        assert waiting.recv(1) == b"", "the connection was closed under it"


def test_hanging_up_what_was_never_opened_or_is_closed_does_nothing() -> None:
    hang_up(None)
    one, other = socket.socketpair()
    one.close()
    other.close()
    hang_up(one)
