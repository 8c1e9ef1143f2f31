"""The picture of a replay: any names, days without a value, one day alone."""

import pytest

from fraud_retraining.adapters.pages.replay_pictures import HEIGHT, WIDTH, replay_png
from fraud_retraining_tests.support.replay_results import replay_of, result_of


@pytest.mark.parametrize("name", ["every 2 days", "$\\\\frac{1}{0}$", "_hidden", "x" * 300, "\u202egnp"])
@pytest.mark.parametrize("days", [[0.5], [0.5, None, 0.7], [None, None]])
def test_a_replay_is_drawn_whatever_its_policies_are_called(name: str, days: list[float | None]) -> None:
    found = replay_of(result_of("present settings", days), result_of("never retrain", days), result_of(name, days))
    png = replay_png(found)
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (WIDTH, HEIGHT)
