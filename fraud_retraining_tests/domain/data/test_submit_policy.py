"""Settings of jobs that make days: bounds of the deadline, and no secret in what every reader of the job sees."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fraud_retraining.domain.data.submit_policy import EmrServerlessPolicy, GluePolicy, SubmitPolicy

SUBMIT: TypeAdapter[EmrServerlessPolicy | GluePolicy] = TypeAdapter(SubmitPolicy)
GLUE = {"kind": "glue", "job": "days", "bucket": "messages"}


def test_the_kind_says_which_service_it_is() -> None:
    assert SUBMIT.validate_python(GLUE) == GluePolicy(job="days", bucket="messages")


@pytest.mark.parametrize("changed", [{"deadline_minutes": 4}, {"deadline_minutes": 1441}, {"poll_seconds": 0}])
def test_a_job_has_a_deadline_and_is_looked_at(changed: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changed))):
        SUBMIT.validate_python({**GLUE, **changed})
