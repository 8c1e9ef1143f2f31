"""The real daemon over a lake: days that land are ingested, retrains come by themselves, and downtime loses nothing."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fraud_retraining.orchestration.names import (
    INGEST,
    RETRAIN,
)
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.support.daemons import Watched, daemon_over, wait_until
from fraud_retraining_tests.support.killed_daemon import STAGES
from fraud_retraining_tests.support.project_homes import DAYS, START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FIRST = DAYS - 6
"""Days that are there when the daemon starts; the others land later."""


@pytest.fixture
def watched(tmp_path: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    project = ProjectHome(tmp_path)
    for day in (START + timedelta(days=n) for n in range(FIRST)):
        project.day_file(day).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_lake / lake_path(day), project.day_file(day))
    project.configure(promotion={"mode": "auto"}, triggers={"poll_seconds": 5, "drift": None})
    use_home(project, monkeypatch)
    project.home.mkdir(parents=True)
    watching = Watched(project, small_lake)
    yield watching
    watching.instance.dispose()


def test_unattended_downtime_and_a_power_cut_lose_nothing_and_double_nothing(watched: Watched) -> None:
    last = START + timedelta(days=FIRST - 1)
    with daemon_over(watched.project) as daemon:
        wait_until(lambda: watched.champion() == last, daemon)

        one = last + timedelta(days=1)
        runs = len(watched.runs(INGEST))
        watched.land(one)
        seconds = wait_until(lambda: len(watched.runs(INGEST)) > runs, daemon, 60)
        assert seconds < 60
        wait_until(lambda: watched.ingested(one), daemon)

        daemon.kill()
        down = [last + timedelta(days=n) for n in (2, 3, 4)]
        for day in down:
            watched.land(day)
        daemon.start()
        wait_until(lambda: watched.answered() == down[-1], daemon)
        assert all(watched.ingested(day) for day in down)
        assert watched.trained() == [last, down[-1]], "three days of downtime are one retrain, on the grid"

        daemon.kill()
        daemon.start()
        watched.land(last + timedelta(days=5))
        wait_until(lambda: watched.ingested(last + timedelta(days=5)), daemon)
    assert watched.trained() == [last, down[-1]]
    assert open_ledger(watched.settings).verify().ok
    served = open_registry(watched.settings).champion()
    assert served is not None
    assert served.as_of == watched.champion()
    assert len(watched.runs(RETRAIN)) == 2


def test_two_daemons_publish_once(watched: Watched) -> None:
    last = START + timedelta(days=FIRST - 1)
    with daemon_over(watched.project) as first, daemon_over(watched.project) as second:
        wait_until(lambda: watched.champion() == last, first)
        wait_until(lambda: all(run.is_finished for job in (INGEST, RETRAIN) for run in watched.runs(job)), second)
    assert watched.trained() == [last]
    assert len(open_ledger(watched.settings).releases()) == 1
    assert open_ledger(watched.settings).verify().ok


def test_a_daemon_that_dies_at_any_stage_of_a_tick_loses_no_run_and_doubles_none(watched: Watched) -> None:
    first = START + timedelta(days=FIRST - 1)
    days = [first + timedelta(days=n) for n in range(1, len(STAGES) + 1)]
    with daemon_over(watched.project) as daemon:
        for stage, day in zip(STAGES, days, strict=True):
            watched.land(day)
            daemon.kill()
            daemon.start(dies=stage)
            wait_until(daemon.has_died, daemon)
        daemon.kill()
        daemon.start()
        wait_until(lambda: watched.answered() == days[-1] and all(map(watched.ingested, days)), daemon)
        wait_until(lambda: all(run.is_finished for job in (INGEST, RETRAIN) for run in watched.runs(job)), daemon)
    for job in (INGEST, RETRAIN):
        keys = [run.tags["dagster/run_key"] for run in watched.runs(job)]
        assert len(keys) == len(set(keys)), f"{job} was doubled: {keys}"
    trained = watched.trained()
    assert trained == sorted(set(trained))
    records, registry = open_ledger(watched.settings), open_registry(watched.settings)
    fingerprints = [version.fingerprint for version in registry.versions()]
    assert len(fingerprints) == len(set(fingerprints))
    assert records.verify().ok
    served, champion = registry.champion(), records.champion()
    assert served is not None and champion is not None
    assert (served.version, served.artifact_digest) == (champion.version, champion.artifact_digest)
