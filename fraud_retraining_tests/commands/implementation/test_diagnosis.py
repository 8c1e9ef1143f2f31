"""Checks that are late, break or fail stop no other check, and their findings hold no secret."""

import time

from fraud_retraining.commands.implementation.diagnosis import Answer, Check, State, diagnose, fail, ok, warn
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError


def raising(error: Exception) -> Check:
    def ask() -> Answer:
        raise error

    return Check("raises", ask)


def test_a_check_that_never_answers_is_late_and_the_next_one_is_asked(monkeypatch) -> None:
    monkeypatch.setattr("fraud_retraining.commands.implementation.diagnosis.GRACE_SECONDS", 0.0)
    sleeps = Check("sleeps", lambda: ok("at last") if time.sleep(30) else ok("never"))
    began = time.monotonic()
    found = diagnose([sleeps, Check("next", lambda: ok("fine"))], 0.05)
    assert time.monotonic() - began < 5
    assert [(one.check, one.state) for one in found.checks] == [("sleeps", State.FAIL), ("next", State.OK)]
    assert "0.05 s" in found.checks[0].found
    assert found.exit_code == DependencyUnreachable.exit_code


def test_any_exception_is_a_finding() -> None:
    known = raising(DataInvalid("no lake", culprits=["here"], remedy="make one"))
    found = diagnose([raising(ZeroDivisionError("by nought")), known], 5)
    broken, failed = found.checks
    assert "ZeroDivisionError: by nought" in broken.found
    assert (failed.found, failed.remedy) == ("no lake; here", "make one")
    assert found.exit_code == 1, "that of the first check that failed"


def test_the_code_is_that_of_the_first_failure_and_0_without_one() -> None:
    fine, odd = Check("a", lambda: ok("a")), Check("b", lambda: warn("b", "look"))
    assert diagnose([fine, odd], 5).exit_code == 0
    checks = [fine, Check("c", lambda: fail("c", "", DependencyUnreachable)), raising(SettingsError("d"))]
    assert diagnose(checks, 5).exit_code == 7
    assert diagnose(checks, 5).summary == "1 ok, 2 fail"


def test_no_secret_of_the_environment_is_in_a_finding() -> None:
    said = "postgresql://ada:pa55word@db/x refused hunter2hunter2, as token=abcdef"
    environment = {"REDIS_PASSWORD": "hunter2hunter2", "PWD": "refused", "HOME": "postgresql"}
    (found,) = diagnose([Check("a", lambda: fail(said, said, SettingsError))], 5, environment).checks
    for text in (found.found, found.remedy):
        assert text == "postgresql://***@db/x refused ***, as token=***"
