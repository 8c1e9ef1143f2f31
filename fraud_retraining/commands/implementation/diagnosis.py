"""Checks of an installation, each within a time limit, and what they found.

Here: a check, its finding, and running them all. Not here: the checks themselves (`machine_checks.py`,
`dependency_checks.py`) and how findings are printed (`commands/doctor.py`).
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import DependencyUnreachable, RetrainingError
from fraud_retraining.domain.values.redaction import BLANK, is_secret_name, redact

GRACE_SECONDS = 2.0
"""A dependency gives up by its own deadline, with a better message, before its check is given up."""
LEAST_SECRET = 6
"""Shorter values of the environment are no secrets that could be told from other words."""

FOLDERS = ("PWD", "OLDPWD")
"""Variables whose names look like those of passwords."""


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Answer(NamedTuple):
    """What a check found, and what to do about it; `exit_code` is that of the same failure elsewhere."""

    state: State
    found: str
    remedy: str = ""
    exit_code: int = 0


def ok(found: str) -> Answer:
    """Nothing to do."""
    return Answer(State.OK, found)


def warn(found: str, remedy: str) -> Answer:
    """Something that works, and that an operator should look at."""
    return Answer(State.WARN, found, remedy)


def fail(found: str, remedy: str, kind: type[RetrainingError]) -> Answer:
    """Something that a retrain would fail of, with the kind of that failure."""
    return Answer(State.FAIL, found, remedy, kind.exit_code)


def failed(error: RetrainingError) -> Answer:
    """A known failure as the finding of a check."""
    return Answer(State.FAIL, "; ".join([error.what, *error.culprits]), error.remedy, error.exit_code)


class Check(NamedTuple):
    """A named question; a failure that it raises is its finding."""

    name: str
    ask: Callable[[], Answer]


class Finding(Value):
    """The row of one check."""

    check: str
    state: State
    found: str
    remedy: str = ""


class Diagnosis(Value):
    """The findings of all checks, in their order."""

    checks: tuple[Finding, ...]
    exit_code: int = Field(description="0, or the code of the first check that failed.")

    @property
    def summary(self) -> str:
        """How many checks came out how."""
        states = [finding.state for finding in self.checks]
        return ", ".join(f"{states.count(state)} {state}" for state in State if state in states)


def diagnose(checks: Iterable[Check], seconds: float, environment: Mapping[str, str] = os.environ) -> Diagnosis:
    """Ask each check, one after the other; one that fails or is late stops no other one.

    Args:
        checks: in the order of the table.
        seconds: longest that one check may take.
        environment: values of its variables that are secrets by name appear in no finding.
    """
    answers = [(check.name, _answer(check, seconds)) for check in checks]
    secrets = sorted(
        (
            value
            for name, value in environment.items()
            if is_secret_name(name) and name not in FOLDERS and len(value) >= LEAST_SECRET
        ),
        key=len,
        reverse=True,
    )
    findings = tuple(
        Finding(
            check=name,
            state=answer.state,
            found=_without(secrets, answer.found),
            remedy=_without(secrets, answer.remedy),
        )
        for name, answer in answers
    )
    failed = [answer.exit_code for _, answer in answers if answer.state is State.FAIL]
    return Diagnosis(checks=findings, exit_code=failed[0] if failed else 0)


def _answer(check: Check, seconds: float) -> Answer:
    answers: list[Answer] = []
    # A daemon: a call that never returns, as into a dead network drive, must not keep this process alive.
    thread = threading.Thread(target=lambda: answers.append(_asked(check)), daemon=True, name=f"check {check.name}")
    thread.start()
    thread.join(seconds + GRACE_SECONDS)
    if not answers:
        return fail(
            f"no answer within {seconds:g} s",
            "see whether it can be reached from this machine; --timeout gives it longer.",
            DependencyUnreachable,
        )
    return answers[0]


def _asked(check: Check) -> Answer:
    try:
        return check.ask()
    except RetrainingError as error:
        return failed(error)
    # A check that breaks is a finding as well: the others still have to be asked.
    except Exception as error:  # noqa: BLE001
        return Answer(
            State.FAIL,
            f"unexpected: {type(error).__name__}: {error}",
            "look at what the message names; report it where it is a fault of this software.",
            RetrainingError.exit_code,
        )


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, BLANK)
    return redact(text)
