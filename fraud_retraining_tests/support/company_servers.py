"""The servers of a payments company, as `deploy/servers` starts them: PostgreSQL, S3, and MLflow over TLS with users.

To be named in a test module's `pytest_plugins`, with `databases` beside it.
"""

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import psycopg
import pytest
from sqlalchemy import make_url

from fraud_retraining_tests.support.databases import Cluster
from fraud_retraining_tests.support.registries import free_port

SERVERS = Path(__file__).resolve().parents[2] / "deploy" / "servers"
ADMIN_PASSWORD = "an administrator of the tests"
HOST = "localhost"
"""A name, as clients of a company use one: MLflow refuses names that it was not told."""
PIPELINE, PASSWORD = "pipeline", "a pipeline of the tests"
AWS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class CompanyServers:
    """Addresses and credentials; MLflow's artifacts lie in a bucket that only its server reaches, `backend` is its
    database."""

    postgres: Cluster
    s3_endpoint: str
    mlflow: str
    certificate: Path
    artifacts: str
    backend: str

    def mlflow_environment(self) -> dict[str, str]:
        """What a client of MLflow's server needs."""
        return {
            "MLFLOW_TRACKING_USERNAME": PIPELINE,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.certificate),
        }

    def environment(self) -> dict[str, str]:
        """What the processes of the pipeline are given, with databases of their own."""
        return {
            **AWS,
            "DAGSTER_HOME": str(SERVERS),
            "DAGSTER_POSTGRES_URL": self.database("postgresql+psycopg2"),
            "FRAUD_RETRAINING_LEDGER__URL": self.database("postgresql"),
            "FRAUD_RETRAINING_MLFLOW__TRACKING_URI": self.mlflow,
            **self.mlflow_environment(),
        }

    def database(self, scheme: str) -> str:
        """The URL of a new, empty database."""
        return new_database(self.postgres, scheme)


def new_database(postgres: Cluster, scheme: str) -> str:
    """The URL of a new, empty database of a cluster."""
    name = f"db_{uuid4().hex[:12]}"
    url = make_url(postgres.url)
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database, autocommit=True
    ) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = url.set(database=name, drivername=scheme)
    return url.render_as_string(hide_password=False)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate of `HOST` that nobody else signed, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return certificate, secret


@pytest.fixture(scope="session")
def company_servers(
    postgres: Cluster, s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CompanyServers]:
    """All of them, running; MLflow is started by the documented command."""
    folder = tmp_path_factory.mktemp("company")
    bucket = f"models-{uuid4().hex[:12]}"
    keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=s3_endpoint, **keys).create_bucket(Bucket=bucket)
    certificate, key = certificate_in(folder)
    port, backend = free_port(), new_database(postgres, "postgresql+psycopg2")
    environment = {
        **os.environ,
        **AWS,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_S3_ENDPOINT_URL": s3_endpoint,
        "MLFLOW_BACKEND_STORE_URI": backend,
        "MLFLOW_USERS_DATABASE_URI": new_database(postgres, "postgresql+psycopg2"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket}/artifacts",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": uuid4().hex,
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "MLFLOW_TLS_CERTIFICATE": str(certificate),
        "MLFLOW_TLS_KEY": str(key),
        "MLFLOW_PORT": str(port),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST},{HOST}:{port}",
        "MLFLOW_WORKERS": "1",
    }
    log = folder / "mlflow.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(SERVERS / "mlflow.sh")],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    url = f"https://{HOST}:{port}"
    try:
        _wait_until_healthy(f"{url}/health", certificate, process, log)
        _create_user(url, certificate)
        yield CompanyServers(postgres, s3_endpoint, url, certificate, f"s3://{bucket}/artifacts", backend)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        # Connections that tests left open may keep it; with all that it started, so that nothing stays.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(
    url: str, certificate: Path, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 180
) -> None:
    trusted = ssl.create_default_context(cafile=certificate)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2, context=trusted):
            return
        time.sleep(0.2)
    raise AssertionError(f"mlflow server did not start: {log.read_text()[-2000:]}")


def _create_user(url: str, certificate: Path) -> None:
    import requests

    made = requests.post(
        f"{url}/api/2.0/mlflow/users/create",
        json={"username": PIPELINE, "password": PASSWORD},
        auth=("admin", ADMIN_PASSWORD),
        verify=str(certificate),
        timeout=30,
    )
    assert made.ok, made.text
