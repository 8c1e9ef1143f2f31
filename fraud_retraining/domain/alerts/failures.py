"""Failures as values: category, severity, audience, and a cause that is the same for the same failure tried again.

Here: what follows from a category. Not here: the errors themselves (`domain/values/errors.py`), the category of an
error (`domain/alerts/classification.py`), carrying out a retry (`orchestration/runs/step_retries.py`), and messages
(`domain/alerts/notices.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from pydantic import Field

from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.errors import Busy


class RetryPolicy(Policy):
    """Number and pauses of attempts of a step that failed for a temporary reason."""

    attempts: int = Field(3, ge=1, le=10, description="Attempts of a step, the first included.")
    delay_seconds: float = Field(
        10, ge=0, le=600, description="Base of the pauses: 1, 3, 7, ... times it, give or take once."
    )


class Category(StrEnum):
    """Kinds of failure. Each has a section of the runbook."""

    DATA_VALIDATION = "data_validation"
    GATE_FAILED = "gate_failed"
    BUDGET_EXCEEDED = "budget_exceeded"
    DEPENDENCY = "dependency"
    OUT_OF_RESOURCES = "out_of_resources"
    INTEGRITY = "integrity"
    CONFLICT = "conflict"
    SETTINGS = "settings"
    INTERRUPTED = "interrupted"
    WORKER_DIED = "worker_died"
    UNEXPECTED = "unexpected"


class Severity(StrEnum):
    """Severity, from a message that can wait to one that pages a person."""

    INFO = "info"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in that order, the least severe first."""
        return list(Severity).index(self)


class Audience(StrEnum):
    """Group of people who have to act."""

    DATA = "data"
    MODEL = "model"
    ONCALL = "oncall"


class Route(NamedTuple):
    """Severity and audience of a category."""

    severity: Severity
    audience: Audience


_PAGES = Route(Severity.CRITICAL, Audience.ONCALL)
_MODEL = Route(Severity.MEDIUM, Audience.MODEL)
ROUTES: Mapping[Category, Route] = MappingProxyType(
    {
        **dict.fromkeys(Category, _PAGES),
        Category.DATA_VALIDATION: Route(Severity.HIGH, Audience.DATA),
        Category.GATE_FAILED: _MODEL,
        Category.CONFLICT: _MODEL,
        Category.INTERRUPTED: _MODEL,
    }
)


REFUSALS = frozenset({Category.CONFLICT, Category.GATE_FAILED, Category.SETTINGS})


class About(Value):
    """Subject of a failure: a retrain of an as-of day, perhaps with a fingerprint, days of an ingest, or other work."""

    as_of: date | None = None
    days: tuple[date, ...] = ()
    work: str = Field("", description="What else failed, in a word or two; a day and an as-of day say it themselves.")
    fingerprint: str | None = None


class Failure(Value):
    """A classified error. `cause` is the same for the same failure tried again."""

    category: Category
    recoverable: bool = Field(description="Whether the same again may succeed a moment later.")
    cause: str
    kind: str = Field(description="Type of the error.")
    what: str
    culprits: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def severity(self) -> Severity:
        """Severity of its category."""
        return ROUTES[self.category].severity

    @property
    def audience(self) -> Audience:
        """Audience of its category."""
        return ROUTES[self.category].audience

    @property
    def is_refusal(self) -> bool:
        """Whether it is a refusal of a request: only the person who made the request needs to read it."""
        return self.category in REFUSALS

    @property
    def never_began(self) -> bool:
        """Whether nothing failed: the run found another one under way. The ledger records it as skipped."""
        return self.kind == Busy.__name__


class Judgement(NamedTuple):
    """Category of an error, and whether the same again may succeed."""

    category: Category
    recoverable: bool = False


class ErrorText(NamedTuple):
    """Text of an error: message, type name, culprits and remedy."""

    what: str
    kind: str = ""
    culprits: Sequence[str] = ()
    remedy: str = ""


def failure_of(judgement: Judgement, about: About, text: ErrorText) -> Failure:
    """Return the failure of a judged error, with its cause."""
    return Failure(
        category=judgement.category,
        recoverable=judgement.recoverable,
        cause=cause_of(judgement.category, about),
        kind=text.kind,
        what=text.what,
        culprits=tuple(text.culprits),
        remedy=text.remedy,
    )


def cause_of(category: Category, about: About) -> str:
    """Return the name that the same failure has every time: category and fingerprint, else days, else as-of day.

    Examples:
        >>> cause_of(Category.DEPENDENCY, About(days=(date(2026, 3, 1), date(2026, 3, 4))))
        'dependency:days 2026-03-01 to 2026-03-04 (2)'
        >>> cause_of(Category.SETTINGS, About(work="clean"))
        'settings:clean'
    """
    # The fingerprint first: the same model fails for the same cause, whichever day it is tried again.
    if about.fingerprint:
        return f"{category}:{about.fingerprint[:16]}"
    of = f"{about.work} " if about.work else ""
    if len(about.days) == 1:
        return f"{category}:{of}day {about.days[0]}"
    if about.days:
        return f"{category}:{of}days {min(about.days)} to {max(about.days)} ({len(about.days)})"
    if about.as_of:
        return f"{category}:as-of {about.as_of}"
    return f"{category}:{about.work}" if about.work else str(category)
