"""Classification of errors: which category an error has, and whether the same again may succeed.

Here: rules by type and code first, by words last. Libraries are not imported for it: their errors are recognised by the
codes that they carry (HTTP status, errno, SQLSTATE, codes of SQLite and S3) and by the names of their types. Not here:
what follows from a category (`domain/alerts/failures.py`).
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fraud_retraining.domain.alerts.failures import About, Category, ErrorText, Failure, Judgement, failure_of
from fraud_retraining.domain.alerts.pod_endings import OOM_KILLED
from fraud_retraining.domain.values.errors import (
    BudgetExceeded,
    Busy,
    ChampionLost,
    Conflict,
    DataInvalid,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    NotPermitted,
    RecordAltered,
    RetrainingError,
    SettingsError,
)

_TRANSIENT = Judgement(Category.DEPENDENCY, recoverable=True)
_PERMANENT = Judgement(Category.DEPENDENCY)
_EXHAUSTED = Judgement(Category.OUT_OF_RESOURCES)
_UNEXPECTED = Judgement(Category.UNEXPECTED)
_INTERRUPTED = Judgement(Category.INTERRUPTED)

FAMILY: Mapping[type[RetrainingError], Category] = MappingProxyType(
    {
        IntegrityError: Category.INTEGRITY,
        RecordAltered: Category.INTEGRITY,
        ChampionLost: Category.INTEGRITY,
        DataInvalid: Category.DATA_VALIDATION,
        GateFailed: Category.GATE_FAILED,
        BudgetExceeded: Category.BUDGET_EXCEEDED,
        Conflict: Category.CONFLICT,
        SettingsError: Category.SETTINGS,
    }
)
"""Errors whose type decides; `DependencyUnreachable` is judged by its cause."""

BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
)

_TRANSIENT_ERRNO = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_EXHAUSTED_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EFBIG})
_PERMANENT_ERRNO = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_TRANSIENT_STATUS = frozenset({408, 425, 429})
# 08: connection; 40: serialization and deadlock; 53300: too many clients; 55P03: lock; 57: shut down or starting
_TRANSIENT_STATES = ("08", "40001", "40P01", "53300", "55006", "55P03", "57014", "57P01", "57P02", "57P03")
_EXHAUSTED_STATES = ("53100", "53200", "53400")
# 28: who are you; 3D: no such database; 42501: no right to; 25006: read only
_PERMANENT_STATES = ("28", "3D", "42501", "25006")
_SQLITE = {5: _TRANSIENT, 6: _TRANSIENT, 7: _EXHAUSTED, 13: _EXHAUSTED}
_S3_CODES = frozenset(
    {
        "InternalError",
        "OperationAborted",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestTimeTooSkewed",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_TRANSIENT_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "FSTimeoutError",
        "HTTPClientError",
        "IncompleteRead",
        "InterfaceError",
        "MaxRetryError",
        "NewConnectionError",
        "ProtocolError",
        "ReadTimeout",
        "ReadTimeoutError",
        "Timeout",
        "TimeoutError",
        "TransportError",
    }
)
_EXHAUSTED_NAMES = frozenset({"MemoryError", "OutOfMemoryError", "OutOfMemoryException"})
_INTERRUPT_NAMES = frozenset({"DagsterExecutionInterruptedError", "KeyboardInterrupt"})
_TRANSIENT_WORDS = (
    "connection refused",
    "connection reset",
    "database is locked",
    "deadlock detected",
    "service unavailable",
    "temporarily unavailable",
    "timed out",
    "too many connections",
    "too many requests",
)
WORKER_GONE = "the process that worked on this run is gone"
"""Message of a run that was failed because its process was found dead."""

_DAGSTER_WORDS: Mapping[str, Category] = MappingProxyType(
    {
        WORKER_GONE: Category.WORKER_DIED,
        "Run execution process for": Category.WORKER_DIED,
        "seconds to start": Category.WORKER_DIED,
        # Before the words that every such message has.
        OOM_KILLED: Category.OUT_OF_RESOURCES,
        "run worker status": Category.WORKER_DIED,
        "failed to reach the user code server": Category.DEPENDENCY,
        "User code server request timed out": Category.DEPENDENCY,
        "Could not reach user code server": Category.DEPENDENCY,
        "maximum runtime": Category.BUDGET_EXCEEDED,
        "forcibly marked as failed": Category.BUDGET_EXCEEDED,
    }
)
"""Words of Dagster's monitoring about runs that it failed, with their category."""


def classify(error: BaseException, about: About) -> Failure:
    """Return the failure for an error."""
    known = family_error(error)
    text = ErrorText(
        what=known.what if known else str(error).strip() or type(error).__name__,
        kind=type(known or error).__name__,
        culprits=known.culprits if known else (),
        remedy=known.remedy if known else "",
    )
    return failure_of(
        judge(error), about if known is None or not known.days else about.model_copy(update={"days": known.days}), text
    )


def classify_message(kinds: Sequence[str], words: str, about: About) -> Failure:
    """Return the failure for a stored error: the names of its types, outermost first, and its words."""
    kind = next((kind for kind in kinds if not kind.startswith("Dagster")), "")
    return failure_of(Judgement(_judge_text(kinds, words).category), about, ErrorText(what=words, kind=kind))


