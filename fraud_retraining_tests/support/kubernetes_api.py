"""A Kubernetes API on loopback that speaks what Dagster's launcher uses: jobs, pods, their logs and events.

It keeps objects as they were sent, records what it was asked for, and fails on demand.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

NAMESPACE = "fraud-retraining"
PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>batch)/v1)/namespaces/(?P<ns>[\w-]+)/(?P<what>\w+)"
    r"(?:/(?P<name>[\w.-]+))?(?:/(?P<sub>\w+))?$"
)
VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}


class KubernetesApi:
    """The objects of one cluster, and its faults."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.asked: set[tuple[str, str, str]] = set()
        """API group, resource and verb of every request, as roles name them."""
        self.refuses_with: int | None = None
        self.hangs_up = False

    def end_pod(self, job: str, *, code: int, reason: str, **status: Any) -> None:
        """The pod of a job ended; the job has failed with it, as one without retries does."""
        pod = self.pods[f"{job}-pod"]
        ended = {"terminated": {"exitCode": code, "reason": reason}}
        pod["status"] = {"phase": "Failed", "containerStatuses": [_container_status(ended)], **status}
        self.jobs[job]["status"] = {"failed": 1, "startTime": _now()}

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """Status and object of an answer."""
        split = urlsplit(target)
        found = PATH.match(split.path)
        if found is None:
            return 404, _failure(404, f"no path {split.path}")
        what, name, sub = found["what"], found["name"], found["sub"]
        resource = f"{what}/{sub}" if sub else what
        verb = VERBS.get(method, "get" if name else "list")
        self.asked.add((found["group"] or "", resource, verb))
        if self.refuses_with:
            return self.refuses_with, _failure(self.refuses_with, "as the test says")
        if method == "POST":
            return 201, self._create(body)
        if what == "events":
            return 200, _listed([])
        if sub == "log":
            return 200, "the end of a log"
        kept = self.jobs if what == "jobs" else self.pods
        if verb == "list":
            return 200, _listed([one for one in kept.values() if _selected(one, parse_qs(split.query))])
        if name not in kept:
            return 404, _failure(404, f"{what} {name!r} not found")
        return 200, kept.pop(name) if method == "DELETE" else kept[name]

    def _create(self, job: dict[str, Any]) -> dict[str, Any]:
        name, template = job["metadata"]["name"], job["spec"]["template"]
        self.jobs[name] = {**job, "status": {"active": 1, "startTime": _now()}}
        self.pods[f"{name}-pod"] = {
            **template,
            "metadata": {
                **template["metadata"],
                "name": f"{name}-pod",
                "labels": {**template["metadata"]["labels"], "job-name": name},
            },
            "status": {"phase": "Running", "containerStatuses": [_container_status({"running": {}})]},
        }
        return self.jobs[name]


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[tuple[KubernetesApi, Path]]:
    """A running API, and the kubeconfig that leads to it."""
    api = KubernetesApi()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if api.hangs_up:
                self.close_connection = True
                return
            status, content = api.answer(self.command, self.path, body)
            sent = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _reply

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    config = folder / "kubeconfig.yaml"
    config.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_address[1]}")))
    try:
        yield api, config
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kubeconfig(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": address}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    }


def _selected(one: Mapping[str, Any], query: Mapping[str, list[str]]) -> bool:
    labels = dict(pair.split("=", 1) for text in query.get("labelSelector", []) for pair in text.split(","))
    fields = dict(pair.split("=", 1) for text in query.get("fieldSelector", []) for pair in text.split(","))
    about = one["metadata"]
    return (
        labels.items() <= about.get("labels", {}).items()
        and fields.get("metadata.name", about["name"]) == about["name"]
    )


def _container_status(state: Mapping[str, Any]) -> dict[str, Any]:
    running = "running" in state
    return {
        "name": "dagster",
        "image": "i",
        "imageID": "i",
        "ready": running,
        "restartCount": 0,
        "state": state,
    }


def _listed(items: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}


def _failure(code: int, message: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
