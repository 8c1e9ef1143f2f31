"""An error becomes a category by its type and codes first, by its words last."""

import errno
import http.client
import sqlite3
import urllib.error
from datetime import date
from typing import Any

import pytest

from fraud_retraining.domain.alerts.classification import WORKER_GONE, causes, classify, classify_message, judge
from fraud_retraining.domain.alerts.failures import About, Category
from fraud_retraining.domain.values.errors import (
    BudgetExceeded,
    Busy,
    Conflict,
    DataInvalid,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    RetrainingError,
    SettingsError,
)

C = Category
D1, D2 = date(2026, 11, 1), date(2026, 11, 3)
AS_OF = date(2026, 11, 20)


def raised(error: BaseException, behind: BaseException) -> BaseException:
    """The error as it is when it was raised from another."""
    error.__cause__ = behind
    return error


def carrying(
    name: str = "Error", bases: tuple[type[BaseException], ...] = (Exception,), **values: Any
) -> BaseException:
    """An error of a library's, as its attributes show it."""
    kind = type(name, bases, {"__module__": "library"})
    error = kind(values.pop("words", "no words"))
    for key, value in values.items():
        setattr(error, key, value)
    return error


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


def of_s3(code: str, status: int) -> BaseException:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return carrying("ClientError", response=answer)


def of_sqlite(code: int) -> BaseException:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


def of_urllib(status: int) -> BaseException:
    return urllib.error.HTTPError("http://x", status, "words", http.client.HTTPMessage(), None)


CASES: dict[str, tuple[BaseException, Category, bool]] = {
    "bad data": (DataInvalid("x"), C.DATA_VALIDATION, False),
    "bad data that says it timed out": (DataInvalid("timed out"), C.DATA_VALIDATION, False),
    "bad data found while something did not answer": (
        raised(DataInvalid("x"), ConnectionResetError()),
        C.DATA_VALIDATION,
        False,
    ),
    "a gate": (GateFailed("x"), C.GATE_FAILED, False),
    "budget": (BudgetExceeded("x"), C.BUDGET_EXCEEDED, False),
    "conflict": (Conflict("x"), C.CONFLICT, False),
    "settings": (SettingsError("x"), C.SETTINGS, False),
    "other bytes": (IntegrityError("x"), C.INTEGRITY, False),
    "a dependency": (DependencyUnreachable("x"), C.DEPENDENCY, True),
    "a kind of dependency": (type("S3Down", (DependencyUnreachable,), {})("x"), C.DEPENDENCY, True),
    "a kind of conflict": (type("LeaseLost", (Conflict,), {})("x"), C.CONFLICT, False),
    "the family itself": (RetrainingError("x"), C.UNEXPECTED, False),
    "another one under way": (Busy("x"), C.CONFLICT, False),
    "a wrapped one": (raised(RuntimeError("step failed"), GateFailed("x")), C.GATE_FAILED, False),
    "no right to": (raised(DependencyUnreachable("x"), of_s3("AccessDenied", 403)), C.DEPENDENCY, False),
    "slow down": (raised(DependencyUnreachable("x"), of_s3("SlowDown", 503)), C.DEPENDENCY, True),
    "disk full behind it": (
        raised(DependencyUnreachable("x"), OSError(errno.ENOSPC, "full")),
        C.OUT_OF_RESOURCES,
        False,
    ),
    "engine out of memory": (
        raised(DependencyUnreachable("x"), carrying("OutOfMemoryException")),
        C.OUT_OF_RESOURCES,
        False,
    ),
    "HTTP 429": (carrying(status_code=429), C.DEPENDENCY, True),
    "HTTP 500 in a response": (carrying(response=Response(500)), C.DEPENDENCY, True),
    "HTTP 503 of urllib": (of_urllib(503), C.DEPENDENCY, True),
    "HTTP 404 of urllib": (of_urllib(404), C.DEPENDENCY, False),
    "HTTP 401": (carrying(status=401), C.DEPENDENCY, False),
    "HTTP 408": (carrying(status=408), C.DEPENDENCY, True),
    "a status that is none": (carrying(status="failed"), C.UNEXPECTED, False),
    "a status of success": (carrying(status_code=200), C.UNEXPECTED, False),
    "throttled with 400": (of_s3("RequestTimeout", 400), C.DEPENDENCY, True),
    "serialization failure": (carrying(sqlstate="40001"), C.DEPENDENCY, True),
    "deadlock behind SQLAlchemy": (carrying("OperationalError", orig=carrying(sqlstate="40P01")), C.DEPENDENCY, True),
    "server shuts down": (carrying(sqlstate="57P01"), C.DEPENDENCY, True),
    "wrong password": (carrying(sqlstate="28P01"), C.DEPENDENCY, False),
    "database's disk full": (carrying(sqlstate="53100"), C.OUT_OF_RESOURCES, False),
    "unique violation": (carrying(sqlstate="23505"), C.UNEXPECTED, False),
    "SQLite busy": (of_sqlite(sqlite3.SQLITE_BUSY), C.DEPENDENCY, True),
    "SQLite locked, extended": (of_sqlite(sqlite3.SQLITE_LOCKED_SHAREDCACHE), C.DEPENDENCY, True),
    "SQLite full": (of_sqlite(sqlite3.SQLITE_FULL), C.OUT_OF_RESOURCES, False),
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "x"), C.DEPENDENCY, True),
    "reset": (OSError(errno.ECONNRESET, "x"), C.DEPENDENCY, True),
    "unreachable host": (OSError(errno.EHOSTUNREACH, "x"), C.DEPENDENCY, True),
    "host behind urllib": (urllib.error.URLError(ConnectionRefusedError("x")), C.DEPENDENCY, True),
    "timeout": (TimeoutError("x"), C.DEPENDENCY, True),
    "permission": (PermissionError(errno.EACCES, "x"), C.DEPENDENCY, False),
    "read only": (OSError(errno.EROFS, "x"), C.DEPENDENCY, False),
    "disk full": (OSError(errno.ENOSPC, "x"), C.OUT_OF_RESOURCES, False),
    "too many files": (OSError(errno.EMFILE, "x"), C.OUT_OF_RESOURCES, False),
    "no such file": (FileNotFoundError(errno.ENOENT, "x"), C.UNEXPECTED, False),
    "memory": (MemoryError(), C.OUT_OF_RESOURCES, False),
    "requests' timeout": (carrying("ReadTimeout"), C.DEPENDENCY, True),
    "botocore's endpoint": (carrying("EndpointConnectionError"), C.DEPENDENCY, True),
    "words of a library": (carrying("ServerError", words="the request timed out"), C.DEPENDENCY, True),
    "words of Python": (ValueError("timed out"), C.UNEXPECTED, False),
    "a bug": (KeyError("amount"), C.UNEXPECTED, False),
    "a bug while something did not answer": (raised(TypeError("x"), ConnectionResetError()), C.UNEXPECTED, False),
    "an outage behind a complaint": (raised(ValueError("x"), ConnectionResetError()), C.DEPENDENCY, True),
    "interrupted": (KeyboardInterrupt(), C.INTERRUPTED, False),
    "interrupted by Dagster": (carrying("DagsterExecutionInterruptedError"), C.INTERRUPTED, False),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_has_a_category_and_passes_by_itself_or_not(case: str) -> None:
    error, category, recoverable = CASES[case]
    assert judge(error) == (category, recoverable)


