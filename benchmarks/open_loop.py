"""A client that sends requests at given moments, whatever the answers take, and says what each one took.

Here: one thread over a few connections that stay open, so that the client takes little of the processors that it
shares with what it measures. Not here: which servers are asked, and with what.

The moments are those of independent clients (a Poisson process), from a seed: every server meets the same ones. Time
counts from the moment at which a request was due, so that a server that falls behind cannot slow down
the clock; that a connection was not free is waited for, and counts.

    python -m benchmarks.open_loop --step 8090 /score FILE [--step PORT PATH FILE] [--rate 200] [--seconds 30]

FILE holds the bodies of requests, a line each. With several steps a request asks one server after the other, and its
time ends with the last answer. Prints one JSON object.
"""

import argparse
import json
import random
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONNECTIONS = 16
SEED = 7
PATIENCE = 60.0
"""Seconds after the last moment, in which every answer has to be there."""
SPIN = 0.0002
"""Seconds before a moment from which on the client watches the clock, as a timer may be that late."""


@dataclass
class _Connection:
    """A connection to the server of each step, and the moment at which the request that it waits for was due."""

    sockets: list[socket.socket]
    due: float = 0.0
    left: list[tuple[socket.socket, bytes]] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)

    def send(self, request: Sequence[bytes], due: float) -> None:
        self.due = due
        self.left = list(zip(self.sockets, request, strict=True))
        self._ask()

    def _ask(self) -> None:
        self.received.clear()
        line, request = self.left[0]
        line.sendall(request)

    def answered(self) -> int | None:
        """The status of an answer that is whole now, or of one that ended the steps early; None while there is none."""
        status = self._status()
        if status is None:
            return None
        del self.left[0]
        if self.left and status == 200:
            self._ask()
            return None
        return status

    def _status(self) -> int | None:
        part = self.left[0][0].recv(65_536)
        if not part:
            raise ConnectionResetError("the server closed a connection in the middle of an answer")
        self.received += part
        head, end, body = bytes(self.received).partition(b"\r\n\r\n")
        if not end:
            return None
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head[9:12]) if len(body) >= length else None


def main() -> int:
    """Sends the requests; exit code 0."""
    options = _options()
    steps = [
        [_request(path, body) for body in Path(bodies).read_bytes().splitlines()] for _, path, bodies in options.step
    ]
    connections = [_Connection([_line(int(port)) for port, _, _ in options.step]) for _ in range(CONNECTIONS)]
    cpu, began = time.process_time(), time.perf_counter()
    times, statuses = _load(connections, steps, list(_moments(options.rate, options.seconds)))
    took = time.perf_counter() - began
    found = {
        "milliseconds": [round(one * 1000, 3) for one in times],
        "statuses": dict(statuses),
        "cpu_share": (time.process_time() - cpu) / took,
        "seconds": took,
    }
    print(json.dumps(found))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", nargs=3, action="append", required=True, metavar=("PORT", "PATH", "FILE"))
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    return parser.parse_args()


def _line(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _moments(rate: float, seconds: float) -> Iterator[float]:
    rng, moment = random.Random(SEED), 0.0
    while (moment := moment + rng.expovariate(rate)) < seconds:
        yield moment


def _load(
    connections: Sequence[_Connection], steps: Sequence[Sequence[bytes]], moments: Sequence[float]
) -> tuple[list[float], Counter[int]]:
    """Time and status of every answer, in the order in which they came."""
    idle, late = deque(connections), deque[tuple[float, list[bytes]]]()
    times: list[float] = []
    statuses: Counter[int] = Counter()
    began, sent = time.perf_counter(), 0
    with selectors.DefaultSelector() as selector:
        for one in connections:
            for line in one.sockets:
                selector.register(line, selectors.EVENT_READ, one)
        while len(times) < len(moments):
            now = time.perf_counter() - began
            while sent < len(moments) and moments[sent] <= now:
                late.append((began + moments[sent], [bodies[sent % len(bodies)] for bodies in steps]))
                sent += 1
            while late and idle:
                due, request = late.popleft()
                idle.popleft().send(request, due)
            if now > moments[-1] + PATIENCE:
                raise TimeoutError(f"{len(moments) - len(times)} of {len(moments)} requests had no answer")
            wait = moments[sent] - (time.perf_counter() - began) - SPIN if sent < len(moments) else 1.0
            for key, _ in selector.select(max(0.0, wait)):
                status = key.data.answered()
                if status is not None:
                    times.append(time.perf_counter() - key.data.due)
                    statuses[status] += 1
                    idle.append(key.data)
    return times, statuses


# ---------------------------------------------------------------- for benchmarks


@dataclass(frozen=True)
class Load:
    """What requests took, in milliseconds in rising order, and the processors' time meanwhile, in processors."""

    milliseconds: Sequence[float]
    statuses: Mapping[str, int]
    client_cpu: float
    server_cpu: float

    def percentile(self, share: float) -> float:
        """The time that a share of the requests did not exceed, in milliseconds."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * share))]

    def __str__(self) -> str:
        refused = sum(count for status, count in self.statuses.items() if status != "200")
        return (
            f"p50 {self.percentile(0.5):.2f} ms, p99 {self.percentile(0.99):.2f} ms, p99.9 "
            f"{self.percentile(0.999):.1f} ms, longest {self.milliseconds[-1]:.0f} ms; {len(self.milliseconds):,} "
            f"requests, {refused} of them refused; processors: server {self.server_cpu:.2f}, client "
            f"{self.client_cpu:.2f}"
        )


def load(steps: Sequence[tuple[int, str, Path]], rate: float, seconds: float, servers: Sequence[int]) -> Load:
    """Sends requests from a process of its own.

    Args:
        steps: port of this machine, path, and a file of bodies, a line each; asked one after the other.
        rate: requests a second.
        seconds: how long.
        servers: ids of the processes that answer; their children count too.
    """
    before, began = _cpu_seconds(servers), time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.open_loop", "--rate", str(rate), "--seconds", str(seconds)]
    for port, path, bodies in steps:
        command += ["--step", str(port), path, str(bodies)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = (_cpu_seconds(servers) - before) / (time.perf_counter() - began)
    return Load(sorted(found["milliseconds"]), found["statuses"], found["cpu_share"], used)


def _cpu_seconds(servers: Sequence[int]) -> float:
    """Seconds of processors that processes and their children took so far, as Linux counts them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    counted, todo = 0, list(servers)
    while todo:
        one = todo.pop()
        counted += parents.get(one, (0, 0))[1]
        todo += [child for child, (parent, _) in parents.items() if parent == one]
    return counted / 100


if __name__ == "__main__":
    sys.exit(main())
