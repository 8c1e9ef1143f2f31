"""The latest day that is ready counts only if it is newer than the last retrain; and why there is none."""

from datetime import UTC, date, datetime

import pytest

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, latest_ready

NOW = datetime(2026, 3, 5, tzinfo=UTC)
D1, D2, D3 = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)


@pytest.mark.parametrize(
    ("ready", "last", "latest"),
    [
        ((D1, D3, D2), None, D3),
        ((D1, D3), D2, D3),
        ((D1, D2), D2, f"no day after the last as-of day, {D2}, is ready"),
        ((), None, "no day is ready"),
    ],
)
def test_the_latest_newer_day_that_is_ready(ready: tuple[date, ...], last: date | None, latest: date | str) -> None:
    inputs = CommonInputs(now=NOW, ready=dict.fromkeys(ready, "digest"), last_as_of=last)
    assert latest_ready(inputs) == latest


@pytest.mark.parametrize(
    ("unready", "pending", "last", "why"),
    [
        (
            {D2: "labels of it have not arrived", D1: "x"},
            (),
            D1,
            f"no day after the last as-of day, {D1}, is ready: labels",
        ),
        ({D3: "labels of it have not arrived", D2: "to be ingested"}, (D2,), None, "no day is ready: to be ingested"),
        ({D1: "x"}, (D1,), D2, f"no day after the last as-of day, {D2}, is ready"),
    ],
    ids=["the newest", "what an ingest makes ready", "a day that was trained"],
)
def test_why_no_day_is_ready(unready: dict[date, str], pending: tuple[date, ...], last: date | None, why: str) -> None:
    inputs = CommonInputs(now=NOW, ready={}, unready=unready, pending=frozenset(pending), last_as_of=last)
    found = str(latest_ready(inputs))
    assert found.startswith(why)
    assert (": " in found) is (": " in why)
