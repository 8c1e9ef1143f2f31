"""Values never change and hold no undeclared field."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.values.base import Policy, Value


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
