"""A retrain that is killed between its uploaded model and its champion: the next one finishes it, nothing is double."""

import shutil
import signal
from pathlib import Path

import pytest

from fraud_retraining.adapters.publisher import Publisher
from fraud_retraining.domain.events import EventKind
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.adapters import mortals
from fraud_retraining_tests.command_line import retrain, run
from fraud_retraining_tests.conftest import AS_OF, START, Place, enter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Place:
    """A home whose days are ingested and in which nothing was trained."""
    place = Place(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, place.lake)
    place.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        enter(place, patch)
        assert run("ingest", "--from", str(START), "--to", str(AS_OF))[0] == 0
    return place


@pytest.fixture
def home(ingested: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of that home."""
    shutil.copytree(ingested.folder, tmp_path / "copy")
    copy = Place(tmp_path / "copy")
    copy.configure(promotion={"mode": "auto"})
    enter(copy, monkeypatch)
    return copy


def killed(home: Place, dies: str) -> None:
    """One retrain in a process of its own, killed at a point."""
    environment = {"FRAUD_RETRAINING_HOME": str(home.home), "FRAUD_RETRAINING_CONFIG": str(home.config)}
    arguments = ["retrain", "--as-of", str(AS_OF)]
    log = home.folder / "log"
    process = mortals.start_command({"arguments": arguments, "environment": environment, "dies": dies}, log)
    process.join(280)
    assert process.exitcode == -signal.SIGKILL, log.read_text()[-3000:]


@pytest.mark.parametrize("dies", mortals.RETRAIN_POINTS)
def test_the_next_retrain_finishes_what_a_killed_one_began(home: Place, dies: str) -> None:
    killed(home, dies)
    code, answer, _ = retrain()
    assert (code, answer["model_version"]) == (0, 1), answer
    assert answer["status"] == ("already_trained" if dies == "after the alias" else "promoted")

    settings = load_settings()
    ledger, registry = open_ledger(settings), open_registry(settings)
    assert [version.version for version in registry.versions_of(answer["fingerprint"])] == [1]
    (release,) = ledger.releases()
    assert (str(release.state), registry.champion().version) == ("promoted", 1)
    Publisher(ledger, registry).verify(1)
    trained = [event.payload for event in ledger.events(EventKind.MODEL_TRAINED)]
    assert len({event["run_id"] for event in trained} | {answer["mlflow_run_id"]}) == 1, "one model, found again"
    assert [event.payload["passed"] for event in ledger.events(EventKind.SMOKE_TESTED)] == [True]
    assert ledger.verify().ok

    assert retrain()[1]["status"] == "already_trained"
    assert registry.champion().artifact_digest == release.artifact_digest
