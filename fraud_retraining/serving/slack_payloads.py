"""The shape of Slack's interaction payloads that the app relies on.

Here: whether a body, whose signature was verified before, is an interaction with one of our messages. A body of another
shape is refused as a whole, before anything acts on a part of it. Not here: what an interaction does
(`slack_actions.py`).
"""

import json
from typing import Any, Literal
from urllib.parse import parse_qs

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator

from fraud_retraining.domain.release_messages.slack_request import (
    APPROVE,
    REASON_BLOCK,
    REASON_INPUT,
    REASON_VIEW,
    REJECT,
    DecisionButtons,
)

FIELDS = 5
NO_INTERACTION = "The body is no click on a button of a release."


def _decision_buttons(text: str) -> str:
    DecisionButtons.of(text)
    return text


class _User(BaseModel):
    id: str = Field(min_length=1, max_length=100)


class _Button(BaseModel):
    action_id: str = Field(pattern=f"^({APPROVE}|{REJECT})$")
    value: str

    _is_ours = field_validator("value")(_decision_buttons)


class _Pressed(BaseModel):
    type: Literal["block_actions"]
    user: _User
    trigger_id: str = Field(max_length=500)
    actions: list[_Button] = Field(min_length=1, max_length=1)


class _Typed(BaseModel):
    value: str | None = Field(None, max_length=3000)


class _Values(BaseModel):
    values: dict[str, dict[str, _Typed]]

    @field_validator("values")
    @classmethod
    def _has_the_reason(cls, values: dict[str, dict[str, _Typed]]) -> dict[str, dict[str, _Typed]]:
        if REASON_INPUT not in values.get(REASON_BLOCK, {}):
            raise ValueError("there is no reason")
        return values


class _View(BaseModel):
    callback_id: str = Field(pattern=f"^{REASON_VIEW}$")
    private_metadata: str
    state: _Values

    _is_ours = field_validator("private_metadata")(_decision_buttons)


class _Submitted(BaseModel):
    type: Literal["view_submission"]
    user: _User
    view: _View


_INTERACTIONS: TypeAdapter[Any] = TypeAdapter(_Pressed | _Submitted)


def is_release_interaction(body: bytes) -> bool:
    """Whether a signed body is a click on one of our buttons, or the reason typed after one."""
    try:
        # Bounded before it is read: the number of fields of a form is the sender's choice.
        (payload,) = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=FIELDS)["payload"]
        _INTERACTIONS.validate_python(json.loads(payload))
    except (KeyError, ValueError, RecursionError, ValidationError):
        return False
    return True
