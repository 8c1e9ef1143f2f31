"""The engine's limit follows the machine, and a limit that was too small is reported with the value to set."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.data.memory import (
    default_memory_limit,
    larger_memory_limit,
    limit_bytes,
    memory_remedy,
)

GB = 10**9


@pytest.mark.parametrize(
    ("usable", "limit"),
    [(GB // 2, "250MB"), (GB, "500MB"), (2 * GB, "1000MB"), (4 * GB, "1000MB"), (24 * GB, "6000MB")],
)
def test_by_default_it_is_a_quarter_but_not_less_than_before_unless_there_is_no_more(usable: int, limit: str) -> None:
    assert default_memory_limit(usable) == limit


@pytest.mark.parametrize(
    ("limit", "bytes_"),
    [("1GB", GB), ("1.5 GB", 1_500_000_000), ("64MB", 64_000_000), ("1GiB", 2**30), ("2MiB", 2**21)],
)
def test_limits_are_read_as_settings_write_them(limit: str, bytes_: int) -> None:
    assert limit_bytes(limit) == bytes_


def test_what_is_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="MB, GB, MiB, GiB"):
        limit_bytes("1 TB")


@given(limit=st.integers(1, 200_000).map(lambda number: f"{number}MB"), usable=st.integers(10**8, 10**12))
def test_what_is_reported_is_more_than_before_and_never_all_there_is(limit: str, usable: int) -> None:
    larger = larger_memory_limit(limit, usable)
    remedy = memory_remedy(limit, usable)
    assert "engine.memory_limit" in remedy
    if larger is not None:
        assert limit_bytes(limit) < limit_bytes(larger) <= 0.8 * usable
        assert re.search(rf"engine\.memory_limit: {larger}\b", remedy)
