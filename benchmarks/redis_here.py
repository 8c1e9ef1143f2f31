"""A Redis of its own for a benchmark: on a free port of this machine, in a folder that goes with it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("redis-server", "valkey-server")


class Redis(NamedTuple):
    """Where it listens, and its process."""

    port: int
    process: int

    @property
    def url(self) -> str:
        """Its address, as the settings have it."""
        return f"redis://127.0.0.1:{self.port}/0"


def program() -> str | None:
    """The program of a Redis; None where none is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """A Redis that keeps nothing on disk, as soon as it answers."""
    found = program()
    assert found is not None, "a Redis is installed"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([found, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < until, f"{found} does not answer"
            time.sleep(0.05)
        yield Redis(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith(b"+PONG")
    except OSError:
        return False
