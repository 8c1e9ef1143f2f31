"""Which days `init` looks at, and which places go together."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.lake import DayFiles
from fraud_retraining.commands.implementation.first_sources import (
    LOOKED_AT_DAYS,
    Sources,
    absolute,
    last_days,
    require_places,
    spread,
)
from fraud_retraining.domain.values.errors import SettingsError

START = date(2026, 1, 1)


@given(st.sets(st.integers(0, 400), min_size=1), st.integers(2, 20))
def test_days_are_spread_from_the_first_to_the_last_and_none_comes_twice(offsets: set[int], count: int) -> None:
    days = [START + timedelta(days=offset) for offset in sorted(offsets)]
    found = spread(days, count)
    assert len(found) == min(count, len(days))
    assert found == sorted(set(found)) and set(found) <= set(days)
    assert (found[0], found[-1]) == (days[0], days[-1])


def test_the_last_days_count_those_without_rows() -> None:
    days = {day: DayFiles(day, (), "") for day in (START, START + timedelta(days=100))}
    found = last_days(days)
    assert (found.end, len(list(found))) == (START + timedelta(days=100), LOOKED_AT_DAYS)


@pytest.mark.parametrize(
    "sources",
    [
        Sources(lake="lake"),
        Sources(transactions=Path("a.csv")),
        Sources(lake="lake", transactions=Path("a.csv"), labels="feed"),
        Sources(lake="s3://b/lake", labels="s3://b/feed"),
        Sources(lake="athena://p.t", athena_output="s3://b/q"),
        Sources(lake="athena://p.t", labels="feed", athena_output="s3://b/q", athena_workgroup="fraud"),
        Sources(lake="athena://p.t", labels="athena://p.labels", athena_output="s3://b/q"),
    ],
)
def test_places_that_go_together(sources: Sources) -> None:
    require_places(sources)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (Sources(), "neither a lake nor a file"),
        (Sources(labels="feed"), "neither a lake nor a file"),
        (Sources(lake="lake", athena_workgroup="fraud"), "the lake is none"),
        (Sources(transactions=Path("a.csv"), labels="athena://p.labels"), "the lake is none"),
        (Sources(lake="athena://p.t"), "no place is named"),
        (Sources(lake="athena://.t", athena_output="s3://b/q"), "names no table"),
        (Sources(lake="athena://p.", athena_output="s3://b/q"), "names no table"),
    ],
)
def test_places_that_do_not(sources: Sources, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        require_places(sources)


def test_a_folder_is_named_as_a_whole() -> None:
    assert absolute("lake") == str(Path.cwd() / "lake")
    assert absolute("s3://b/lake") == "s3://b/lake"
