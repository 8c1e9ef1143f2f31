"""Resources of a run's pod: amounts in Kubernetes' notation, and limits that hold what is asked for."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.retraining.run_resources import RunResources, memory_bytes, processors


@pytest.mark.parametrize(("text", "number"), [("4", 4.0), ("0.5", 0.5), ("500m", 0.5), ("1500m", 1.5)])
def test_processors_are_read_as_kubernetes_writes_them(text: str, number: float) -> None:
    assert processors(text) == number


@pytest.mark.parametrize(("text", "number"), [("512Mi", 2**29), ("16Gi", 2**34), ("0.5Ti", 2**39)])
def test_memory_is_read_as_kubernetes_writes_it(text: str, number: float) -> None:
    assert memory_bytes(text) == number


def resources(cpu: str, memory: str, most_cpu: str, most_memory: str) -> RunResources:
    return RunResources.model_validate(
        {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": most_cpu, "memory": most_memory}}
    )


def test_equal_requests_and_limits_are_accepted_in_any_notation() -> None:
    assert resources("1000m", "1024Mi", "1", "1Gi").limits.cpu == "1"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("8", "16Gi", "4", "32Gi"), "limits.cpu is below requests.cpu"),
        (("4", "16Gi", "8", "8192Mi"), "limits.memory is below requests.memory"),
        (("0", "16Gi", "8", "32Gi"), "requests.cpu is 0"),
        (("4", "100Mi", "8", "32Gi"), "below 512Mi"),
        (("4", "16GB", "8", "32Gi"), "should match pattern"),
        (("4", "16", "8", "32Gi"), "should match pattern"),
        (("four", "16Gi", "8", "32Gi"), "should match pattern"),
        (("-1", "16Gi", "8", "32Gi"), "should match pattern"),
    ],
)
def test_amounts_that_cannot_be_are_refused(given: tuple[str, str, str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        resources(*given)
