"""Several real servers that share a real Redis: the features of the batch, an outage, and a worker that is killed."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.commands.implementation.scores_server import scorer_of, serve
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import open_location_of
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.serving.test_score_app import (
    AS_OF,
    CHANGES,
    NEXT,
    Client,
    batch_features,
    ingest,
    raw_rows,
    serving,
)
from fraud_retraining_tests.support.project_homes import LOOKED_BACK_ON, ProjectHome
from fraud_retraining_tests.support.redis_servers import RedisProcess

pytest_plugins = ["fraud_retraining_tests.support.redis_servers"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def ready(home: ProjectHome, redis_server: RedisProcess) -> ProjectHome:
    """A home with a champion and a state, whose scorers share a Redis."""
    # Its own timeout is for a machine that is not as busy as that of the tests.
    shared = {"state_store": "redis", "redis_url": redis_server.url, "redis_timeout_seconds": 5}
    home.configure(**{**CHANGES, "serving": {**CHANGES["serving"], **shared}})
    ingest(LOOKED_BACK_ON, AS_OF)
    return home


def scored(client: Client, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    status, found = client.ask("/score/batch?reasons=false", {"transactions": list(rows)})
    assert status == 200, found
    return found["scores"]


def wanted_digests() -> dict[Any, str]:
    features = batch_features(NEXT)
    digests = RowDigests(load_settings().feature_plan).of_table(features)
    return dict(zip(features["transaction_id"].to_pylist(), digests, strict=True))


def wait_for_no_problem(client: Client) -> None:
    for _ in range(240):
        status, found = client.ask("/ready")
        if status == 200 and not found["problems"]:
            return
        time.sleep(0.25)
    raise AssertionError(found)


def wait_for_a_problem(client: Client) -> None:
    for _ in range(240):
        found = client.ask("/ready")[1]
        if found.get("problems"):
            return
        time.sleep(0.25)
    raise AssertionError(found)


def test_two_scorers_have_the_features_of_the_batch_before_and_after_an_outage_of_redis(
    ready: ProjectHome, redis_server: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows, answers = raw_rows(ready, NEXT)[:400], []
    with serving(tmp_path / "one") as (refusing, _):
        monkeypatch.setenv("FRAUD_RETRAINING_SERVING__WITHOUT_STATE", "score")
        with serving(tmp_path / "two") as (scoring, _):
            both = (refusing, scoring)
            for number, first in enumerate(range(0, 200, 20)):
                answers += scored(both[number % 2], rows[first : first + 20])
            redis_server.stop()
            status, found = refusing.ask("/score", rows[200])
            assert status == 503 and f"Redis at 127.0.0.1:{redis_server.port}" in found["error"]
            assert refusing.ask("/ready")[0] == 503
            assert refusing.ask("/transactions", {"transactions": rows[200:201]})[0] == 503
            without = scored(scoring, rows[200:220])
            assert {one["state"]["day"] for one in without} == {None}
            # A scorer that has not looked since would take the empty place for the full one that it knew.
            for client in both:
                wait_for_a_problem(client)
            # It comes back empty, and scorers bring back what it held.
            redis_server.start()
            for client in both:
                wait_for_no_problem(client)
            for number, first in enumerate(range(220, 400, 20)):
                answers += scored(both[number % 2], rows[first : first + 20])
    assert {one["state"]["day"] for one in answers} == {AS_OF.isoformat()}
    ingest(NEXT, NEXT)
    wanted = wanted_digests()
    assert all(one["features_digest"] == wanted[one["transaction_id"]] for one in answers)
    said = (tmp_path / "one").read_text() + (tmp_path / "two").read_text()
    assert "as it should be again" in said and os.environ["REDIS_PASSWORD"] not in said


def workers_of(parent: int) -> list[int]:
    """Its children that score; Python's resource tracker is one too."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(ready: ProjectHome, tmp_path: Path):
    rows, answers = raw_rows(ready, NEXT)[:200], []
    with serving(tmp_path / "log", "--processes", "2") as (client, process):
        before = workers_of(process.pid)
        assert len(before) == 2
        for row in rows[:60]:
            answers += scored(client, [row])
        os.kill(before[0], signal.SIGKILL)
        for row in rows[60:]:
            while True:
                try:
                    answers += scored(client, [row])
                    break
                except (OSError, AssertionError):
                    # The killed worker's connection, or the new one that has nothing loaded yet.
                    time.sleep(0.1)
        for _ in range(240):
            if len(workers := workers_of(process.pid)) == 2:
                break
            time.sleep(0.25)
        assert len(workers) == 2 and before[0] not in workers and before[1] in workers
    assert not any(Path(f"/proc/{one}").exists() for one in workers)
    ingest(NEXT, NEXT)
    wanted = wanted_digests()
    assert all(one["features_digest"] == wanted[one["transaction_id"]] for one in answers)
    settings = load_settings()
    # What the killed one had not brought to the store is found by the next that starts.
    scorer = scorer_of(settings)
    scorer.follow()
    scorer.flush()
    log = ServedDays(open_location_of(settings, settings.store_uri)).read(NEXT)
    assert log is not None and set(log["transaction_id"].to_pylist()) == {row["TRANSACTION_ID"] for row in rows}
    assert "is replaced" in (tmp_path / "log").read_text()


def test_several_processes_need_a_redis(ready: ProjectHome):
    ready.configure(**CHANGES)
    with pytest.raises(SettingsError, match=r"serving\.state_store"):
        serve(load_settings(), "127.0.0.1", 0, print, processes=2)
