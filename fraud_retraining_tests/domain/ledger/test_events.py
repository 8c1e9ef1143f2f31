"""Payloads have one plain form, hold no secret, and are read as they were written."""

import json
from datetime import UTC, date, datetime
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from fraud_retraining.domain.ledger.events import Event, EventKind, plain
from fraud_retraining.domain.ledger.hash_chain import NO_HASH, Row, canonical_json, chained, row_hash


class Settings(BaseModel):
    uri: str
    webhook: SecretStr | None = None


def test_values_of_the_domain_have_one_plain_form():
    value = {
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
        "kind": EventKind.DAY_CHANGED,
        "metrics": {"average_precision": np.float64(0.5), "empty": float("nan"), "n": np.int64(3)},
        "days": {date(2026, 1, 2)},
        "path": PurePosixPath("a/b"),
        "vector": np.array([1.5, np.inf]),
        "tuple": (1, None, True),
    }
    assert plain(value) == {
        "day": "2026-01-02",
        "at": "2026-01-02T03:00:00+00:00",
        "kind": "day_changed",
        "metrics": {"average_precision": 0.5, "empty": "nan", "n": 3},
        "days": ["2026-01-02"],
        "path": "a/b",
        "vector": [1.5, "inf"],
        "tuple": [1, None, True],
    }


def test_secrets_never_reach_a_payload():
    settings = Settings(uri="postgresql://u:hunter2@h/d", webhook=SecretStr("hunter2"))
    payload = plain({"settings": settings, "api_key": "hunter2", "nested": [{"password": "hunter2"}], "token": None})
    assert "hunter2" not in canonical_json(payload)
    assert payload["settings"]["uri"] == "postgresql://***@h/d"
    assert payload["token"] is None


def test_what_has_no_canonical_text_is_refused():
    with pytest.raises(TypeError, match="bytes has no place in a record"):
        plain({"blob": b"123"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_a_payload_survives_being_written_and_read(value: object):
    once = plain({"value": value})
    assert plain(json.loads(canonical_json(once))) == once


def test_an_event_holds_what_its_row_holds():
    row = chained(
        Row(
            seq=1,
            at="2026-11-22T13:00:01.000Z",
            model="fraud_detector",
            kind=EventKind.MODEL_TRAINED,
            actor="pipeline",
            channel="dagster",
            subject=None,
            as_of="2026-11-20",
            version=1,
            fingerprint="f1",
            payload=canonical_json({"n": 1}),
            txn="t1",
            prev_hash=NO_HASH,
            hash="",
        )
    )
    event = Event.of(row)
    assert event.at == datetime(2026, 11, 22, 13, 0, 1, tzinfo=UTC)
    assert (event.as_of, event.version, event.payload) == (date(2026, 11, 20), 1, {"n": 1})
    assert event.hash == row_hash(row)
