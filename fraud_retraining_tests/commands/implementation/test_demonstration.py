"""The settings of the demo. The whole demo takes minutes: `make demo`."""

from pathlib import Path

import pytest

from fraud_retraining.commands.implementation.demonstration import demo_values
from fraud_retraining.settings import Settings


@pytest.mark.parametrize("transactions_per_day", [1, 1_000, 6_000, 50_000])
def test_a_window_of_the_demo_has_as_many_rows_as_it_asks_for(tmp_path: Path, transactions_per_day: int) -> None:
    settings = Settings(**demo_values(tmp_path, transactions_per_day))
    assert settings.validation.min_rows <= settings.window.days * transactions_per_day
    assert settings.validation.min_rows <= Settings().validation.min_rows
