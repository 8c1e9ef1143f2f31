"""Progress on a terminal and without one."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from fraud_retraining.commands.support.progress import RichProgress


def test_a_terminal_shows_at_once_that_something_runs_and_is_left_in_order() -> None:
    """Libraries take seconds to load, and a time limit may end the command before its first unit of work."""
    program = (
        "import time, typer\n"
        "from fraud_retraining.commands.support.failures import reported_failures\n"
        "from fraud_retraining.commands.support.progress import RichProgress\n"
        "def load():\n"
        "    with reported_failures(as_json=False), RichProgress():\n"
        "        time.sleep(60)\n"
        "typer.run(load)\n"
    )
    seen, code = in_terminal([sys.executable, "-c", program], until=b"starting")
    assert code == 130 and b"starting" in seen
    shown, back, after = seen.rpartition(b"\x1b[?25h")
    assert shown and back and b"\x1b[?25l" not in after, "the cursor is back"
    assert b"interrupted" in seen


def in_terminal(command: list[str], until: bytes) -> tuple[bytes, int]:
    """What a command writes to a terminal that ends it, as time limits do, once `until` was seen; and its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    with suppress(OSError):
        while piece := os.read(ours, 4096):
            seen += piece
            if until in seen:
                process.terminate()
                until = b"never again"
    os.close(ours)
    return seen, process.wait(timeout=30)


def test_without_a_terminal_a_long_task_has_a_line_at_its_middle_and_one_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RichProgress() as progress:
        for task, total in (("fraud_model", 11), ("ingest", 2)):
            progress.start(task, total)
            for done in range(1, total + 1):
                progress.advance(task, done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["fraud_model: 6 of 11", "fraud_model: 11 of 11", "ingest: 2 of 2"]
