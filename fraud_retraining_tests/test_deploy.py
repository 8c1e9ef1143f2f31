"""What `deploy/` says about images, settings and the cluster is what the product, Dagster and Kubernetes accept."""

import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes.client as k8s
import pytest
import yaml
from dagster import DagsterInstance, GraphDefinition, JobDefinition, Shape
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from sqlalchemy import make_url
from typer.main import get_command

from fraud_retraining.adapters.alerts.pagerduty import PAGERDUTY_VARIABLE
from fraud_retraining.adapters.alerts.slack import SLACK_VARIABLE
from fraud_retraining.adapters.ledger.signing_keys import KEY_VARIABLE
from fraud_retraining.adapters.pages.signed_links import LEAST_CHARACTERS, LINK_VARIABLE
from fraud_retraining.cli import app
from fraud_retraining.commands.implementation.approvals_server import SIGNING_VARIABLE
from fraud_retraining.orchestration.kubernetes_launcher import KubernetesRunLauncher
from fraud_retraining.orchestration.names import RETRAIN_TAG
from fraud_retraining.serving import limits, score_app
from fraud_retraining.settings import CONFIG_VARIABLE, HOME_VARIABLE, load_settings

if TYPE_CHECKING:
    from fraud_retraining_tests.support.databases import Cluster

pytest_plugins = ("fraud_retraining_tests.support.databases",)

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
HOME = "/var/lib/fraud-retraining"
MANIFESTS = tuple(
    path
    for folder in ("kubernetes", "cron")
    for path in sorted((DEPLOY / folder).glob("*.yaml"))
    if path.name not in {"kustomization.yaml", "retraining.yaml", "dagster.yaml"}
)
KINDS = {
    "Namespace": k8s.V1Namespace,
    "ServiceAccount": k8s.V1ServiceAccount,
    "Role": k8s.V1Role,
    "RoleBinding": k8s.V1RoleBinding,
    "LimitRange": k8s.V1LimitRange,
    "NetworkPolicy": k8s.V1NetworkPolicy,
    "Deployment": k8s.V1Deployment,
    "Service": k8s.V1Service,
    "HorizontalPodAutoscaler": k8s.V2HorizontalPodAutoscaler,
    "PodDisruptionBudget": k8s.V1PodDisruptionBudget,
    "CronJob": k8s.V1CronJob,
}
OTHERS = re.compile(r"(AWS|MLFLOW)_[A-Z_]+|DAGSTER_HOME|DAGSTER_PG_PASSWORD|REDIS_PASSWORD")
SECRETS = {"fraud-retraining": "secrets.env.example", "fraud-retraining-scores": "secrets.scores.env.example"}
"""The file that says what is in each secret."""
"""Variables that libraries read, and those of Dagster's chart."""


def values() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "values.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The manifests of a kind by name."""
    return {one["metadata"]["name"]: one for one in manifests() if one["kind"] == kind}


def containers() -> list[dict[str, Any]]:
    """The containers of every manifest."""
    return [one for pod in holding("containers", manifests()) for one in pod["containers"]]


def location() -> dict[str, Any]:
    (only,) = values()["dagster-user-deployments"]["deployments"]
    return only


def holding(key: str, found: Any) -> Iterator[dict[str, Any]]:
    """Everything that has the key, however deep."""
    if isinstance(found, dict):
        if key in found:
            yield found
        for value in found.values():
            yield from holding(key, value)
    elif isinstance(found, list):
        for value in found:
            yield from holding(key, value)


