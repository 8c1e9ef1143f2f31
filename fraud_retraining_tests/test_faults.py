"""What must survive what: real processes that die, real disks that fill up, and days that arrive in every bad shape.

The numbers are those of the invariants: I1 one champion whose artifact verifies; I2 a complete record of how it became
champion; I3 one version a fingerprint; I4 a ledger whose chain verifies; I6 running again ends in the same digests.
"""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.model_artifact import PREFIX
from fraud_retraining.domain.releases import ReleaseState
from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.conftest import AS_OF, START, Place, enter
from fraud_retraining_tests.killed import run_killed

LATER = AS_OF + timedelta(days=2)
LENIENT = {"max_regression": 1.0, "max_unproven_regression": 1.0, "max_slice_regression": 1.0}


def model_of(version: int) -> bytes:
    return open_registry(load_settings()).download(version)[f"{PREFIX}model.ubj"]


def require_invariants(champions: int) -> None:
    """I1 to I4, whatever has happened."""
    records = ledger()
    assert records.verify().ok
    versions = open_registry(load_settings()).versions()
    releases = records.releases()
    assert len({version.fingerprint for version in versions}) == len(versions)
    assert {version.version for version in versions} >= {release.version for release in releases}
    promoted = records.releases(ReleaseState.PROMOTED)
    assert len(promoted) == champions
    serving = champion()
    assert (serving is None) == (champions == 0)
    for release in promoted:
        assert serving == (release.version, release.artifact_digest)
        require_complete_record(release.version, release.fingerprint)


def require_complete_record(version: int, fingerprint: str) -> None:
    """I2: trained, judged, decided, intended and done, in this order."""
    records = ledger()
    release = records.release_by_version(version)
    assert release is not None
    assert release.verdict_passed
    assert release.decided_by
    kinds = [event.kind for event in records.events(fingerprint=fingerprint)]
    wanted = ["model_trained", "model_evaluated", "version_registered", "promotion_intended", "promotion_done"]
    assert [kinds.index(kind) for kind in wanted] == sorted(kinds.index(kind) for kind in wanted)
    assert [kinds.count(kind) for kind in wanted] == [1] * len(wanted)


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Path:
    """A home that has ingested what a retrain as of `AS_OF` needs, and trained nothing."""
    place = Place(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, place.lake)
    place.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        enter(place, patch)
        code, answer, _ = run("ingest", "--from", str(START), "--to", str(AS_OF))
    assert code == 0, answer
    return place.folder


@pytest.fixture
def ready(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of that home."""
    shutil.copytree(ingested, tmp_path / "ready")
    place = Place(tmp_path / "ready")
    place.configure(promotion={"mode": "auto"})
    enter(place, monkeypatch)
    return place


@pytest.fixture(scope="session")
def undisturbed(lived: Place) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and booster of the same retrain when nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch:
        enter(lived, patch)
        yield ledger().releases()[0].fingerprint, model_of(1)


def require_same_model(answer: dict[str, Any], undisturbed: tuple[str, bytes]) -> None:
    """I6; the fingerprint pins the digest of every day."""
    assert (answer["fingerprint"], model_of(answer["model_version"])) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestKilled:
    @pytest.mark.parametrize(
        "moment",
        [
            "before the record of an ingested day",
            "after the record of an ingested day",
            "before the checks of a day",
            "before the record of entity days",
            "before the record of features",
        ],
    )
    def test_while_a_day_is_made(self, moment: str, place: Place, undisturbed: tuple[str, bytes]) -> None:
        place.configure(promotion={"mode": "auto"})
        run_killed(moment, "ingest", "--from", str(START), "--to", str(AS_OF))
        require_invariants(champions=0)
        code, answer, _ = retrain()
        assert (code, answer["status"]) == (0, "promoted")
        require_same_model(answer, undisturbed)

    @pytest.mark.parametrize(
        ("moment", "trained"),
        [
            ("in the fifth round of boosting", 0),
            ("before the upload is complete", 0),
            ("after the upload", 1),
            ("before the evaluation is recorded", 1),
            ("before registering", 1),
            ("after registering", 1),
            ("after the release is opened", 1),
        ],
    )
    def test_before_there_is_anything_to_promote(
        self, moment: str, trained: int, ready: Place, undisturbed: tuple[str, bytes]
    ) -> None:
        run_killed(moment, "retrain", "--as-of", str(AS_OF), "--json")
        require_invariants(champions=0)
        assert run("status")[0] == 0
        fingerprint, _ = undisturbed
        before = open_registry(load_settings()).find_run(fingerprint)
        assert (before is not None) == (trained == 1)

        code, answer, _ = retrain()
        assert (code, answer["status"], answer["model_version"]) == (0, "promoted", 1)
        require_invariants(champions=1)
        require_same_model(answer, undisturbed)
        assert before is None or before.run_id == answer["mlflow_run_id"], "an uploaded model is adopted"
        assert retrain()[1]["status"] == "already_trained"

    @pytest.mark.parametrize(
        ("moment", "serving"),
        [
            ("after the policy's approval", 1),
            ("after the intent", 1),
            ("after the alias", 2),
            ("after the outcome", 2),
        ],
    )
    def test_while_a_champion_is_replaced(self, moment: str, serving: int, home: Place) -> None:
        home.configure(promotion={"mode": "auto"}, gates=LENIENT)
        run_killed(moment, "retrain", "--as-of", str(LATER), "--json")
        now = champion()
        assert now is not None
        assert now[0] == serving, "served is the old one or the new one, never neither"
        assert ledger().verify().ok
        status = run("status")
        assert (status[0], status[1]["champion"]["version"]) == (0, serving)

        code, answer, _ = retrain(LATER)
        assert (code, answer["model_version"]) == (0, 2)
        assert answer["status"] in {"promoted", "already_trained"}
        require_invariants(champions=1)
        assert [release.version for release in ledger().releases(ReleaseState.PROMOTED)] == [2]

    @pytest.mark.parametrize("moment", ["after a reviewer's approval", "after the intent", "after the alias"])
    def test_while_a_reviewer_approves(self, moment: str, home: Place) -> None:
        home.configure(promotion={"mode": "manual"}, gates=LENIENT)
        assert retrain(LATER)[1]["status"] == "awaiting_approval"
        decision = ("approve", "2", "--by", "alice", "--reason", "better on the new fraud", "--json")
        run_killed(moment, *decision)
        assert ledger().verify().ok
        assert run(*decision[:-1])[0] in (0, 5)
        require_invariants(champions=1)
        release = ledger().release_by_version(2)
        assert release is not None
        assert (release.state, release.decided_by) == (ReleaseState.PROMOTED, "alice")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_second_death_on_the_way_back_changes_nothing(ready: Place, undisturbed: tuple[str, bytes]) -> None:
    for moment in ("after the upload", "after registering", "after the intent", "after the alias"):
        run_killed(moment, "retrain", "--as-of", str(AS_OF), "--json")
        assert ledger().verify().ok
    code, answer, _ = retrain()
    assert code == 0
    require_invariants(champions=1)
    require_same_model(answer, undisturbed)
