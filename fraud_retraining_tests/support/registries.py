"""Real MLflow for the tests: one migrated SQLite store, a tracking server on it, and a proxy that loses replies."""

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
import pyarrow as pa

from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.training.fingerprint import Fingerprint, fingerprint
from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import (
    HoldoutPolicy,
    RollingWindow,
    TrainingWindow,
    WindowDay,
    window_days,
)
from fraud_retraining.domain.values.days import DayRange

FEATURES = ("amount", "count", "city")
AS_OF = date(2018, 8, 1)
PARAMS = {
    "xgboost": {
        "n_estimators": 5,
        "max_depth": 3,
        "learning_rate": 0.3,
        "colsample_bytree": 1.0,
        "min_child_weight": 1.0,
    },
    "lightgbm": {"num_iterations": 5, "learning_rate": 0.3, "feature_fraction": 1.0},
    "catboost": {"iterations": 5, "learning_rate": 0.3, "rsm": 1.0},
    "hist_gradient_boosting": {"max_iter": 5},
    "logistic_regression": {},
}


@cache
def rows() -> pa.Table:
    random = np.random.default_rng(0)
    amount = random.gamma(2, 50, 1500)
    return pa.table(
        {
            "amount": amount,
            "count": random.integers(0, 9, 1500).astype(np.float32),
            "city": random.choice(["ash", "birch"], 1500).tolist(),
            "is_fraud": (amount + 20 * random.standard_normal(1500) > 200).astype(np.int8),
        }
    )


@cache
def fitted(estimator: str = "xgboost") -> FittedModel:
    policy = ModelPolicy(estimator=estimator, params=PARAMS[estimator], threads=1)
    return fit(policy, FEATURES, ("city",), lambda: iter(rows().to_batches()))


def a_window() -> TrainingWindow:
    days = window_days(AS_OF, RollingWindow(days=3), HoldoutPolicy(days=2), LabelPolicy())

    def pinned(these: DayRange) -> tuple[WindowDay, ...]:
        return tuple(
            WindowDay(day=day, digest=f"{day}", features_digest=f"f{day}", rows=500, frauds=20) for day in these
        )

    return TrainingWindow(
        days=days,
        label_delay_days=7,
        training=pinned(days.training),
        holdout=pinned(days.holdout),
        features=FEATURES,
        categorical=("city",),
        features_policy="policy",
    )


def a_fingerprint() -> Fingerprint:
    """A fingerprint that nothing else has."""
    return fingerprint(a_window(), model=ModelPolicy(), code=uuid4().hex, libraries={})


def registry_at(uri: str, folder: Path | None = None, timeout_seconds: float = 30) -> Registry:
    """A registry with an experiment and a registered model of its own."""
    name = uuid4().hex[:8]
    return Registry(uri, f"test-{name}", f"fraud_{name}", artifact_root=folder, timeout_seconds=timeout_seconds)


@cache
def _migrated() -> TemporaryDirectory:
    """A fresh store, migrated once per test process, which costs seconds; it goes with the process."""
    folder = TemporaryDirectory(prefix="mlflow-template-")
    Registry(f"sqlite:///{folder.name}/mlflow.db", "unused", "unused").champion()
    return folder


def store_in(folder: Path) -> str:
    """The URI of a migrated SQLite store of its own."""
    shutil.copyfile(Path(_migrated().name) / "mlflow.db", folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SERVE = """
from mlflow.server import app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", {}, app, threaded=True)
"""


@contextmanager
def tracking_server(store: str, artifacts: Path, log: Path) -> Iterator[str]:
    """MLflow's server application over a store, in a process of its own, with artifacts through the server."""
    port = free_port()
    with serving_at(port, store, artifacts, log):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving_at(port: int, store: str, artifacts: Path, log: Path) -> Iterator[subprocess.Popen]:
    """That server's process, on a port that can be served again.

    `mlflow server` starts the same application after some 15 s of imports for what is not tested here.
    """
    environment = {
        **os.environ,
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(port)],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment,
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise AssertionError(f"mlflow server did not start: {log.read_text()[-2000:]}")


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A small HTTP server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def losing_replies(target: str, path: str, times: int) -> type[BaseHTTPRequestHandler]:
    """A proxy that passes everything on, but hangs up instead of answering the first `times` requests to `path`."""
    lost: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            request = urllib.request.Request(target + self.path, body, headers, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    status, content = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                status, content = error.code, error.read()
            if path in self.path and len(lost) < times:
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    return Proxy