def instructions() -> list[tuple[str, str]]:
    """Name and rest of every instruction of the container file."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


# ------------------------------------------------------------------ the image


def test_the_image_is_built_in_two_stages_from_plain_names_and_is_not_root() -> None:
    build, final = of("FROM")
    assert build == "python:${PYTHON_VERSION}-slim AS build"
    assert final == "python:${PYTHON_VERSION}-slim"
    (version,) = of("ARG")
    assert version == "PYTHON_VERSION=3.11"
    names = [name for name, _ in instructions()]
    (user,) = of("USER")
    assert int(user.split(":")[0]) >= 1000
    assert names.index("USER") > names.index("FROM", 1), "the last stage has a user"
    assert not re.search(r"https?://|--index-url|--extra-index-url", (DEPLOY / "Dockerfile").read_text())


def test_what_is_copied_exists_and_is_not_kept_out_of_the_context() -> None:
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    wanted = {source for rest in of("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    assert wanted == allowed
    for source in wanted:
        assert (ROOT / source).exists(), source


def test_only_pinned_packages_are_installed_and_each_by_its_hash() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", "\n".join(of("RUN")))
    assert len(installs) == 3
    for one in installs:
        assert "--require-hashes" in one or one.split()[:2] == ["--no-deps", "dist/*.whl"], one
    for name in ("requirements.lock", "build.lock"):
        blocks = re.split(r"\n(?=\S)", (DEPLOY / name).read_text().replace("\\\n", " ").strip())
        assert blocks
        assert all(re.match(r"[\w.-]+==\S+.* --hash=sha256:[0-9a-f]{64}", block) for block in blocks)


def test_the_steps_without_docker_install_what_the_image_does() -> None:
    script = DEPLOY / "build_image.sh"
    steps = script.read_text()
    assert os.access(script, os.X_OK)
    for lock in ("requirements.lock", "build.lock"):
        assert f"--require-hashes -r deploy/{lock}" in steps
    assert "--no-build-isolation" in steps
    assert '--no-deps "$folder"/dist/*.whl' in steps
    subprocess.run(["bash", "-n", script], check=True)
    assert "deploy/build_image.sh --steps" in (ROOT / ".ci" / "run").read_text()


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))


def test_production_has_the_versions_that_were_tested_and_no_tool_of_development() -> None:
    tested, shipped = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert shipped.items() <= tested.items()
    assert {"dagster", "dagster-postgres", "dagster-k8s", "psycopg", "xgboost-cpu", "mlflow"} <= shipped.keys()
    assert not {"pytest", "moto", "ruff", "mypy", "playwright", "hypothesis"} & shipped.keys()


def test_the_chart_is_of_the_version_of_dagster() -> None:
    version = pins(DEPLOY / "requirements.lock")["dagster"]
    for name in ("values.yaml", "README.md"):
        assert version in (DEPLOY / name).read_text()


def test_every_image_is_this_projects_in_its_present_version() -> None:
    version = metadata.version("fraud-retraining")
    parts = (location(), values()["dagsterDaemon"], values()["dagsterWebserver"])
    assert {(one["image"]["repository"], one["image"]["tag"]) for one in parts} == {
        ("example/fraud-retraining", version)
    }
    assert {one["image"] for one in containers()} == {f"example/fraud-retraining:{version}"}


# ------------------------------------------------------------------ commands, variables, settings


def test_every_command_is_one_of_the_command_line() -> None:
    commands = [one["command"] for one in containers()]
    lines = re.findall(r"^(?:.*`)?(fraud-retraining [a-z][^`#|\n]*)", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    commands += [line.split() for line in lines]
    assert len(commands) >= 5
    for program, *words in commands:
        assert program == "fraud-retraining"
        known, options = get_command(app), [word for word in words if word.startswith("--")]
        for word in words:
            if not hasattr(known, "commands") or word.startswith("-"):
                break
            known = known.commands[word]
        assert set(options) <= {option for parameter in known.params for option in parameter.opts}, words


def test_the_image_and_the_chart_start_programs_that_the_packages_bring() -> None:
    programs = {entry.name for entry in metadata.entry_points(group="console_scripts")}
    command = yaml.safe_load(of("CMD")[0])
    assert {command[0], "dagster-daemon", "dagster-webserver", "fraud-retraining"} <= programs
    for words in (command, location()["dagsterApiGrpcArgs"]):
        assert words[words.index("--module-name") + 1] == "fraud_retraining.definitions"
    assert str(location()["port"]) == command[command.index("--port") + 1]
    assert str(location()["port"]) in of("EXPOSE")[0].split()


def in_secret(name: str) -> dict[str, str]:
    """What a secret holds, with a digest in the place of the word that stands for one."""
    text = (DEPLOY / SECRETS[name]).read_text().replace("SHA-256-OF-A-KEY", "0" * 64)
    return dict(line.split("=", 1) for line in text.splitlines() if line)


@pytest.mark.slow
def test_the_probe_of_the_code_server_fails_while_the_process_that_holds_the_code_hangs(tmp_path: Path) -> None:
    """`dagster code-server start` would answer it from another process."""
    (tmp_path / "some_assets.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ["api", "grpc", "-h", "127.0.0.1", "-p", port, "--python-file", "some_assets.py"]
    server = subprocess.Popen([sys.executable, "-m", "dagster", *arguments], cwd=tmp_path, stderr=subprocess.DEVNULL)
    program, *words = location()["livenessProbe"]["exec"]["command"]
    probe = [sys.executable, "-m", program, *(port if word == str(location()["port"]) else word for word in words)]

    def answers(seconds: float = 20) -> bool:
        """As the kubelet does: no answer in time is a failure."""
        try:
            return subprocess.run(probe, capture_output=True, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    try:
        assert any(answers() for _ in range(10))
        server.send_signal(signal.SIGSTOP)
        assert not answers(6)
        server.send_signal(signal.SIGCONT)
        assert answers()
    finally:
        server.kill()
        server.wait()


def variables() -> dict[str, str]:
    """Every environment variable that anything in `deploy/` gives, with its value where it has one."""
    found: dict[str, str] = {}
    for name in SECRETS:
        found |= in_secret(name)
    for one in (location(), *containers()):
        found |= {entry["name"]: entry.get("value", "") for entry in one["env"]}
    return found


def test_every_variable_is_one_that_is_read_and_the_settings_are_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {HOME_VARIABLE, CONFIG_VARIABLE, SLACK_VARIABLE, SIGNING_VARIABLE, PAGERDUTY_VARIABLE, LINK_VARIABLE}
    own.add(KEY_VARIABLE)
    given = variables()
    assert own <= given.keys()
    unread = [name for name in given if name not in own and not OTHERS.fullmatch(name)]
    assert all(name.startswith("FRAUD_RETRAINING_") for name in unread), unread
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(CONFIG_VARIABLE, str(DEPLOY / "kubernetes" / Path(given[CONFIG_VARIABLE]).name))
    settings = load_settings()
    assert settings.ledger_url == given["FRAUD_RETRAINING_LEDGER__URL"]
    assert settings.promotion.require_verified
    assert settings.lake_uri.startswith("s3://") and settings.store_uri.startswith("s3://")
    assert len(given[LINK_VARIABLE]) >= LEAST_CHARACTERS
    assert not settings.starts_stopped


def test_no_secret_is_in_a_settings_file_or_a_manifest() -> None:
    secrets = in_secret("fraud-retraining") | in_secret("fraud-retraining-scores")
    assert {value for name, value in secrets.items() if name.endswith(("TOKEN", "SECRET", "KEY", "PASSWORD"))} <= {
        "TOKEN",
        "SECRET",
        "KEY",
        "PASSWORD",
        "AT-LEAST-32-RANDOM-CHARACTERS-HERE",
        "PRIVATE-KEY-IN-ONE-LINE",
    }
    for one in (location(), *containers()):
        assert not {entry["name"] for entry in one["env"] if "value" in entry} & secrets.keys()


# ------------------------------------------------------------------ Dagster's instance


def checked(schema: Any, config: Mapping[str, Any]) -> None:
    result = validate_config(schema, dict(config))
    assert result.success, [error.message for error in result.errors or []]


def snake(found: Any) -> Any:
    """The chart writes the keys of dagster.yaml in camel case."""
    if isinstance(found, dict):
        return {
            re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: f"_{m[1].lower()}", key): snake(v) for key, v in found.items()
        }
    return [snake(one) for one in found] if isinstance(found, list) else found


def instance() -> dict[str, Any]:
    """The parts of dagster.yaml that the chart makes of the values as they are."""
    given = values()
    daemon = given["dagsterDaemon"]
    concurrency = {key: value for key, value in given["concurrency"].items() if key != "enabled"}
    return snake(
        {
            "concurrency": concurrency,
            "runMonitoring": {key: v for key, v in daemon["runMonitoring"].items() if key != "maxResumeRunAttempts"},
            "runRetries": daemon["runRetries"],
            "runCoordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
            "telemetry": given["telemetry"],
            **given.get("additionalInstanceConfig", {}),
            "sensors": daemon["sensors"],
            "schedules": daemon["schedules"],
        }
    )


def test_the_instance_of_the_cluster_is_that_of_one_machine_and_dagster_accepts_both() -> None:
    here = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    there = instance()
    schema = Shape(dagster_instance_config_schema())
    checked(schema, here)
    checked(schema, there)
    for part in ("concurrency", "run_coordinator", "run_monitoring", "run_retries", "telemetry", "freshness", "nux"):
        assert there.get(part) == here[part], part
    assert [one["key"] for one in there["concurrency"]["runs"]["tag_concurrency_limits"]] == [RETRAIN_TAG]
    assert values()["concurrency"]["enabled"]
    checked(schema, {"retention": {part: snake(values()["retention"][part]) for part in ("sensor", "schedule")}})


def test_the_queue_of_the_cluster_puts_a_run_back_whose_code_server_is_slow() -> None:
    coordinator = values()["dagsterDaemon"]["runCoordinator"]
    assert (coordinator["enabled"], coordinator["type"]) == (True, "CustomRunCoordinator")
    named = coordinator["config"]["customRunCoordinator"]
    found = getattr(importlib.import_module(named["module"]), named["class"])
    checked(Shape(found.config_type()), named["config"])
    queue = found(**named["config"]).get_run_queue_config()
    assert queue.max_user_code_failure_retries > 0
    assert not validate_config(Shape(found.config_type()), {"maxUserCodeFailureRetries": 5}).success


def test_an_instance_that_dagster_does_not_know_is_refused() -> None:
    wrong = instance() | {"concurrency": {"pools": {"granularit": "run"}}}
    assert not validate_config(Shape(dagster_instance_config_schema()), wrong).success


def test_dagsters_launcher_and_log_manager_accept_their_configuration() -> None:
    assert values()["runLauncher"]["type"] == "CustomRunLauncher"
    launcher = values()["runLauncher"]["config"]["customRunLauncher"]
    assert getattr(importlib.import_module(launcher["module"]), launcher["class"]) is KubernetesRunLauncher
    checked(Shape(KubernetesRunLauncher.config_type()), launcher["config"])
    logs = snake(values()["computeLogManager"]["config"]["s3ComputeLogManager"])
    checked(Shape(S3ComputeLogManager.config_type()), logs)


def test_runs_get_the_code_locations_volumes_and_not_its_resources() -> None:
    """The chart hands the code location's `resources` on to runs, over the launcher's."""
    assert "resources" not in location()
    given = {"volumes": location()["volumes"], "volume_mounts": location()["volumeMounts"]}
    context = K8sContainerContext.create_from_config(
        {"k8s": {**given, "security_context": location()["securityContext"]}}
    )
    assert len(context.run_k8s_config.pod_spec_config["volumes"]) == 3


# ------------------------------------------------------------------ Kubernetes


def as_model(kind: type[Any], found: Mapping[str, Any]) -> Any:
    """The object, with every key known to Kubernetes."""
    return k8s_model_from_dict(kind, k8s_snake_case_dict(kind, found))


def test_kubernetes_knows_every_key_of_every_manifest() -> None:
    assert {one["kind"] for one in manifests()} == set(KINDS)
    for one in manifests():
        as_model(KINDS[one["kind"]], one)
    with pytest.raises(Exception, match="imagee"):
        as_model(k8s.V1Container, {"name": "a", "imagee": "b"})


def relaxed(pod: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """What a container asks for beyond the Pod Security Standard "restricted", and a root folder that is written."""
    whole, own = pod.get("securityContext") or {}, container.get("securityContext") or {}
    both = {**whole, **own}
    wanted = {
        "not root": both.get("runAsNonRoot") is True and str(both.get("runAsUser")) == of("USER")[0].split(":")[0],
        "seccomp": (both.get("seccompProfile") or {}).get("type") == "RuntimeDefault",
        "no escalation": own.get("allowPrivilegeEscalation") is False,
        "no capability": (own.get("capabilities") or {}) == {"drop": ["ALL"]},
        "read-only root": own.get("readOnlyRootFilesystem") is True,
        "nothing of the host": not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        and not any("hostPath" in volume for volume in pod.get("volumes") or []),
    }
    return [f"{container['name']}: {rule}" for rule, holds in wanted.items() if not holds]


def test_no_pod_asks_for_more_than_the_namespace_allows_and_what_is_mounted_is_there() -> None:
    labels = of_kind("Namespace")["fraud-retraining"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in holding("containers", manifests()):
        volumes = {one["name"] for one in pod["volumes"]}
        for container in pod["containers"]:
            assert not relaxed(pod, container)
            assert {one["name"] for one in container["volumeMounts"]} == volumes
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"]["memory"]
            # What is written is named: the home, and the folder of temporary files.
            written = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
            assert written == {HOME, "/tmp"}
    for given in (location(), values()["dagsterDaemon"], values()["dagsterWebserver"]):
        pod = {"securityContext": given["podSecurityContext"], "volumes": given["volumes"]}
        assert not relaxed(pod, {"name": "dagster", "securityContext": given["securityContext"]})
        assert {one["name"] for one in given["volumes"]} == {one["name"] for one in given["volumeMounts"]}
    with_root = {"name": "a", "securityContext": {"allowPrivilegeEscalation": False}}
    assert "a: not root" in relaxed({}, with_root)


def test_accounts_have_no_role_but_the_launchers() -> None:
    accounts = of_kind("ServiceAccount")
    for pod in holding("containers", manifests()):
        assert pod["automountServiceAccountToken"] is False
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False
    (binding,) = of_kind("RoleBinding").values()
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dagster", "namespace": "fraud-retraining"}]
    assert values()["rbacEnabled"] is False
    assert values()["dagster-user-deployments"]["rbacEnabled"] is False
    for rule in of_kind("Role")[binding["roleRef"]["name"]]["rules"]:
        assert "*" not in rule["verbs"]
        assert "secrets" not in rule["resources"]


def test_nothing_talks_to_anything_but_by_a_policy() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {
        one["spec"]["podSelector"]["matchLabels"].get("app"): [
            port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]
        ]
        for one in policies.values()
        if "ingress" in one["spec"]
    }
    for name, service in of_kind("Service").items():
        (pod,) = (one["spec"]["template"]["spec"] for key, one in of_kind("Deployment").items() if key == name)
        (container,) = pod["containers"]
        assert opened[service["spec"]["selector"]["app"]] == [one["containerPort"] for one in container["ports"]]
    (ui,) = (one for one in policies["dagster-ui"]["spec"]["ingress"])
    assert ui["ports"] == [{"port": values()["dagsterWebserver"]["service"]["port"]}]
    (code,) = policies["code-server"]["spec"]["ingress"]
    assert code["ports"] == [{"port": location()["port"]}]


def test_every_service_of_several_pods_survives_a_drained_node() -> None:
    guarded = {name: one["spec"] for name, one in of_kind("PodDisruptionBudget").items()}
    for name, deployment in of_kind("Deployment").items():
        assert guarded[name]["selector"] == deployment["spec"]["selector"]
        scaled = of_kind("HorizontalPodAutoscaler").get(name)
        least = scaled["spec"]["minReplicas"] if scaled else deployment["spec"]["replicas"]
        assert least >= 2
        # A number of pods beside an autoscaler would undo what it did, at every apply.
        assert ("replicas" in deployment["spec"]) is (scaled is None)


def test_the_scorer_is_asked_where_it_answers_and_goes_when_it_has_answered() -> None:
    (pod,) = (one["spec"]["template"]["spec"] for one in [of_kind("Deployment")["fraud-retraining-scores"]])
    (container,) = pod["containers"]
    command = container["command"]
    assert container["ports"] == [{"name": "http", "containerPort": int(command[command.index("--port") + 1])}]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": score_app.HEALTH, "readiness": score_app.READY, "liveness": score_app.HEALTH}
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + limits.ANSWER_SECONDS
    assert "redis" in pins(DEPLOY / "requirements.lock")


def test_settings_secrets_and_instance_are_called_alike_everywhere() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    (settings,) = [one["name"] for one in kustomization["configMapGenerator"]]
    mounted = {
        volume["configMap"]["name"]
        for pod in holding("containers", manifests())
        for volume in pod["volumes"]
        if "configMap" in volume
    }
    assert mounted == {settings, "dagster-instance"}
    cron = yaml.safe_load((DEPLOY / "cron" / "kustomization.yaml").read_text())
    assert [one["name"] for one in cron["configMapGenerator"]] == ["dagster-instance"]
    assert [one["configMap"]["name"] for one in location()["volumes"] if "configMap" in one] == [settings]
    secrets = {source["secretRef"]["name"] for one in containers() for source in one["envFrom"]}
    assert secrets == SECRETS.keys()
    assert {one["name"] for one in location()["envSecrets"]} < secrets
    assert all(f"generic {name} " in (DEPLOY / "README.md").read_text() for name in secrets)
    assert values()["global"]["postgresqlSecretName"] in (DEPLOY / "kubernetes" / "watchdog.yaml").read_text()


def test_names_and_ports_that_the_chart_makes_are_those_that_are_used() -> None:
    launcher = values()["runLauncher"]["config"]["customRunLauncher"]["config"]
    assert launcher["service_account_name"] == values()["dagster-user-deployments"]["serviceAccount"]["name"]
    (namespace,) = of_kind("Namespace")
    assert launcher["job_namespace"] == namespace
    assert launcher["postgres_password_secret"] == values()["global"]["postgresqlSecretName"]
    ui = values()["dagsterWebserver"]
    assert ui["readinessProbe"]["httpGet"]["port"] == ui["service"]["port"]


def names_of_the_chart() -> dict[tuple[str, ...], set[str]]:
    """The names that the chart's schema has, by where they stand."""
    written = yaml.safe_load((Path(__file__).parent / "support" / "chart_values.yaml").read_text())

    def expanded(names: str) -> set[str]:
        return {one for name in names.split() for one in (expanded(written[name]) if name.startswith("<") else {name})}

    places = {name: expanded(names) for name, names in written.items() if not name.startswith("<")}
    return {tuple(name.split(".")) if name != "chart" else (): names for name, names in places.items()}


