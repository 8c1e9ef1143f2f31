"""Memory and processors of a run that is a pod of Kubernetes.

Here: the amounts, in Kubernetes' notation, and what is refused. Not here: how a run asks for them
(`orchestration/jobs/asset_jobs.py`).
"""

import re
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from fraud_retraining.domain.values.base import Policy

CPU = re.compile(r"^(\d+(?:\.\d+)?)(m?)$")
MEMORY = re.compile(r"^(\d+(?:\.\d+)?)(Mi|Gi|Ti)$")
BYTES = {"Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
LEAST_MEMORY = "512Mi"
"""Below this not even the libraries fit."""


def processors(quantity: str) -> float:
    """Processors in a quantity such as `4`, `0.5` or `500m`.

    Raises:
        ValueError: it is no such quantity.
    """
    found = CPU.match(quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no number of processors, such as 4 or 500m")
    return float(found[1]) / (1000 if found[2] else 1)


def memory_bytes(quantity: str) -> float:
    """Bytes in a quantity such as `16Gi` or `512Mi`.

    Raises:
        ValueError: it is no such quantity.
    """
    found = MEMORY.match(quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no amount of memory, such as 16Gi or 512Mi")
    return float(found[1]) * BYTES[found[2]]


class Amounts(Policy):
    """Processors and memory."""

    cpu: Annotated[str, StringConstraints(pattern=CPU.pattern)] = Field(description="Processors, such as 4 or 500m.")
    memory: Annotated[str, StringConstraints(pattern=MEMORY.pattern)] = Field(description="Memory, such as 16Gi.")


class RunResources(Policy):
    """Amounts of one pod: those that are kept free for it, and those that it may use."""

    requests: Amounts = Field(description="Kept free for the pod.")
    limits: Amounts = Field(description="Most that it may use; beyond the memory it is killed.")

    @model_validator(mode="after")
    def _limits_hold_requests(self) -> Self:
        few = [
            f"limits.{name} is below requests.{name}"
            for name, asked, most in (
                ("cpu", processors(self.requests.cpu), processors(self.limits.cpu)),
                ("memory", memory_bytes(self.requests.memory), memory_bytes(self.limits.memory)),
            )
            if most < asked
        ]
        if processors(self.requests.cpu) <= 0:
            few.append("requests.cpu is 0")
        if memory_bytes(self.requests.memory) < memory_bytes(LEAST_MEMORY):
            few.append(f"requests.memory is below {LEAST_MEMORY}")
        if few:
            raise ValueError("; ".join(few))
        return self


class KubernetesPolicy(Policy):
    """Runs that are pods of Kubernetes, started by Dagster's launcher for it."""

    retrain: RunResources | None = Field(
        None, description="What a retrain's pod asks for and may use; null: what the launcher gives every run."
    )
