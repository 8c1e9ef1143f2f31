"""Which bodies are interactions with our messages. Their signature was verified before."""

import copy
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from fraud_retraining.domain.release_messages.slack_request import (
    APPROVE,
    REASON_BLOCK,
    REASON_INPUT,
    REASON_VIEW,
)
from fraud_retraining.serving.slack_payloads import FIELDS, is_release_interaction

VALUE = f"3:{'d' * 64}"
CLICK: dict[str, Any] = {
    "type": "block_actions",
    "user": {"id": "U1"},
    "trigger_id": "1.2",
    "actions": [{"action_id": APPROVE, "value": VALUE}],
}
REASON: dict[str, Any] = {
    "type": "view_submission",
    "user": {"id": "U1"},
    "view": {
        "callback_id": REASON_VIEW,
        "private_metadata": VALUE,
        "state": {"values": {REASON_BLOCK: {REASON_INPUT: {"value": "too low"}}}},
    },
}


def body(payload: Any, **more: str) -> bytes:
    return urlencode({"payload": json.dumps(payload), **more}).encode()


def with_change(payload: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(payload)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("payload", [CLICK, REASON], ids=["click", "reason"])
def test_a_click_and_the_reason_after_it_are_interactions(payload: dict[str, Any]) -> None:
    assert is_release_interaction(body(payload))
    assert is_release_interaction(body({**payload, "team": {"id": "T1"}})), "Slack sends more than is read"


@pytest.mark.parametrize(
    ("payload", "path", "value"),
    [
        (CLICK, ("type",), "shortcut"),
        (CLICK, ("user", "id"), ""),
        (CLICK, ("actions",), []),
        (CLICK, ("actions",), CLICK["actions"] * 2),
        (CLICK, ("actions", 0, "action_id"), "another app's button"),
        (CLICK, ("actions", 0, "value"), "no release"),
        (REASON, ("view", "callback_id"), "another dialog"),
        (REASON, ("view", "private_metadata"), "no release"),
        (REASON, ("view", "state", "values"), {}),
    ],
)
def test_a_payload_of_another_shape_is_none(payload: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    assert not is_release_interaction(body(with_change(payload, path, value)))


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xff\xfe",
        b"payload=",
        b"payload=[]",
        b"payload=" + b"[" * 100_000,
        body(CLICK, **{f"field{n}": "x" for n in range(FIELDS)}),
    ],
    ids=["empty", "no UTF-8", "no JSON", "no object", "nested without end", "too many fields"],
)
def test_junk_is_none(junk: bytes) -> None:
    assert not is_release_interaction(junk)
