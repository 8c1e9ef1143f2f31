"""Dagster's launcher of runs as Kubernetes jobs, whose view of a run's health is not mistaken.

Run monitoring fails every run whose health is not known to be good. Dagster's own launcher calls it unknown when the
Kubernetes API gives no answer, and for runs of the command line, which have no job: healthy runs would be failed, while
their processes live on. Here: what is known of a run's pod. Not here: what its end means
(`domain/alerts/pod_endings.py`) and the lease that stops a process whose run was failed (`runs/failed_runs.py`).
"""

import logging
from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_job_name_from_run_id
from kubernetes.client.rest import ApiException
from urllib3.exceptions import HTTPError

from fraud_retraining.domain.alerts.pod_endings import PodEnding
from fraud_retraining.domain.retraining.requesters import COMMAND_LINE
from fraud_retraining.orchestration.names import CHANNEL_TAG

LOG = logging.getLogger("fraud_retraining.launcher")
NOT_FOUND = 404
UNREACHABLE = (ApiException, HTTPError, OSError)


class KubernetesRunLauncher(K8sRunLauncher):
    """`K8sRunLauncher`, with the same configuration."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """The health of a run: unknown only where its job is gone, running where it cannot be seen."""
        if run.tags.get(CHANNEL_TAG) == COMMAND_LINE:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "a run of the command line has no job")
        found = super().check_run_worker_health(run)
        if found.status is WorkerStatus.UNKNOWN and not self._job_is_gone(run):
            LOG.warning("the job of run %s cannot be seen, and counts as running: %s", run.run_id, found.msg)
            return CheckRunHealthResult(WorkerStatus.RUNNING, found.msg)
        if found.status is WorkerStatus.FAILED:
            return CheckRunHealthResult(WorkerStatus.FAILED, f"{found.msg}: {self._ending(run)}")
        return found

    def _job_is_gone(self, run: DagsterRun) -> bool:
        """Whether Kubernetes answers that there is no such job."""
        try:
            self._api_client.batch_api.read_namespaced_job_status(
                get_job_name_from_run_id(run.run_id), namespace=self._namespace(run)
            )
        except ApiException as error:
            return bool(error.status == NOT_FOUND)
        except UNREACHABLE:
            return False
        return False

    def _ending(self, run: DagsterRun) -> str:
        """How the pod of a run ended, in words."""
        try:
            pods = self._api_client.get_pods_in_job(get_job_name_from_run_id(run.run_id), self._namespace(run))
        except UNREACHABLE as error:
            return f"how its pod ended cannot be read now ({type(error).__name__})"
        return (_ending_of(pods[-1]) if pods else PodEnding()).summary()

    def _namespace(self, run: DagsterRun) -> str:
        return str(self.get_container_context_for_run(run).namespace)


def _ending_of(pod: Any) -> PodEnding:
    """What a pod, as the Kubernetes client gives it, says of its end."""
    status = pod.status
    ended = [one.state.terminated for one in status.container_statuses or () if one.state and one.state.terminated]
    disrupted = [one.reason for one in status.conditions or () if one.type == "DisruptionTarget"]
    return PodEnding(
        exit_code=ended[-1].exit_code if ended else None,
        reason=ended[-1].reason if ended else None,
        pod_reason=status.reason,
        pod_message=status.message,
        disruption=disrupted[-1] if disrupted else None,
    )
