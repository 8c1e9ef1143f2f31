"""Whether a process has ended: only a certain answer counts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fraud_retraining.adapters.ledger.processes import has_ended, this_process
from fraud_retraining.domain.retraining.lease_rules import Process

ASK = (
    "from fraud_retraining.adapters.ledger.processes import this_process; "
    "print(this_process().model_dump_json(), flush=True)"
)
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/ns"), reason="only Linux tells")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process that has said who it is and waits."""
    command = [sys.executable, "-c", f"{ASK}; import time; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def identity(child: "subprocess.Popen[str]") -> Process:
    assert child.stdout is not None
    return Process.model_validate_json(child.stdout.readline())


def test_this_one_and_a_running_one_have_not(child: "subprocess.Popen[str]") -> None:
    other = identity(child)
    assert other.pid == child.pid
    assert not has_ended(other)
    assert not has_ended(this_process())


def test_a_stopped_one_has_not(child: "subprocess.Popen[str]") -> None:
    other = identity(child)
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert not has_ended(other)


def test_a_killed_process_has_ended_even_before_it_is_waited_for(child: "subprocess.Popen[str]") -> None:
    other = identity(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(other), "its number still stands for what is left of it"
    child.wait()
    assert has_ended(other)


def test_another_process_under_the_same_number_is_another_one() -> None:
    assert has_ended(this_process().model_copy(update={"started": "1"}))


@pytest.mark.parametrize("machine", ["", "another boot/pid:[1]"], ids=["unknown", "another machine"])
def test_one_of_another_machine_may_live(machine: str) -> None:
    assert not has_ended(Process(host="elsewhere", pid=2**22 - 1, machine=machine, started="1"))
