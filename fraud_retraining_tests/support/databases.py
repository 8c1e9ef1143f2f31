"""Databases for tests: SQLite files, and a throw-away PostgreSQL cluster on a free loopback port.

To be named in a test module's `pytest_plugins`.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fraud_retraining.adapters.ledger.ledger import Ledger

PASSWORD = "p@ss/word of the tests"
START_SECONDS = 60


def binaries() -> Path | None:
    """The folder that holds initdb and pg_ctl: on the path, or where Debian and Red Hat put them."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


def unprivileged() -> dict[str, int]:
    """How to start a server as another user than root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    known = {account.pw_name: account for account in pwd.getpwall()}
    account = known.get("postgres") or known.get("nobody")
    if account is None:
        pytest.skip("PostgreSQL does not run as root and there is no other account")
    return {"user": account.pw_uid, "group": account.pw_gid}


class Cluster:
    """A running server that can be restarted."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.port = _free_port()
        self._as = unprivileged()
        if self._as:
            os.chown(folder, self._as["user"], self._as["group"])

    def create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        os.chmod(secret, 0o644)
        auth = ["--auth=scram-sha-256", "--username=ledger", f"--pwfile={secret}"]
        self._run("initdb", "-D", self._data, "-E", "UTF8", "--no-locale", "--no-sync", *auth)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", "-t", str(START_SECONDS), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    @property
    def url(self) -> str:
        from sqlalchemy import URL

        url = URL.create("postgresql", "ledger", PASSWORD, "127.0.0.1", self.port, "postgres")
        return url.render_as_string(hide_password=False)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        environment = {**os.environ, "LC_ALL": "C"}
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * START_SECONDS,
            check=False,
            user=self._as.get("user"),
            group=self._as.get("group"),
        )
        assert done.returncode == 0, f"{program} failed: {done.stderr}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running server; skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'fraud-retraining[postgres]'")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="fraud-retraining-postgres-"))
    cluster = Cluster(folder, programs)
    try:
        cluster.create()
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Cluster) -> str:
    """A fresh schema on that server."""
    import sqlalchemy as sa

    schema = f"ledger_{uuid4().hex[:12]}"
    engine = sa.create_engine(sa.make_url(postgres.url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    url = sa.make_url(postgres.url).set(query={"options": f"-csearch_path={schema}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """The same tests run on both kinds of database."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return Ledger(ledger_url)