def family_error(error: BaseException) -> RetrainingError | None:
    """Return the outermost `RetrainingError` in a chain of causes, if there is one."""
    return next((cause for cause in causes(error) if isinstance(cause, RetrainingError)), None)


def is_interrupt(error: BaseException) -> bool:
    """Whether a person or the system ended it: Ctrl-C, or a termination that Dagster caught."""
    return type(error).__name__ in _INTERRUPT_NAMES


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then the errors that it was raised from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = _behind(error)


def _behind(error: BaseException) -> BaseException | None:
    # SQLAlchemy keeps the driver's error in `orig`, urllib the socket's in `reason`; neither is a cause.
    for name in ("orig", "reason"):
        hidden = getattr(error, name, None)
        if isinstance(hidden, BaseException):
            return hidden
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def judge(error: BaseException) -> Judgement:
    """Return the category of an error, and whether the same again may succeed."""
    known = family_error(error)
    if known is None:
        return _unexpected(error)
    category = next((FAMILY[kind] for kind in type(known).__mro__ if kind in FAMILY), None)
    if category is not None:
        return Judgement(category)
    return _behind_family(known) if isinstance(known, DependencyUnreachable) else _UNEXPECTED


def _behind_family(error: DependencyUnreachable) -> Judgement:
    """A dependency that did not answer is temporary, unless the code of its cause says otherwise."""
    found = _first(error, _by_code) or _TRANSIENT
    return found if found.category in (Category.DEPENDENCY, Category.OUT_OF_RESOURCES) else _TRANSIENT


def _unexpected(error: BaseException) -> Judgement:
    if isinstance(error, BUGS):
        return _UNEXPECTED
    return _first(error, _by_code) or _first(error, _by_words) or _UNEXPECTED


def _first(error: BaseException, rule: Callable[[BaseException], Judgement | None]) -> Judgement | None:
    return next((found for cause in causes(error) if (found := rule(cause)) is not None), None)


def _by_code(error: BaseException) -> Judgement | None:
    for rule in (_by_s3_code, _by_status, _by_sqlstate, _by_sqlite, _by_errno, _by_type):
        if (found := rule(error)) is not None:
            return found
    return None


def _by_status(error: BaseException) -> Judgement | None:
    status = _status(error)
    if status is None or status < 400:
        return None
    return _TRANSIENT if status >= 500 or status in _TRANSIENT_STATUS else _PERMANENT


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    found = [getattr(holder, name, None) for holder in (error, response) for name in ("status_code", "status", "code")]
    if isinstance(response, Mapping):
        found.append(_entry(response, "ResponseMetadata", "HTTPStatusCode"))
    # `type` and not `isinstance`: True is an int, and a status may be a text.
    return next((value for value in found if type(value) is int and 100 <= value < 600), None)


def _by_s3_code(error: BaseException) -> Judgement | None:
    response = getattr(error, "response", None)
    code = _entry(response, "Error", "Code") if isinstance(response, Mapping) else None
    return _TRANSIENT if code in _S3_CODES else None


def _entry(response: Mapping[str, Any], section: str, name: str) -> Any:
    found = response.get(section)
    return found.get(name) if isinstance(found, Mapping) else None


def _by_sqlstate(error: BaseException) -> Judgement | None:
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        return None
    if state.startswith(_TRANSIENT_STATES):
        return _TRANSIENT
    if state.startswith(_EXHAUSTED_STATES):
        return _EXHAUSTED
    return _PERMANENT if state.startswith(_PERMANENT_STATES) else None


def _by_sqlite(error: BaseException) -> Judgement | None:
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code; extended codes say more in the upper ones.
    return _SQLITE.get(code & 0xFF) if isinstance(code, int) else None


def _by_errno(error: BaseException) -> Judgement | None:
    number = error.errno if isinstance(error, OSError) else None
    if number in _EXHAUSTED_ERRNO:
        return _EXHAUSTED
    if number in _PERMANENT_ERRNO:
        return _PERMANENT
    return _TRANSIENT if number in _TRANSIENT_ERRNO else None


def _by_type(error: BaseException) -> Judgement | None:
    return _by_names({kind.__name__ for kind in type(error).__mro__})


def _by_names(names: set[str]) -> Judgement | None:
    if names & _INTERRUPT_NAMES:
        return _INTERRUPTED
    if names & _EXHAUSTED_NAMES:
        return _EXHAUSTED
    return _TRANSIENT if names & _TRANSIENT_NAMES else None


def _by_words(error: BaseException) -> Judgement | None:
    """Words count only in errors of libraries and of the operating system, never in Python's own."""
    # A KeyError whose key reads "timed out" is a bug, and no outage.
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return None
    text = str(error).lower()
    if "bad_alloc" in text:
        return _EXHAUSTED
    return _TRANSIENT if any(words in text for words in _TRANSIENT_WORDS) else None


def _judge_text(kinds: Sequence[str], words: str) -> Judgement:
    family = {kind.__name__: category for kind, category in FAMILY.items()}
    family |= {DependencyUnreachable.__name__: Category.DEPENDENCY, Busy.__name__: Category.CONFLICT}
    family |= {NotPermitted.__name__: Category.SETTINGS}
    # Of stored errors only names are left: the family's own names decide before any words do.
    for kind in kinds:
        if kind in family:
            return Judgement(family[kind])
    for said, category in _DAGSTER_WORDS.items():
        if said in words:
            return Judgement(category)
    return _by_names(set(kinds)) or _UNEXPECTED
