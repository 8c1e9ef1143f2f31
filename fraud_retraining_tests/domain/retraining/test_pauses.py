"""A pause stands until somebody resumes, and is told as it began."""

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.pauses import Automation, paused
from fraud_retraining_tests.support.recorded import Record

PAUSED, RESUMED = EventKind.AUTOMATION_PAUSED, EventKind.AUTOMATION_RESUMED
PROMOTION, RETRAINING = Automation.PROMOTION, Automation.RETRAINING


def record(*happenings: tuple[EventKind, Automation, str]) -> Record:
    kept = Record()
    for kind, subject, reason in happenings:
        kept.days(1).add(kind, subject=subject, reason=reason)
    return kept


@pytest.mark.parametrize(
    ("happenings", "reason"),
    [
        ([], None),
        ([(PAUSED, PROMOTION, "one")], "one"),
        ([(PAUSED, PROMOTION, "one"), (RESUMED, PROMOTION, "")], None),
        ([(PAUSED, PROMOTION, "one"), (PAUSED, PROMOTION, "two")], "one"),
        ([(PAUSED, PROMOTION, "one"), (RESUMED, PROMOTION, ""), (PAUSED, PROMOTION, "two")], "two"),
        ([(PAUSED, RETRAINING, "one")], None),
        ([(PAUSED, PROMOTION, "one"), (RESUMED, RETRAINING, "")], "one"),
        ([(RESUMED, PROMOTION, "")], None),
        ([(EventKind.MODEL_TRAINED, PROMOTION, "one")], None),
    ],
)
def test_the_pause_that_stands(happenings: list[tuple[EventKind, Automation, str]], reason: str | None):
    kept = record(*happenings)
    for events in (kept.events, list(reversed(kept.events))):
        found = paused(events, PROMOTION)
        assert (found.reason if found else None) == reason


def test_a_pause_tells_since_when_by_whom_and_why():
    found = paused(record((PAUSED, PROMOTION, "rolled back to version 3")).events, PROMOTION)
    assert found is not None
    assert found.summary == "paused since 2026-09-02 08:00 UTC by alice: rolled back to version 3"
