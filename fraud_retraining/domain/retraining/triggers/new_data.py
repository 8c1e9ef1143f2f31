"""The trigger `new_data`: a retrain after so many new accepted rows."""

from pydantic import Field

from fraud_retraining.domain.retraining.triggers.values import CommonInputs, Fired, TriggerResult, latest_ready
from fraud_retraining.domain.values.base import Policy


class NewDataTriggerPolicy(Policy):
    """A retrain after so many new accepted rows."""

    rows: int = Field(ge=1, description="Accepted rows since the last training.")


class NewDataInputs(CommonInputs):
    """Inputs of the trigger `new_data`."""

    new_rows: int = Field(0, description="Accepted rows of days after the last as-of day.")


def new_data(policy: NewDataTriggerPolicy, inputs: NewDataInputs) -> TriggerResult:
    """Fire when enough rows have come since the last training."""
    if inputs.new_rows < policy.rows:
        return f"new data: {inputs.new_rows:,} of {policy.rows:,} rows since the last training"
    as_of = latest_ready(inputs)
    if isinstance(as_of, str):
        return f"new data: {inputs.new_rows:,} rows, but {as_of}"
    reason = f"new data: {inputs.new_rows:,} rows since the last training, {policy.rows:,} are enough"
    return Fired(as_of=as_of, reason=reason)
