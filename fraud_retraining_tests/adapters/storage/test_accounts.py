"""The operating-system account of a process."""

import os
import pwd
import subprocess
import sys

import pytest

from fraud_retraining.adapters.storage.accounts import account

NAMELESS = 4_000_000_123


def test_the_account_is_the_system_s_not_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "mallory")
    monkeypatch.setenv("LOGNAME", "mallory")
    assert account() == pwd.getpwuid(os.getuid()).pw_name != "mallory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another account")
def test_an_account_without_a_name_has_none() -> None:
    code = (
        "import os; from fraud_retraining.adapters.storage.accounts import account; "
        f"os.setuid({NAMELESS}); print(account())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
