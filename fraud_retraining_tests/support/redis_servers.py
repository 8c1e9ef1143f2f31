"""A throw-away Redis on a free loopback port.

To be named in a test module's `pytest_plugins`.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "p@ss/word of the tests"
START_SECONDS = 20


class RedisProcess:
    """A server with a password that can be stopped, paused and started again, empty each time."""

    def __init__(self, folder: Path, program: str) -> None:
        self._folder, self._program = folder, program
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/1"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        secret = self._folder / "redis.conf"
        secret.write_text(f'requirepass "{PASSWORD}"\n')
        self._process = subprocess.Popen(
            [self._program, str(secret), *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        for _ in range(START_SECONDS * 20):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("Redis does not start")

    def stop(self) -> None:
        """Ends it at once; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisProcess]:
    """A running server, whose password is in the environment."""
    pytest.importorskip("redis", reason="the extra `redis` is not installed")
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server on the path: install the package redis-server to run this test")
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisProcess(folder, program)
    server.start()
    try:
        yield server
    finally:
        server.stop()
