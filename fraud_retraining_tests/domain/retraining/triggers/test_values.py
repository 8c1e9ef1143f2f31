"""The latest day that is ready counts only if it is newer than the last retrain."""

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
