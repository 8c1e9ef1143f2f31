"""The log of events: what one is found by, and adding one once. More of it: `test_ledger.py`."""

from datetime import date
from pathlib import Path

import pytest

from fraud_retraining.adapters.ledger.event_log import EventKeys, EventLog, clean_text
from fraud_retraining.domain.ledger.events import EventKind

AS_OF = date(2026, 11, 1)
KIND = EventKind.RETRAIN_FINISHED


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(f"sqlite:///{tmp_path}/ledger.db")


def test_an_event_is_found_by_each_of_its_keys(log: EventLog) -> None:
    keys = EventKeys(subject="run 1", as_of=AS_OF, version=3, fingerprint="f3")
    added = log.append(KIND, actor="pipeline", keys=keys)
    log.append(KIND, actor="pipeline")
    found = [log.last(subject="run 1"), log.last(as_of=AS_OF), log.last(version=3), log.last(fingerprint="f3")]
    assert found == [added] * 4
    assert log.last(KIND) != added, "without a key it is the newest one"


def test_an_event_is_added_once_for_a_subject(log: EventLog) -> None:
    first = log.append_once(KIND, keys=EventKeys(subject="run 1"), payload={"n": 1}, actor="pipeline")
    again = log.append_once(KIND, keys=EventKeys(subject="run 1"), payload={"n": 2}, actor="pipeline")
    other = log.append_once(KIND, keys=EventKeys(subject="run 2"), payload={"n": 3}, actor="pipeline")
    assert (first is None, again, other is None) == (False, None, False)
    assert [event.payload["n"] for event in log.events(KIND)] == [1, 3]


@pytest.mark.parametrize("append", ["append_once", "append_changed"])
def test_an_event_that_is_added_once_needs_a_subject(log: EventLog, append: str) -> None:
    log.append(KIND, actor="pipeline", payload={"n": 1})
    with pytest.raises(ValueError, match="needs a subject"):
        getattr(log, append)(KIND, keys=EventKeys(version=3), payload={"n": 1}, actor="pipeline")


def test_the_newest_events_come_first_and_no_more_than_wanted(log: EventLog) -> None:
    for number in range(4):
        log.append(KIND, actor="pipeline", payload={"n": number})
    assert [event.payload["n"] for event in log.newest(KIND, limit=2)] == [3, 2]


def test_a_text_is_one_that_every_database_holds() -> None:
    assert clean_text("a\x00b\ud800") == "ab?"


def test_a_text_that_was_cleaned_stays_as_it_is() -> None:
    text = clean_text("postgresql://me:hunter2@host/d")
    assert "hunter2" not in text
    assert clean_text(text) == text
