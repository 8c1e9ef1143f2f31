"""How the pod of a run ended, in words: what Kubernetes says of it, and no more.

Here: which of its reasons means what. Not here: asking Kubernetes (`orchestration/kubernetes_launcher.py`), and what
follows from a failure (`failures.py`).
"""

from fraud_retraining.domain.values.base import Value

OOM_KILLED = "ran out of memory (OOMKilled)"
"""Part of the message about a container that used more memory than its limit."""
KILLED, TERMINATED = 128 + 9, 128 + 15
MOVED = frozenset({"Evicted", "Preempting", "NodeShutdown", "NodeLost", "Terminated", "Shutdown"})
"""Reasons of a pod that its node, not its run, brought about."""


class PodEnding(Value):
    """What Kubernetes recorded of a pod that ended; None where it recorded nothing."""

    exit_code: int | None = None
    reason: str | None = None
    """Reason of the container: `OOMKilled`, `Error`, `Completed`, ..."""
    pod_reason: str | None = None
    """Reason of the pod: `Evicted`, `NodeShutdown`, ..."""
    pod_message: str | None = None
    disruption: str | None = None
    """Reason of the pod's condition `DisruptionTarget`: `PreemptionByScheduler`, `DeletionByTaintManager`, ..."""

    def summary(self) -> str:
        """The ending in words, and what it means for the run.

        >>> PodEnding(exit_code=137, disruption="PreemptionByScheduler").summary()
        'the pod was moved off its node (PreemptionByScheduler); the run is no cause of that'
        """
        if self.reason == "OOMKilled":
            return f"its container {OOM_KILLED}: it used more than its limit"
        moved = self.disruption or (self.pod_reason if self.pod_reason in MOVED else None)
        if moved:
            more = f": {self.pod_message}" if self.pod_message else ""
            return f"the pod was moved off its node ({moved}){more}; the run is no cause of that"
        if self.exit_code is None:
            return "Kubernetes has no record of how its pod ended: it was deleted, or its node is gone"
        return _by_exit_code(self.exit_code, self.reason)


def _by_exit_code(code: int, reason: str | None) -> str:
    if code == KILLED:
        # The same number for two causes, and nothing else is recorded.
        return (
            f"its process was killed (exit code {code}), and Kubernetes gives no reason: the node was out of memory, "
            "or the pod was deleted and took longer to end than it was given"
        )
    if code == TERMINATED:
        return f"its process was asked to end (exit code {code}): the pod was deleted, or its node drained"
    return (
        f"its process left with exit code {code}{f' ({reason})' if reason else ''} without recording an end of the run"
    )
