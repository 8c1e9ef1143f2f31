"""Runs as pods: what the launcher asks for, and what run monitoring makes of an API that errs and of jobs that go.

Dagster's own launcher, instance and monitoring against a Kubernetes API of the test's own.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import kubernetes.client as k8s
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import get_job_name_from_run_id
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.alerts.classification import classify_message
from fraud_retraining.domain.alerts.failures import About
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.budget import BudgetPolicy
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy
from fraud_retraining.domain.retraining.requesters import COMMAND_LINE
from fraud_retraining.orchestration.jobs.asset_jobs import pod_tags
from fraud_retraining.orchestration.kubernetes_launcher import KubernetesRunLauncher
from fraud_retraining.orchestration.names import CHANNEL_TAG
from fraud_retraining.orchestration.runs.failed_runs import fence_ended, recorded_failure
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support import lease_holders
from fraud_retraining_tests.support.kubernetes_api import NAMESPACE, KubernetesApi, kubernetes_api

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
VALUES = yaml.safe_load((DEPLOY / "values.yaml").read_text())
LOG = logging.getLogger("test")


@dg.job
def retrain() -> None:
    """A job whose runs are executed nowhere."""


class Cluster(NamedTuple):
    """A Dagster instance whose runs are jobs of an API."""

    instance: dg.DagsterInstance
    api: KubernetesApi

    def launched(self, **tags: str) -> dg.DagsterRun:
        """A run whose pod has started."""
        run = self.instance.create_run_for_job(retrain, tags=tags, job_code_origin=_origin())
        launcher: Any = self.instance.run_launcher
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        return self.started(run)

    def started(self, run: dg.DagsterRun) -> dg.DagsterRun:
        event = DagsterEvent(DagsterEventType.RUN_START.value, job_name=run.job_name)
        self.instance.report_dagster_event(event, run.run_id)
        return self.now(run)

    def now(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def monitored(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """The run after one look of run monitoring."""
        record = self.instance.get_run_record_by_id(run.run_id)
        assert record is not None
        workspace: Any = None
        monitor_started_run(self.instance, workspace, record, LOG)
        return self.now(run)


def _origin() -> JobPythonOrigin:
    """What the chart gives the code location, as the launcher reads it."""
    (location,) = VALUES["dagster-user-deployments"]["deployments"]
    context = {
        "env_secrets": [one["name"] for one in location["envSecrets"]],
        "env": location["env"],
        "volumes": location["volumes"],
        "volume_mounts": location["volumeMounts"],
        "namespace": NAMESPACE,
        "service_account_name": "dagster-user-deployments",
        "image_pull_policy": "IfNotPresent",
    }
    image = f"{location['image']['repository']}:{location['image']['tag']}"
    pointer = ModuleCodePointer("fraud_retraining.definitions", "defs", working_directory=None)
    return JobPythonOrigin(
        "retrain",
        RepositoryPythonOrigin(sys.executable, pointer, container_image=image, container_context={"k8s": context}),
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with kubernetes_api(tmp_path) as (api, kubeconfig):
        given = VALUES["runLauncher"]["config"]["customRunLauncher"]
        here = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
        launcher = {**given, "config": {**given["config"], **here}}
        (tmp_path / "dagster.yaml").write_text(
            yaml.safe_dump(
                {"run_launcher": launcher, "run_monitoring": {"enabled": True}, "telemetry": {"enabled": False}}
            )
        )
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert isinstance(instance.run_launcher, KubernetesRunLauncher)
            assert instance.run_monitoring_max_resume_run_attempts == 0
            yield Cluster(instance, api)


def job_of(cluster: Cluster, run: dg.DagsterRun) -> k8s.V1Job:
    return k8s_model_from_dict(
        k8s.V1Job, k8s_snake_case_dict(k8s.V1Job, cluster.api.jobs[get_job_name_from_run_id(run.run_id)])
    )


# ------------------------------------------------------------------ what is asked for


def test_a_retrains_pod_has_its_resources_and_other_runs_those_of_the_launcher(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in (DEPLOY / "secrets.env.example").read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    settings = load_settings(DEPLOY / "kubernetes" / "retraining.yaml")
    big, small = (
        job_of(cluster, run).spec.template.spec.containers[0].resources
        for run in (cluster.launched(**pod_tags(settings.kubernetes)), cluster.launched())
    )
    assert (big.requests, big.limits) == ({"cpu": "4", "memory": "16Gi"}, {"cpu": "8", "memory": "32Gi"})
    assert (small.requests, small.limits) == ({"cpu": "1", "memory": "4Gi"}, {"cpu": "2", "memory": "8Gi"})


def test_a_runs_pod_is_one_that_the_namespace_accepts_and_that_is_tried_once(cluster: Cluster) -> None:
    job = job_of(cluster, cluster.launched())
    pod, (container,) = job.spec.template.spec, job.spec.template.spec.containers
    assert (job.spec.backoff_limit, job.spec.ttl_seconds_after_finished, pod.restart_policy) == (0, 86400, "Never")
    assert job.spec.active_deadline_seconds > 4 * 3600
    assert job.spec.template.metadata.annotations == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    assert (pod.security_context.run_as_non_root, pod.security_context.run_as_user) == (True, 10001)
    assert pod.security_context.seccomp_profile.type == "RuntimeDefault"
    own = container.security_context
    assert (own.allow_privilege_escalation, own.read_only_root_filesystem) == (False, True)
    assert own.capabilities.drop == ["ALL"]
    assert pod.service_account_name == "dagster-user-deployments"
    mounted = {one.mount_path for one in container.volume_mounts if not one.read_only}
    assert {"/var/lib/fraud-retraining", "/tmp"} <= mounted
    secrets = {one.secret_ref.name for one in container.env_from if one.secret_ref}
    assert secrets == {"fraud-retraining"}


def test_the_launchers_role_allows_what_it_asks_for(cluster: Cluster) -> None:
    instance, api = cluster
    run = cluster.launched()
    assert cluster.monitored(run).status is dg.DagsterRunStatus.STARTED
    instance.run_launcher.get_run_worker_debug_info(run)
    assert instance.run_launcher.terminate(run.run_id)
    failed = cluster.launched()
    api.end_pod(get_job_name_from_run_id(failed.run_id), code=1, reason="Error")
    cluster.monitored(failed)
    gone = cluster.launched()
    api.jobs.clear()
    api.pods.clear()
    cluster.monitored(gone)
    instance.run_launcher.get_run_worker_debug_info(gone)
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "accounts.yaml").read_text())
    (role,) = (one for one in documents if one["kind"] == "Role")
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert api.asked == allowed


# ------------------------------------------------------------------ faults of the API


@pytest.mark.parametrize("fault", ["403", "hangs up"])
def test_a_healthy_run_stays_while_the_api_errs_which_dagsters_own_launcher_would_fail(
    cluster: Cluster, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = cluster.launched()
    cluster.api.refuses_with, cluster.api.hangs_up = (403, False) if fault == "403" else (None, True)
    launcher = cluster.instance.run_launcher
    assert isinstance(launcher, KubernetesRunLauncher)
    assert K8sRunLauncher.check_run_worker_health(launcher, run).status is WorkerStatus.UNKNOWN
    assert cluster.monitored(run).status is dg.DagsterRunStatus.STARTED
    assert "cannot be seen" in caplog.text


def test_a_run_of_the_command_line_has_no_job_and_is_not_failed_for_that(cluster: Cluster) -> None:
    run = cluster.started(cluster.instance.create_run_for_job(retrain, tags={CHANNEL_TAG: COMMAND_LINE}))
    assert cluster.monitored(run).status is dg.DagsterRunStatus.STARTED


def test_a_run_whose_job_is_gone_is_failed_and_says_so(cluster: Cluster) -> None:
    run = cluster.launched()
    cluster.api.jobs.clear()
    assert cluster.monitored(run).status is dg.DagsterRunStatus.FAILURE
    assert "could not be found" in recorded_failure(cluster.instance, run).message


def test_a_process_that_lives_on_after_its_run_was_failed_publishes_nothing_and_the_next_run_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The pod survives its job: its lease is good for an hour, and its process never hears of the failure."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger, budget = Ledger(url), BudgetPolicy()
    run = cluster.launched()
    holders = [sys.executable, "-m", lease_holders.__name__]
    process = subprocess.Popen(
        [*holders, "write late", url, "3600", run.run_id, "register"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "took 1\n"
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert fence_ended(cluster.instance, ledger, budget, later) == "", "a run that is under way keeps its lease"
        cluster.api.jobs.clear()
        assert cluster.monitored(run).status is dg.DagsterRunStatus.FAILURE
        assert fence_ended(cluster.instance, ledger, budget, datetime.now(UTC)) == "", "it may be about to give it back"
        assert "lost the lease" in fence_ended(cluster.instance, ledger, budget, later)
        assert fence_ended(cluster.instance, ledger, budget, later) == ""
        # The next one does not wait for the hour, and publishes.
        again = ledger.retrain_lease(LeasePolicy(expires_seconds=3600)).take(
            lease_holders.owner("again"), lease_holders.PURPOSE
        )
        lease_holders.write(ledger, "register", again)
        os.kill(process.pid, signal.SIGCONT)
        assert "Conflict: this retrain lost its lease" in process.stdout.readline()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert len(list(ledger.events(EventKind.VERSION_REGISTERED))) == 1
    (lost,) = ledger.events(EventKind.RETRAIN_FINISHED)
    assert (lost.payload["dagster_run_id"], lost.payload["status"]) == (run.run_id, "lost")
    assert ledger.verify().ok


# ------------------------------------------------------------------ how pods end


@pytest.mark.parametrize(
    ("code", "reason", "status", "words", "category"),
    [
        (137, "OOMKilled", {}, "ran out of memory (OOMKilled)", "out_of_resources"),
        (
            137,
            "Error",
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "moved off its node (PreemptionByScheduler)",
            "worker_died",
        ),
        (137, "Error", {}, "gives no reason", "worker_died"),
    ],
    ids=["memory", "preemption", "who knows"],
)
def test_memory_and_preemption_are_told_apart_where_kubernetes_can(
    cluster: Cluster, code: int, reason: str, status: dict[str, Any], words: str, category: str
) -> None:
    run = cluster.launched()
    cluster.api.end_pod(get_job_name_from_run_id(run.run_id), code=code, reason=reason, **status)
    assert cluster.monitored(run).status is dg.DagsterRunStatus.FAILURE
    failure = recorded_failure(cluster.instance, run)
    assert words in failure.message
    assert classify_message(failure.kinds, failure.message, About()).category == category
