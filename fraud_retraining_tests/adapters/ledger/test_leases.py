"""The lease between real processes, on SQLite and on PostgreSQL: killed, stopped, competing, and cut off."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger.leases import Heartbeat
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.tables import LEASES
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.lease_rules import LeasePolicy
from fraud_retraining.domain.values.errors import Busy, Conflict, RecordAltered
from fraud_retraining_tests.support.lease_holders import PURPOSE, owner, write
from fraud_retraining_tests.support.ledgers import approved

if TYPE_CHECKING:
    from fraud_retraining_tests.support.databases import Cluster

pytest_plugins = ["fraud_retraining_tests.support.databases"]

LONG = LeasePolicy(expires_seconds=600)
SHORT = LeasePolicy(expires_seconds=1.5)

Child = subprocess.Popen
Spawn = Callable[..., Child]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def ledger(url: str) -> Ledger:
    fresh = Ledger(url)
    fresh.head()
    return fresh


@pytest.fixture
def spawn(url: str) -> Iterator[Spawn]:
    """Starts a process of its own that does what `lease_holders` says."""
    running: list[Child] = []

    def start(what: str, policy: LeasePolicy, run: str, *more: str) -> Child:
        module = "fraud_retraining_tests.support.lease_holders"
        command = [sys.executable, "-m", module, what, url, str(policy.expires_seconds), run, *more]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.communicate()


def heard(child: Child) -> str:
    assert child.stdout is not None
    return str(child.stdout.readline()).strip()


def until_stopped(child: Child) -> None:
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def soon(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_of_processes_that_ask_at_once_exactly_one_gets_it(ledger: Ledger, spawn: Spawn, tmp_path: Path) -> None:
    start = tmp_path / "start"
    children = [spawn("compete", LONG, f"run {number}", str(start)) for number in range(3)]
    assert [heard(child) for child in children] == ["ready"] * 3
    start.touch()
    answers = sorted(heard(child) for child in children)
    assert answers == ["Busy: another retrain is under way"] * 2 + ["took 1"]


def test_the_second_owner_is_refused_and_gets_the_lease_when_it_is_given_back(ledger: Ledger) -> None:
    leases = ledger.retrain_lease(LONG)
    first = leases.take(owner("a"), PURPOSE)
    with pytest.raises(Busy, match="run a"):
        leases.take(owner("b"), PURPOSE)
    assert leases.take(owner("a"), PURPOSE).token == first.token
    renewed = leases.renew(first)
    assert leases.holder() == renewed
    leases.give_back(first)
    leases.give_back(first)
    assert leases.holder() is None
    second = leases.take(owner("b"), PURPOSE)
    leases.give_back(first)
    assert (second.token, leases.holder()) == (2, second)


def test_models_that_share_a_database_do_not_wait_for_each_other(url: str) -> None:
    for model in ("cards", "transfers"):
        assert Ledger(url, model=model).retrain_lease(LONG).take(owner(model), PURPOSE).token == 1


def test_a_killed_owner_on_this_machine_is_not_waited_for(ledger: Ledger, spawn: Spawn) -> None:
    child = spawn("hold", LONG, "killed")
    assert heard(child) == "took 1"
    leases = ledger.retrain_lease(LONG)
    assert leases.abandoned() is None
    child.kill()
    child.wait()
    abandoned = leases.abandoned()
    assert abandoned is not None
    assert abandoned.owner is not None
    assert abandoned.owner.run_id == "killed"
    assert leases.take(owner("next"), PURPOSE).token == 2


def test_a_heartbeat_keeps_it_longer_than_it_lasts_and_its_end_lets_it_go(ledger: Ledger) -> None:
    leases = ledger.retrain_lease(SHORT)
    lease = leases.take(owner("a"), PURPOSE)
    heartbeat = Heartbeat(leases, lease)
    heartbeat.start()
    time.sleep(2 * SHORT.expires_seconds)
    heartbeat.require()
    with pytest.raises(Busy):
        leases.take(owner("b"), PURPOSE)
    heartbeat.stop()
    assert soon(lambda: leases.abandoned() is not None)
    with pytest.raises(Conflict, match="no sign of life"):
        leases.renew(lease)
    with pytest.raises(Conflict, match="gave no sign of life"):
        heartbeat.require()


@pytest.mark.parametrize(
    ("step", "taken_meanwhile"),
    [("register", True), ("promote", True), ("promote", False)],
    ids=["register, taken over", "promote, taken over", "promote, only expired"],
)
def test_a_worker_that_was_stopped_and_goes_on_is_refused(
    ledger: Ledger, spawn: Spawn, step: str, taken_meanwhile: bool
) -> None:
    approved(ledger, 1)
    before = ledger.head()
    child = spawn("write late", SHORT, "stopped", step)
    assert heard(child) == "took 1"
    until_stopped(child)
    leases = ledger.retrain_lease(SHORT)
    assert soon(lambda: leases.abandoned() is not None), "a stopped worker gives no sign of life"
    if taken_meanwhile:
        Heartbeat(leases, leases.take(owner("next"), PURPOSE)).start()
    child.send_signal(signal.SIGCONT)
    output = heard(child)
    assert output.startswith("Conflict: this retrain lost its lease"), output
    assert ("run next" in output) is taken_meanwhile
    assert ledger.head() == before, "nothing was written"


def test_with_the_lease_the_same_steps_are_taken(ledger: Ledger) -> None:
    approved(ledger, 1)
    lease = ledger.retrain_lease(LONG).take(owner("a"), PURPOSE)
    write(ledger, "register", lease)
    write(ledger, "promote", lease)
    assert [release.state for release in ledger.releases()] == ["promoting", "registered"]


class TestPostgresRestarts:
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def test_in_mid_heartbeat_and_neither_the_lease_nor_an_event_is_lost(
        self, ledger: Ledger, postgres: "Cluster"
    ) -> None:
        leases = ledger.retrain_lease(LeasePolicy(expires_seconds=18))
        lease = leases.take(owner("a"), PURPOSE)
        heartbeat = Heartbeat(leases, lease)
        heartbeat.start()
        postgres.stop()
        appending = threading.Thread(
            target=ledger.append, args=(EventKind.RETRAIN_REQUESTED,), kwargs={"actor": "while it was down"}
        )
        appending.start()
        time.sleep(1.5 * leases.policy.beat_seconds)
        postgres.start()
        appending.join()
        assert soon(lambda: getattr(leases.holder(), "seen_at", lease.seen_at) > lease.seen_at)
        heartbeat.stop()
        heartbeat.require()
        assert leases.renew(lease).token == lease.token
        assert [event.actor for event in ledger.events(EventKind.RETRAIN_REQUESTED)] == ["while it was down"]
        assert ledger.verify().ok


FORGED = {
    "an owner that is none": {"owner": "garbage"},
    "an owner of another form": {"owner": "[]"},
    "an owner without end": {"owner": "[" * 50_000},
    "an owner longer than any": {"owner": " " * 100_001},
    "a purpose that is none": {"detail": "x"},
    "a time that is none": {"expires_at": "soon"},
    "a time without a zone": {"expires_at": "2026-11-20T00:00:00"},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_row_that_cannot_be_read_is_named_with_its_remedy(tmp_path: Path, case: str) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    lease = ledger.retrain_lease(LONG)
    lease.take(owner("run-1"), PURPOSE)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/ledger.db")
    with engine.begin() as cn:
        cn.execute(LEASES.update().values(FORGED[case]))
    for ask in (lease.holder, lease.abandoned, lambda: lease.take(owner("run-2"), PURPOSE)):
        with pytest.raises(RecordAltered, match="the row of the lease 'retrain fraud_detector'") as refused:
            ask()
        assert "DELETE FROM leases WHERE name = 'retrain fraud_detector'" in str(refused.value)
    with engine.begin() as cn:
        cn.execute(sa.text("DELETE FROM leases WHERE name = 'retrain fraud_detector'"))
    engine.dispose()
    assert lease.holder() is None
    assert lease.take(owner("run-2"), PURPOSE).token == 1
