"""How a command ends that failed: message, JSON object and exit code."""

import json

import pytest
import typer
from typer.testing import CliRunner

from fraud_retraining import cli
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.domain.values.errors import Conflict, RetrainingError


def exit_code_of(error: BaseException, *, as_json: bool) -> int:
    """The exit code of a command that raises the error."""
    with pytest.raises(typer.Exit) as left, reported_failures(as_json=as_json):
        raise error
    return left.value.exit_code


def test_an_interrupt_leaves_as_shells_expect_and_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(KeyboardInterrupt(), as_json=True) == 130
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"] | {"message": ""} == {
        "kind": "Interrupted",
        "message": "",
        "culprits": [],
        "remedy": "",
        "exit_code": 130,
    }
    assert printed.err == ""


def test_a_bug_is_reported_as_json_and_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), reported_failures(as_json=True):
        _ = 1 // 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("ZeroDivisionError", 1)


def test_a_known_failure_leaves_with_its_own_code_and_names_culprit_and_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = Conflict("version 3 was decided already", culprits=["by ada"], remedy="nothing is left to decide.")
    assert exit_code_of(error, as_json=True) == 5
    answer = json.loads(capsys.readouterr().out)["error"]
    assert (answer["kind"], answer["culprits"], answer["remedy"]) == ("Conflict", ["by ada"], error.remedy)
    assert exit_code_of(error, as_json=False) == 5
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(part in printed.err for part in ("Conflict", "version 3", "by ada", "nothing is left to decide"))


def test_the_exit_code_that_a_command_chose_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(typer.Exit(4), as_json=True) == 4
    assert capsys.readouterr().out == "", "no failure is reported"


def test_a_command_that_succeeds_reports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with reported_failures(as_json=True):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_usage_error_is_json_only_where_json_was_requested() -> None:
    as_json = CliRunner().invoke(cli.app, ["approve", "none", "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["error"]["kind"] == "UsageError"
    for_people = CliRunner().invoke(cli.app, ["approve", "none"])
    assert for_people.exit_code == 2
    assert for_people.stdout == ""
    assert for_people.stderr.startswith("Usage: ")


def test_an_unexpected_failure_has_code_1() -> None:
    assert RetrainingError.exit_code == 1
