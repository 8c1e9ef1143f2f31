"""Failures of the storage under the home folder are told as such, whatever wraps them."""

import errno
import sqlite3

import pytest

from fraud_retraining.orchestration.instance import storage_failure


def raised(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("cause", [OSError(errno.ENOSPC, "full"), sqlite3.OperationalError("disk I/O error")])
def test_a_full_or_broken_disk_is_found_behind_other_errors(cause: BaseException) -> None:
    told = storage_failure(raised(RuntimeError("a step failed"), raised(ValueError("bad"), cause)))
    assert told is not None
    assert str(cause) in str(told)


def test_any_other_failure_is_left_alone_even_where_errors_cause_each_other() -> None:
    inner, outer = KeyError("a bug"), RuntimeError("a step failed")
    raised(inner, raised(outer, inner))
    assert storage_failure(outer) is None
