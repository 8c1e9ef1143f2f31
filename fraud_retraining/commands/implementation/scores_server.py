"""The server that scores transactions, set up from the settings.

Not here: what the app answers (`serving/score_app.py`) and scoring (`services/live_scoring.py`).
"""

import ipaddress
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from fraud_retraining.adapters.online.published_state import PublishedState
from fraud_retraining.adapters.online.redis_server import RedisServer
from fraud_retraining.adapters.online.redis_states import RedisStates
from fraud_retraining.adapters.online.serving_log import ServingLog
from fraud_retraining.commands.implementation.listening import listening_socket
from fraud_retraining.commands.implementation.worker_processes import run_processes
from fraud_retraining.domain.data.segments import SHARED
from fraud_retraining.domain.features.live import LiveStates
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.serving.policy import ServingPolicy
from fraud_retraining.domain.serving.segment_rows import ServedSegment
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import (
    open_ledger,
    open_own_location,
    open_registry,
    open_store,
    require_signing_key,
)
from fraud_retraining.orchestration.state.inventory import Recipes
from fraud_retraining.services.live_scoring import LiveScorer
from fraud_retraining.serving.score_app import build_app
from fraud_retraining.settings import Settings

if TYPE_CHECKING:
    from uvicorn import Server

ONLINE = "online"
"""The folder under the home that holds copies of states, and the journal of what was scored."""
SWITCH_SECONDS = 0.0005
"""How long a thread that follows or flushes may keep a request waiting, each time that this needs the interpreter."""


def scorer_of(settings: Settings) -> LiveScorer:
    """The scorer that these settings describe; nothing is loaded yet."""
    # A scorer of one of several models has its own journal: its answers go to the monitoring of that model.
    plan, folder = settings.feature_plan, settings.home / ONLINE / settings.segment
    version = Recipes(settings).feature_version
    store, ledger = open_own_location(settings), open_ledger(settings)
    return LiveScorer(
        plan,
        settings.mapping,
        settings.serving,
        registry=open_registry(settings),
        ledger=ledger,
        states=PublishedState(open_store(settings), ledger, folder / "states", plan, version, _publishers(settings)),
        kept=_kept_states(settings, plan, version),
        open_log=lambda key_types: ServingLog(store, folder / "journal", plan, _process_name(), key_types),
        feature_version=version,
        segment=ServedSegment(settings.model.name, settings.segment_where),
    )


def _publishers(settings: Settings) -> set[str]:
    """Under whose names the ledger may have the published state: what was one model may be several now, or the other
    way round."""
    return {SHARED, settings.model.name, settings.shared.model.name}


def _kept_states(settings: Settings, plan: FeaturePlan, version: str) -> LiveStates:
    policy = settings.serving
    if policy.state_store == "redis" and policy.redis_url:
        return RedisStates(plan, RedisServer(policy.redis_url, policy.redis_timeout_seconds), version)
    return LocalStates(plan)


def serve(settings: Settings, host: str, port: int, notify: Callable[[str], None], processes: int = 1) -> None:
    """Serve until interrupted; then requests under way are answered, and the serving log is moved to the store.

    Several processes listen at one socket, and each has its own connection to Redis, its own champion and its own log.

    Raises:
        SettingsError: the address cannot be listened at, others than this machine could ask without a key, or several
            processes would each know a part of the day; or it could not sign what it adds to the ledger.
    """
    if processes > 1 and settings.serving.state_store != "redis":
        raise SettingsError(
            f"{processes} processes would each know a part of the day's transactions",
            remedy="set serving.state_store: redis, or serve with one process.",
        )
    if not settings.serving.api_keys and not _only_this_machine(host):
        raise SettingsError(
            f"anybody who reaches {host} could have transactions scored",
            remedy="put the SHA-256 of a key of your choice into serving.api_keys, or listen at 127.0.0.1.",
        )
    require_signing_key(settings)
    with listening_socket(host, port) as listening:
        if processes == 1:
            _serve(settings, listening, notify)
        else:
            notify(_address(listening))
            run_processes(processes, _serve, settings, listening)


def _serve(settings: Settings, listening: socket.socket, notify: Callable[[str], None] | None = None) -> None:
    """Serve at a socket until this process is terminated."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with _server(settings, listening, own_process=True) as server:
        if notify is not None:
            notify(_address(listening))
        # uvicorn answers what is under way, and raises the signal again; ended by it, nothing could be flushed.
        signal.signal(signal.SIGTERM, lambda *_: None)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The address of a scorer on a free port of this machine, which runs in a thread as long as the block."""
    with listening_socket("127.0.0.1", 0) as listening, _server(settings, listening) as server:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield _address(listening)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _server(settings: Settings, listening: socket.socket, *, own_process: bool = False) -> Iterator["Server"]:
    """The server of a scorer that follows champion and state; afterwards its log is in the store."""
    import uvicorn

    from fraud_retraining.serving.limits import server_config

    scorer, policy = scorer_of(settings), settings.serving
    scorer.follow()
    with following(scorer, policy, own_process=own_process):
        yield uvicorn.Server(server_config(build_app(scorer, settings.mapping), *listening.getsockname()[:2]))


@contextmanager
def following(scorer: LiveScorer, policy: ServingPolicy, *, own_process: bool = False) -> Iterator[None]:
    """Follow champion and state, and move the log to the store, as long as the block runs; at its end all of it.

    Where the process is the scorer's own, garbage is collected here too, before it takes long.
    """

    def follow() -> None:
        scorer.follow()
        if own_process:
            scorer.set_aside()

    if own_process:
        scorer.set_aside()
    with _repeating(follow, policy.follow_seconds), _repeating(scorer.flush, policy.flush_seconds):
        yield
    scorer.flush(last=True)


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _process_name() -> str:
    """A name that no other process has or had."""
    return f"{re.sub('[^A-Za-z0-9.-]', '-', socket.gethostname())[:60]}-{os.getpid()}-{time.time_ns():x}".lstrip("-.")


def _only_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _repeating(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something every so often in a thread of its own, as long as the block runs."""
    done = Event()

    def repeat() -> None:
        while not done.wait(seconds):
            work()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
