"""A category decides who is notified; a cause is the same for the same failure tried again."""

from datetime import date

import pytest

from fraud_retraining.domain.alerts.failures import (
    REFUSALS,
    ROUTES,
    About,
    Audience,
    Category,
    ErrorText,
    Judgement,
    Severity,
    cause_of,
    failure_of,
)
from fraud_retraining.domain.values.errors import Busy

C = Category
D1, D2 = date(2026, 11, 1), date(2026, 11, 3)
AS_OF = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("about", "cause"),
    [
        (About(as_of=AS_OF, fingerprint="f00d" * 16), "gate_failed:f00df00df00df00d"),
        (About(as_of=AS_OF), "gate_failed:as-of 2026-11-20"),
        (About(days=(D1,)), "gate_failed:day 2026-11-01"),
        (About(days=(D2, D1)), "gate_failed:days 2026-11-01 to 2026-11-03 (2)"),
        (About(days=(D1,), work="monitored"), "gate_failed:monitored day 2026-11-01"),
        (About(), "gate_failed"),
    ],
)
def test_the_cause_is_the_same_for_the_same_failure(about: About, cause: str) -> None:
    assert cause_of(C.GATE_FAILED, about) == cause


def test_the_routing_table() -> None:
    expected = {
        C.DATA_VALIDATION: (Severity.HIGH, Audience.DATA),
        C.GATE_FAILED: (Severity.MEDIUM, Audience.MODEL),
        C.CONFLICT: (Severity.MEDIUM, Audience.MODEL),
        C.INTERRUPTED: (Severity.MEDIUM, Audience.MODEL),
    }
    assert set(ROUTES) == set(Category)
    for category, route in ROUTES.items():
        assert tuple(route) == expected.get(category, (Severity.CRITICAL, Audience.ONCALL))


def test_severities_are_ordered_from_a_message_to_a_page() -> None:
    assert sorted(Severity, key=lambda one: one.rank) == [
        Severity.INFO,
        Severity.MEDIUM,
        Severity.HIGH,
        Severity.CRITICAL,
    ]


@pytest.mark.parametrize("category", Category)
def test_a_failure_has_the_severity_and_audience_of_its_category(category: Category) -> None:
    failure = failure_of(Judgement(category, recoverable=True), About(as_of=AS_OF), ErrorText("it broke"))
    assert (failure.severity, failure.audience) == tuple(ROUTES[category])
    assert failure.is_refusal is (category in REFUSALS)
    assert failure.recoverable and failure.cause == f"{category}:as-of 2026-11-20"


def test_a_run_that_found_another_one_under_way_never_began() -> None:
    busy = failure_of(Judgement(C.CONFLICT), About(), ErrorText("another retrain is under way", kind=Busy.__name__))
    other = failure_of(Judgement(C.CONFLICT), About(), ErrorText("decided before", kind="Conflict"))
    assert busy.never_began and not other.never_began
