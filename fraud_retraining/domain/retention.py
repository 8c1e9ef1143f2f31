"""What is kept of runs and artifacts, and what goes.

Here: the policy. Not here: deleting (`adapters/registry.py`).
"""

from pydantic import Field

from fraud_retraining.domain.schemas import Policy


class RetentionPolicy(Policy):
    """How many ended retrains stay, beyond what the ledger needs for an audit."""

    successful_runs: int = Field(5, ge=1, le=10_000, description="Latest successful retrains whose runs are kept.")
    failed_runs: int = Field(5, ge=0, le=10_000, description="Latest failed retrains whose runs are kept.")
    rejected_artifacts: int = Field(
        5, ge=0, le=10_000, description="Latest candidates that never served whose artifacts are kept."
    )
