"""A replay of a small lake: what it says, what it leaves alone, and that it goes on where it was interrupted."""

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import DAYS, START, ProjectHome, use_home

LAST = START + timedelta(days=DAYS - 1)
FROM, TO = START + timedelta(days=15), START + timedelta(days=20)
POLICIES: dict[str, Any] = {
    "the same": {},
    "daily": {"triggers": {"schedule": {"every_hours": 24}, "drift": None}},
    "short window": {"window": {"days": 4}},
    "fitted again": {"window": {"refit": {"enabled": True}}},
}
DECISIONS = {"decisions": [{"name": "block", "at": 0.5}, {"name": "review", "alerts_per_day": 20}]}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> ProjectHome:
    """A home that holds every day of the small lake and has trained nothing."""
    project = ProjectHome(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, project.lake)
    project.configure(validation={"min_rows": 1000}, serving=DECISIONS)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        assert run("ingest", "--from", str(START), "--to", str(LAST))[0] == 0
    return project


@pytest.fixture(scope="module")
def replayed(ingested: ProjectHome) -> dict[str, Any]:
    """The answer of a replay in that home."""
    with pytest.MonkeyPatch.context() as patch:
        use_home(ingested, patch)
        before = content(ingested.home, "store", "lake"), records(ingested.home)
        code, answer, _ = run(*command(ingested))
        assert code == 0, answer
        after = content(ingested.home, "store", "lake"), records(ingested.home)
        assert after == before, "store, registry and ledger are read only"
    return answer


@pytest.fixture
def past(ingested: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectHome]:
    """A copy of that home in which nothing has been replayed."""
    shutil.copytree(ingested.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("replay"))
    copy = ProjectHome(tmp_path / "copy")
    copy.configure(validation={"min_rows": 1000}, serving=DECISIONS)
    use_home(copy, monkeypatch)
    yield copy


def command(project: ProjectHome, *more: str) -> list[str]:
    file = project.folder / "policies.yaml"
    file.write_text(yaml.safe_dump(POLICIES, sort_keys=False))
    return ["replay", "--from", str(FROM), "--to", str(TO), "--policies", str(file), *more]


