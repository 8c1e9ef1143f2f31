"""Policies that use labels otherwise than the present settings: what they say is what a home of their own says."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from fraud_retraining.simulation.reports import LABELLED_AT
from fraud_retraining_tests.commands.test_replay import content, policy, without_hours
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

DAYS = 24
FROM, TO = START + timedelta(days=16), START + timedelta(days=19)
USES = ("as_known", "mature")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By the use of labels of a home: a replay in it, with the other use as a policy."""
    lake = tmp_path_factory.mktemp("lake")
    answers = {}
    for use, other in (USES, reversed(USES)):
        home = ProjectHome(tmp_path_factory.mktemp(use))
        home.configure(
            lake={"uri": str(lake)},
            columns={"labelled_at": LABELLED_AT},
            labels={"use": use, "min_delay_frauds": 10},
            validation={"min_rows": 500, "min_holdout_frauds": 5},
        )
        with pytest.MonkeyPatch.context() as patch:
            use_home(home, patch)
            if not any(lake.iterdir()):
                sizes = ["--days", str(DAYS), "--transactions-per-day", "1200", "--seed", "5"]
                made = run("simulate", "--start", str(START), *sizes, "--labels", "column")
                assert made[0] == 0, made
            assert run("ingest", "--from", str(START), "--to", str(START + timedelta(days=DAYS - 1)))[0] == 0
            before = content(home.home, "store")
            answers[use] = replayed_in(home, other)
            assert content(home.home, "store") == before, "the store is read only"
    return answers


def replayed_in(home: ProjectHome, other: str) -> dict[str, Any]:
    file = home.folder / "policies.yaml"
    file.write_text(yaml.safe_dump({"other": {"labels": {"use": other}}}))
    code, answer, _ = run("replay", "--from", str(FROM), "--to", str(TO), "--policies", str(file))
    assert code == 0, answer
    return answer


def figures(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found = policy(without_hours(answer), name)
    return {key: value for key, value in found.items() if key not in ("name", "against_present", "cost")}


@pytest.mark.parametrize("use", USES)
def test_a_policy_of_the_other_use_is_worth_what_a_home_with_it_says(
    replayed: dict[str, dict[str, Any]], use: str
) -> None:
    other = next(one for one in USES if one != use)
    assert figures(replayed[use], "other") == figures(replayed[other], "present settings")
    assert replayed[use]["steps"]["other"] == replayed[other]["steps"]["present settings"]


def test_both_uses_are_worth_something_else(replayed: dict[str, dict[str, Any]]) -> None:
    for answer in replayed.values():
        assert policy(answer, "other")["average_precision"] != policy(answer, "present settings")["average_precision"]
