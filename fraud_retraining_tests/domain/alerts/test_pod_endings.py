"""How a pod ended: Kubernetes' reasons in words, and no guess where it gives none."""

import pytest

from fraud_retraining.domain.alerts.pod_endings import PodEnding


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (PodEnding(exit_code=137, reason="OOMKilled"), "more than its limit"),
        # A pod that is preempted while it runs out of memory ran out of memory.
        (PodEnding(exit_code=137, reason="OOMKilled", disruption="PreemptionByScheduler"), "more than its limit"),
        (
            PodEnding(exit_code=143, reason="Error", disruption="EvictionByEvictionAPI"),
            "(EvictionByEvictionAPI); the run",
        ),
        (
            PodEnding(pod_reason="Evicted", pod_message="The node was low on resource: memory."),
            "(Evicted): The node was low on resource: memory.; the run is no cause",
        ),
        (PodEnding(exit_code=137, reason="Error"), "gives no reason"),
        (PodEnding(exit_code=143, reason="Error"), "asked to end"),
        (PodEnding(exit_code=1, reason="Error"), "exit code 1 (Error) without recording"),
        (PodEnding(exit_code=0), "exit code 0 without recording"),
        # A reason that nobody has met is not taken for a move; the exit code decides.
        (PodEnding(exit_code=1, pod_reason="SomethingNew"), "exit code 1"),
        (PodEnding(), "no record of how its pod ended"),
    ],
)
def test_an_ending_says_what_is_known(ending: PodEnding, words: str) -> None:
    assert words in ending.summary()
