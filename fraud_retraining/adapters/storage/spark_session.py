"""A Spark session with our settings: what is fixed, what may be configured, and how its failures read.

Here: starting and stopping Spark, Java, and translating failures. Not here: what runs in it
(`adapters/storage/spark_days.py`).
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fraud_retraining.domain.data.engine_policy import FIXED_OPTIONS
from fraud_retraining.domain.values.errors import DependencyUnreachable, RetrainingError, SettingsError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LEAST_JAVA = 17
JAVA_SECONDS = 30
APPLICATION = "fraud_retraining"
GATEWAY = "PYSPARK_GATEWAY_PORT"
_MARK = "fraud_retraining-error:"
_VERSION = re.compile(r'version "(\d+)')

DEFAULTS = {
    # No open port that nobody asked for.
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.task.maxFailures": "4",
    "spark.stage.maxConsecutiveAttempts": "4",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.pyspark.fallback.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
}
LOCAL_DEFAULTS = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""On this machine alone nobody else has to reach the driver."""


class SparkOptions(NamedTuple):
    """How Spark is started: its master, options of the user, and a folder of this machine for what it spills.

    Without a master this process is a driver that spark-submit or a service has started, and said what it runs on.
    """

    master: str | None
    config: Mapping[str, str]
    scratch: Path


def java_version() -> int | None:
    """The major version of the Java that Spark would start; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stderr + done.stdout)
    return int(found[1]) if found else None


def require_spark() -> None:
    """Refuses to start without PySpark and a Java that it runs on.

    Raises:
        SettingsError: one of them is missing or too old.
    """
    from importlib.util import find_spec

    if find_spec("pyspark") is None:
        raise SettingsError(
            "engine.kind is spark, and PySpark is not installed",
            remedy='pip install "fraud_retraining[spark]", here and on every worker; or set engine.kind: duckdb.',
        )
    if GATEWAY in os.environ:
        # spark-submit has started this process, so its Java runs.
        return
    version = java_version()
    if version is None or version < LEAST_JAVA:
        found = "there is none" if version is None else f"this is Java {version}"
        raise SettingsError(
            f"engine.kind is spark, which needs Java {LEAST_JAVA} or later, and {found}",
            remedy="install a Java runtime (Debian: openjdk-17-jre-headless), or set JAVA_HOME; or set engine.kind: "
            "duckdb.",
        )


def options_of(options: SparkOptions) -> dict[str, str]:
    """Every option that Spark is started with, the user's above our defaults and below what is fixed."""
    own = {} if options.master is None else {"spark.local.dir": str(options.scratch)}
    chosen = {
        **DEFAULTS,
        **(LOCAL_DEFAULTS if _is_local(options) else {}),
        **own,
        "spark.sql.warehouse.dir": str(options.scratch / "warehouse"),
    }
    return {**chosen, **options.config, **FIXED_OPTIONS}


def _is_local(options: SparkOptions) -> bool:
    return options.master is not None and options.master.startswith("local")


def start_spark(options: SparkOptions) -> "SparkSession":
    """Start Spark.

    Raises:
        SettingsError: PySpark or Java is missing, or a session with other options runs in this process.
        DependencyUnreachable: the master does not answer.
    """
    require_spark()
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    # Workers have to run the Python that this program runs in: values go to them by pickle.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    # Otherwise Spark announces itself by the name of this machine, which need not resolve.
    if _is_local(options):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    options.scratch.mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName(APPLICATION)
    if options.master is not None:
        builder = builder.master(options.master)
    where = options.master or "the master of spark-submit"
    for name, value in options_of(options).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise DependencyUnreachable(
            f"Spark at {where} could not be started",
            culprits=[_first_line(error)],
            remedy="look at engine.master and engine.config; fraud-retraining doctor says what is missing.",
        ) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "py4j":
            raise
        raise DependencyUnreachable(f"Spark at {where} could not be started", culprits=[_first_line(error)]) from error
    return session


def carried(error: RetrainingError) -> RuntimeError:
    """A failure of ours on a worker, in a form that reaches the driver through Java."""
    return RuntimeError(_MARK + b64encode(pickle.dumps(error)).decode() + ":")


@contextmanager
def translated() -> Iterator[None]:
    """Failures of Spark as ours.

    Raises:
        RetrainingError: what a worker raised.
        DependencyUnreachable: Spark gave up, after its own attempts: a worker was lost, or ran out of memory or disk.
    """
    try:
        yield
    except RetrainingError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("py4j", "pyspark"):
            raise
        said = str(error)
        if (found := re.search(re.escape(_MARK) + r"([A-Za-z0-9+/=]+):", said)) is not None:
            # Our own workers wrote it, and Spark carries it over its authenticated channels.
            raise pickle.loads(b64decode(found[1])) from error
        if not _is_loss(said, error):
            raise
        raise DependencyUnreachable(
            "Spark gave the work up after its attempts",
            culprits=[_reason(said)],
            remedy="nothing of it was published; run it again. If workers ran out of memory, give them more "
            "(spark.executor.memory, spark.executor.memoryOverhead in engine.config) or fewer cores.",
        ) from error


def is_gone(session: "SparkSession", wait_seconds: float = 0) -> bool:
    """Whether the Java process of a session has ended, or ends within a time: killed, or out of memory."""
    process = getattr(session.sparkContext._gateway, "proc", None)
    if process is None:
        return False
    try:
        process.wait(wait_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def forget_session() -> None:
    """Lets the next session of this process start a Java process of its own, once that of the last has ended."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    # PySpark keeps what it has started in its classes, and would talk to the dead process for ever.
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


_LOSSES = (
    "ExecutorLostFailure",
    "Python worker exited unexpectedly",
    "exited unexpectedly",
    "OutOfMemoryError",
    "No space left on device",
    "SparkContext was shut down",
    "Master removed our application",
    "All masters are unresponsive",
    "Connection refused",
    "Connection reset",
    "FetchFailed",
    "cancelled",
)


def _is_loss(said: str, error: Exception) -> bool:
    return type(error).__name__ == "Py4JNetworkError" or any(sign in said for sign in _LOSSES)


def _reason(said: str) -> str:
    found = next((line for line in said.splitlines() if any(sign in line for sign in _LOSSES)), said)
    return found.strip().split("\n", 1)[0][:500]


def _first_line(error: Any) -> str:
    return str(error).strip().split("\n", 1)[0][:500]