def content(home: Path, *folders: str) -> str:
    """Digest of the files of some folders."""
    found = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (home / folder).rglob("*") if path.is_file()):
        found.update(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def records(home: Path) -> dict[str, str]:
    """Digest of the databases of registry and ledger, as far as they are there."""
    found = (home / name for name in ("mlflow.db", "ledger.db"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.exists()}


def policy(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in answer["policies"] if one["name"] == name)
    return found


def without_place(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "report"}


def without_hours(answer: dict[str, Any]) -> dict[str, Any]:
    """What a replay of the same days says on any machine: all but what it took, and the sentence that names it."""
    policies = [{key: value for key, value in one.items() if key != "hours"} for one in answer["policies"]]
    return {**without_place(answer), "policies": policies, "conclusion": answer["conclusion"].partition(", for ")[0]}


def test_every_policy_serves_every_day_and_is_compared_with_the_present_settings(replayed: dict[str, Any]) -> None:
    names = [one["name"] for one in replayed["policies"]]
    assert names == ["present settings", "never retrain", *POLICIES]
    for one in replayed["policies"]:
        assert [day["day"] for day in one["days"]] == [str(FROM + timedelta(days=n)) for n in range(6)]
        assert 0 < one["average_precision"] <= 1
        assert one["amount_caught"] == pytest.approx(sum(day["amount_caught"] for day in one["days"]))
    assert policy(replayed, "daily")["retrains"] == 5
    assert policy(replayed, "never retrain")["retrains"] == 0
    assert replayed["steps"]["never retrain"] == []
    assert "instead of" in replayed["conclusion"]
    assert any("does not say when labels became known" in limit for limit in replayed["limits"])


def test_decisions_are_counted_on_every_served_day_of_every_policy(replayed: dict[str, Any]) -> None:
    for one in replayed["policies"]:
        block, review = one["decisions"]
        assert [day["day"] for day in block["days"]] == [day["day"] for day in review["days"]]
        assert len(block["days"]) == 6 and {day["at"] for day in block["days"]} == {0.5}
        assert all(day["rows"] >= day["alerts"] for day in block["days"])
        assert sum(day["alerts"] for day in review["days"]) > 0
    never = policy(replayed, "never retrain")["decisions"][1]["days"]
    assert len({day["at"] for day in never}) == 1, "one release chose one score"
    assert policy(replayed, "the same")["decisions"] == policy(replayed, "present settings")["decisions"]


def test_a_policy_that_is_the_present_settings_differs_by_exactly_zero(replayed: dict[str, Any]) -> None:
    same = policy(replayed, "the same")["against_present"]
    assert all(set(interval.values()) == {0.0} for interval in same.values())
    assert replayed["steps"]["the same"] == replayed["steps"]["present settings"]


def test_a_policy_with_a_second_fit_judges_the_same_fits_and_serves_others(replayed: dict[str, Any]) -> None:
    again, once = (replayed["steps"][name] for name in ("fitted again", "present settings"))
    assert [step["as_of"] for step in again] == [step["as_of"] for step in once]
    first = next(step["fingerprint"] for step in again if step["fingerprint"])
    assert first == next(step["fingerprint"] for step in once if step["fingerprint"]), "the judged fit is shared"
    said = [step["second_fit"] for step in again if step["outcome"] == "promoted"]
    assert all("is released" in one for one in said)
    assert policy(replayed, "fitted again")["average_precision"] != policy(replayed, "the same")["average_precision"]


def test_nothing_but_the_replay_is_written(ingested: ProjectHome, replayed: dict[str, Any]) -> None:
    kept = ingested.home / "replay"
    assert {path.name for path in kept.iterdir()} >= {"fits", "judgements", "scores"}
    fits = len(list((kept / "fits").iterdir()))
    again = [step for step in replayed["steps"]["fitted again"] if step["second_fit"]]
    shared = policy(replayed, "daily")["retrains"] + policy(replayed, "short window")["retrains"] + len(again) + 3
    assert fits <= shared, "equal fits are made once"


def test_a_second_replay_gives_the_same_answer_from_what_was_kept(
    ingested: ProjectHome, replayed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_home(ingested, monkeypatch)
    before = content(ingested.home, "replay/fits")
    code, again, _ = run(*command(ingested))
    assert (code, again) == (0, replayed)
    assert content(ingested.home, "replay/fits") == before


def test_a_replay_that_was_killed_goes_on_and_ends_with_the_same_answer(
    past: ProjectHome, replayed: dict[str, Any]
) -> None:
    fits = past.home / "replay" / "fits"
    program = [sys.executable, "-m", "fraud_retraining.cli", *command(past, "--json")]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(finished(fits)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() != 0, "it was killed before its end"
    kept = {name: content(fits, name) for name in finished(fits)}
    assert len(kept) >= 2
    code, answer, _ = run(*command(past))
    assert code == 0
    assert without_hours(answer) == without_hours(replayed)
    assert {name: content(fits, name) for name in kept} == kept, "what was fitted before is not fitted again"


def finished(fits: Path) -> list[str]:
    return [path.name for path in fits.iterdir() if not path.name.startswith(".")] if fits.is_dir() else []


def test_two_processes_give_the_same_answer(past: ProjectHome, replayed: dict[str, Any]) -> None:
    code, answer, _ = run(*command(past, "--processes", "2"))
    assert code == 0
    assert without_hours(answer) == without_hours(replayed)


def test_what_comes_after_a_day_changes_no_decision_of_it(past: ProjectHome, replayed: dict[str, Any]) -> None:
    changed = FROM + timedelta(days=3)
    table = past.read_day(changed)
    labels = [1 - label for label in table["TX_FRAUD"].to_pylist()[:30]]
    rest = table["TX_FRAUD"].to_pylist()[30:]
    position = table.schema.get_field_index("TX_FRAUD")
    past.write_day(changed, table.set_column(position, "TX_FRAUD", pa.array(labels + rest)))
    assert run("ingest", "--from", str(START), "--to", str(LAST))[0] == 0
    code, answer, _ = run(*command(past))
    assert code == 0

    def before(given: dict[str, Any], name: str) -> list[Any]:
        steps = [step for step in given["steps"][name] if step["as_of"] < str(changed)]
        return [steps, [day for day in policy(given, name)["days"] if day["day"] < str(changed)]]

    for name in ("present settings", "daily", "short window"):
        assert before(answer, name) == before(replayed, name)
    assert answer != replayed


@pytest.mark.parametrize(
    ("first", "last", "exit_code", "message"),
    [
        (FROM, LAST, 3, "labels are mature up to"),
        (START + timedelta(days=5), TO, 3, "has no first model"),
        (TO, FROM, 2, "arguments"),
    ],
)
def test_days_that_cannot_be_replayed_are_refused_with_the_remedy(
    past: ProjectHome, first: object, last: object, exit_code: int, message: str
) -> None:
    code, answer, _ = run("replay", "--from", str(first), "--to", str(last), "--policies", command(past)[6])
    assert code == exit_code
    assert message in answer["error"]["message"]
