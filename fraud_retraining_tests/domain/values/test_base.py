"""Values never change and hold no undeclared field."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.values.base import ExtendedValue, Policy, Value
from fraud_retraining.domain.values.digests import digest


class Limit(Policy):
    rows: int


@pytest.mark.parametrize("base", [Value, Policy])
def test_a_field_that_is_not_declared_is_refused(base: type[Value]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        base(unknown=1)


def test_a_value_never_changes_and_is_equal_by_its_fields() -> None:
    limit = Limit(rows=1)
    with pytest.raises(ValidationError, match="frozen"):
        limit.rows = 2  # type: ignore[misc]
    assert limit == Limit(rows=1) != Limit(rows=2)
    assert len({limit, Limit(rows=1)}) == 1


def test_a_field_of_a_later_version_is_left_out_while_it_holds_its_default() -> None:
    class Before(ExtendedValue):
        days: int

    class After(ExtendedValue):
        ADDED = frozenset({"labels"})

        days: int
        labels: str | None = None

    assert digest(After(days=3)) == digest(Before(days=3)) != digest(After(days=3, labels="x"))
    assert After.model_validate_json(After(days=3, labels="x").model_dump_json()).labels == "x"
    assert After.model_validate(Before(days=3).model_dump()) == After(days=3)