def sections(at: tuple[str, ...], found: Any) -> Iterator[dict[str, Any]]:
    """The sections that stand at a place, entries of lists one by one."""
    if isinstance(found, list):
        for one in found:
            yield from sections(at, one)
    elif at:
        if at[0] in found:
            yield from sections(at[1:], found[at[0]])
    else:
        yield found


def test_every_value_has_a_name_of_the_charts_schema() -> None:
    for at, accepted in names_of_the_chart().items():
        found = list(sections(at, values()))
        assert found, f"no value stands at {at}"
        for section in found:
            assert section.keys() <= accepted, at
    probes = [*holding("livenessProbe", values()), *holding("readinessProbe", values())]
    for one in probes:
        for name in {"livenessProbe", "readinessProbe"} & one.keys():
            as_model(k8s.V1Probe, one[name])
    for one in (location(), values()["dagsterDaemon"], values()["dagsterWebserver"]):
        as_model(k8s.V1PodSecurityContext, one["podSecurityContext"])
        as_model(k8s.V1SecurityContext, one["securityContext"])
        assert all(as_model(k8s.V1Volume, volume) for volume in one["volumes"])
        assert all(as_model(k8s.V1VolumeMount, mount) for mount in one["volumeMounts"])
        assert one["image"].keys() == {"repository", "tag", "pullPolicy"}