def test_context_counts_as_a_cause_unless_it_was_suppressed() -> None:
    try:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("while handling")  # noqa: B904
    except ValueError as error:
        assert judge(error).recoverable
    try:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            raise ValueError("instead") from None
    except ValueError as error:
        assert not judge(error).recoverable


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert list(causes(one)) == [one, other]


def test_a_failure_tells_what_the_error_tells() -> None:
    error = raised(RuntimeError("x"), DataInvalid("days", culprits=["a", "b"], remedy="deliver", days=[D2, D1]))
    failure = classify(error, About(as_of=AS_OF))
    assert (failure.kind, failure.what, failure.culprits, failure.remedy) == (
        "DataInvalid",
        "days",
        ("a", "b"),
        "deliver",
    )
    assert failure.cause == "data_validation:days 2026-11-01 to 2026-11-03 (2)"
    assert classify(KeyError(), About()).what == "KeyError"


@pytest.mark.parametrize(
    ("kinds", "words", "category"),
    [
        (["DagsterExecutionStepExecutionError", "DataInvalid"], "no rows", C.DATA_VALIDATION),
        (["DagsterResourceFunctionError", "DependencyUnreachable", "RestException"], "x", C.DEPENDENCY),
        (["DagsterExecutionStepExecutionError", "ConnectTimeoutError"], "x", C.DEPENDENCY),
        (["DagsterExecutionInterruptedError"], "x", C.INTERRUPTED),
        (["DagsterExecutionStepExecutionError", "KeyError"], "timed out", C.UNEXPECTED),
        ([], "Exceeded maximum runtime of 14400 seconds.", C.BUDGET_EXCEEDED),
        ([], f"{WORKER_GONE}: process 7", C.WORKER_DIED),
        ([], "Detected run worker status UNKNOWN. Marking run as failed.", C.WORKER_DIED),
        ([], "Run dequeue failed to reach the user code server after 3 attempts, failing run", C.DEPENDENCY),
        (
            ["DagsterUserCodeUnreachableError", "_InactiveRpcError"],
            "User code server request timed out due to taking longer than 60 seconds to complete.",
            C.DEPENDENCY,
        ),
        (
            ["DagsterUserCodeUnreachableError"],
            "Could not reach user code server. gRPC Error code: UNAVAILABLE",
            C.DEPENDENCY,
        ),
        ([], "", C.UNEXPECTED),
    ],
)
def test_what_was_written_down_of_an_error_has_a_category_too(kinds: list[str], words: str, category: Category) -> None:
    assert classify_message(kinds, words, About()).category is category