def charted(*command: str) -> str:
    """What helm makes of the chart that DAGSTER_CHART names, and of the values."""
    chart = os.environ.get("DAGSTER_CHART")
    if chart is None or shutil.which("helm") is None:
        pytest.skip("helm is not installed, or DAGSTER_CHART names no chart: helm pull dagster/dagster --untar")
    done = subprocess.run(["helm", *command, chart, "-f", DEPLOY / "values.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_helm_accepts_the_values_and_makes_pods_that_the_namespace_accepts() -> None:
    assert "0 chart(s) failed" in charted("lint")
    made = [one for one in yaml.safe_load_all(charted("template", "dagster", "-n", "fraud-retraining")) if one]
    pods = list(holding("containers", made))
    assert len(pods) >= 4
    for pod in pods:
        for container in [*pod["containers"], *(pod.get("initContainers") or [])]:
            assert not relaxed(pod, container)
    assert not {"Role", "RoleBinding"} & {one["kind"] for one in made}
    names = {(one["kind"], one["metadata"]["name"]): one for one in made}
    assert {("ServiceAccount", "dagster"), ("ServiceAccount", "dagster-user-deployments")} <= names.keys()
    instance = yaml.safe_load(names["ConfigMap", "dagster-instance"]["data"]["dagster.yaml"])
    checked(Shape(dagster_instance_config_schema()), instance)
    assert instance["run_launcher"]["class"] == KubernetesRunLauncher.__name__
    # With the selectors of the network policies.
    for one in made:
        labels = one["spec"]["template"]["metadata"].get("labels", {}) if one["kind"] == "Deployment" else {}
        assert one["kind"] != "Deployment" or labels["component"] in {
            "user-deployments",
            "dagster-daemon",
            "dagster-webserver",
        }


def kustomized(folder: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", DEPLOY / folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(built.stdout))


def test_kustomize_builds_what_stands_beside_the_chart() -> None:
    found = kustomized("kubernetes")
    assert {one["kind"] for one in found} == {"ConfigMap", *KINDS}
    assert all(one["metadata"].get("namespace") == "fraud-retraining" for one in found if one["kind"] != "Namespace")


def test_kustomize_builds_the_cron_job_with_an_instance_and_without_what_belongs_to_the_daemon() -> None:
    found = {(one["kind"], one["metadata"]["name"]) for one in kustomized("cron")}
    assert {("CronJob", "fraud-retraining-retrain"), ("ConfigMap", "dagster-instance")} <= found
    assert ("CronJob", "fraud-retraining-watchdog") not in found
    assert not {"Role", "RoleBinding"} & {kind for kind, _ in found}


def test_the_cron_job_retrains_once_at_two_and_is_never_two() -> None:
    jobs = of_kind("CronJob")
    spec = jobs["fraud-retraining-retrain"]["spec"]
    minute, hour, days, *rest = spec["schedule"].split()
    at = load_settings(ROOT / "retraining.yaml").triggers.schedule
    assert at is not None
    assert (minute, hour, days, rest) == ("0", str(at.at_hour_utc), f"*/{at.every_hours // 24}", ["*", "*"])
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 4 * 3600)
    (container,) = job["template"]["spec"]["containers"]
    hours = {one["name"]: one.get("value") for one in container["env"]}["FRAUD_RETRAINING_BUDGET__MAX_HOURS"]
    assert float(hours) * 3600 < job["activeDeadlineSeconds"], "the budget ends it first, and says why"
    given = yaml.safe_load((DEPLOY / "kubernetes" / "retraining.yaml").read_text())["kubernetes"]["retrain"]
    assert container["resources"] == given
    for name, one in jobs.items():
        assert (one["spec"]["concurrencyPolicy"], one["spec"]["timeZone"]) == ("Forbid", "Etc/UTC"), name
        assert {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= one["spec"].keys()
        assert one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_dagster_keeps_its_history_in_the_postgresql_that_deploy_describes(
    postgres: "Cluster", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the driver that SQLAlchemy takes by default Dagster cannot store one event."""
    here = make_url(postgres.url)
    instance = yaml.safe_load((DEPLOY / "cron" / "dagster.yaml").read_text())
    given = instance["storage"]["postgres"]["postgres_db"]
    assert given["scheme"] == values()["postgresql"]["postgresqlScheme"]
    own = {"hostname": here.host, "port": here.port, "username": here.username, "db_name": here.database, "params": {}}
    instance["storage"]["postgres"]["postgres_db"] = {**given, **own}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", str(here.password))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    with DagsterInstance.from_config(str(tmp_path)) as opened:
        run = opened.create_run_for_job(JobDefinition(graph_def=GraphDefinition(name="nothing")))
        opened.report_run_failed(run, "as the test says")
        assert [one.is_failure for one in opened.get_runs()] == [True]
        assert opened.all_logs(run.run_id)[-1].message == "as the test says"


def test_links_of_the_notes_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text()):
        assert (DEPLOY / link).exists(), link


def test_the_instance_on_postgresql_differs_from_the_embedded_one_in_its_storage_alone() -> None:
    embedded, servers = (yaml.safe_load((folder / "dagster.yaml").read_text()) for folder in (ROOT, DEPLOY / "servers"))
    assert servers.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    embedded.pop("storage")
    assert servers == embedded
