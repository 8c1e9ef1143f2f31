"""Processes that are killed while they move a champion, and two that move it at once: the invariants hold."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.releases.reviewers import Identity, Proof
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining_tests.support import killed_process as killed
from fraud_retraining_tests.support.approvals_fixture import (
    BROKEN,
    Backend,
    Trained,
    new_backend,
    require_invariants,
    train_at,
)
from fraud_retraining_tests.support.company_servers import CompanyServers

pytest_plugins = ("fraud_retraining_tests.support.company_servers", "fraud_retraining_tests.support.databases")
pytestmark = pytest.mark.slow

S = ReleaseState
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing", "region_name": "us-east-1"}


def order(backend: Backend, url: str, act: str, version: int, **more: Any) -> dict[str, Any]:
    trained, model = backend.trained, backend.registry.model_name
    return {
        "uri": trained.uri,
        "experiment": trained.experiment,
        "model": model,
        "ledger": url,
        "environment": {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")},
        "act": act,
        "version": version,
        **more,
    }


def kill(backend: Backend, url: str, act: str, version: int, dies: str, folder: Path) -> None:
    """Let a process do it and die of it."""
    process = killed.start(order(backend, url, act, version, dies=dies), folder / "log")
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (folder / "log").read_text()


def require_one_notice(backend: Backend) -> None:
    """I5: every alarm is raised once and ended once, however often it is looked."""
    notices = backend.watch.notices_after(0).notices
    alarms = [(notice.dedup_key, notice.kind, notice.version) for notice in notices if notice.severity == "critical"]
    assert len(alarms) == len(set(alarms))
    again = backend.watch.notices_after(backend.watch.notices_after(0).cursor).notices
    assert again == ()


@pytest.fixture(scope="module")
def trained_at_company(company_servers: CompanyServers) -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in company_servers.mlflow_environment().items():
            patch.setenv(name, value)
        return train_at(company_servers.mlflow)


@pytest.fixture(params=["embedded", "servers"])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Backend, str]:
    """A backend on SQLite; and one whose ledger is on PostgreSQL, and whose models MLflow's server with users has."""
    if request.param == "embedded":
        trained, url = request.getfixturevalue("trained"), request.getfixturevalue("sqlite_url")
    else:
        servers: CompanyServers = request.getfixturevalue("company_servers")
        for name, value in servers.mlflow_environment().items():
            monkeypatch.setenv(name, value)
        trained, url = request.getfixturevalue("trained_at_company"), request.getfixturevalue("postgres_url")
    return new_backend(trained, url), url


APPROVING = [point for point in killed.POINTS if "way back" not in point and "taken away" not in point]


@pytest.mark.parametrize("dies", APPROVING)
def test_whoever_dies_while_approving_leaves_one_champion_and_the_approval_ends_the_same(
    backend: Backend, tmp_path: Path, dies: str
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    champion, candidate = backend.champion(0), backend.waiting(1)
    kill(backend, url, "approve", candidate.version, dies, tmp_path)
    assert backend.serving() in {champion.version, candidate.version}
    for _ in range(2):
        backend.watch.check_champion()
        require_invariants(backend)
    if dies == "before the answer":
        assert backend.states()[candidate.version] == "awaiting_approval"
        kill(backend, url, "approve", candidate.version, "after the outcome", tmp_path)
        backend.watch.check_champion()
    assert backend.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert backend.registry.champion().artifact_digest == candidate.artifact_digest
    assert backend.registry.candidate() is None
    assert [event.payload["passed"] for event in backend.ledger.events(EventKind.SMOKE_TESTED)][-1]
    require_invariants(backend)
    require_one_notice(backend)


@pytest.mark.parametrize("dies", ["after the intent", "after the alias", "after the outcome"])
def test_it_is_the_same_on_the_servers_of_a_company(there: tuple[Backend, str], tmp_path: Path, dies: str):
    backend, url = there
    champion, candidate = backend.champion(0), backend.waiting(1)
    kill(backend, url, "approve", candidate.version, dies, tmp_path)
    backend.watch.check_champion()
    assert backend.states() == {champion.version: "superseded", candidate.version: "promoted"}
    require_invariants(backend)


@pytest.mark.parametrize("there", ["servers"], indirect=True)
def test_an_artifact_that_was_cut_short_behind_mlflows_server_cannot_be_approved(
    there: tuple[Backend, str], company_servers: CompanyServers
):
    backend, _ = there
    champion, candidate = backend.champion(0), backend.waiting(1)
    bucket, _, prefix = company_servers.artifacts.removeprefix("s3://").partition("/")
    s3 = boto3.client("s3", endpoint_url=company_servers.s3_endpoint, **KEYS)
    model = backend.trained.runs[1].model_id
    objects = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    (key,) = [one["Key"] for one in objects if model in one["Key"] and one["Key"].endswith("/model.ubj")]
    whole = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=whole[: len(whole) // 2])
    try:
        with pytest.raises(IntegrityError):
            backend.approvals.approve(candidate.version, Identity(name="alice", how=Proof.TOKEN), "go", channel="cli")
        assert (backend.serving(), backend.states()[candidate.version]) != (candidate.version, "promoted")
        assert backend.serving() == champion.version
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=whole)
    require_invariants(backend)


ROLLING_BACK = ["before the intent", "after the intent", "after the alias", "after the outcome"]


@pytest.mark.parametrize("dies", ROLLING_BACK)
def test_whoever_dies_while_rolling_back_has_rolled_back_or_not(backend: Backend, tmp_path: Path, dies: str):
    first, second = backend.champion(0), backend.champion(1)
    kill(backend, f"sqlite:///{tmp_path}/ledger.db", "rollback", first.version, dies, tmp_path)
    for _ in range(2):
        backend.watch.check_champion()
        require_invariants(backend)
    happened = dies in {"after the alias", "after the outcome"}
    assert backend.serving() == (first.version if happened else second.version)
    assert [event.subject for event in backend.ledger.events(EventKind.AUTOMATION_PAUSED)] == ["promotion"] * happened
    if not happened:
        kill(backend, f"sqlite:///{tmp_path}/ledger.db", "rollback", first.version, "after the smoke test", tmp_path)
        backend.watch.check_champion()
    assert backend.states() == {first.version: "promoted", second.version: "rolled_back"}
    require_invariants(backend)
    require_one_notice(backend)


TAKING_BACK = [
    "after the outcome",
    "after the smoke test",
    "after the intent of the way back",
    "after the alias of the way back",
    "after the outcome of the way back",
]


@pytest.mark.parametrize("dies", TAKING_BACK)
def test_a_champion_that_cannot_serve_is_taken_back_even_if_whoever_promoted_it_dies(
    backend: Backend, tmp_path: Path, dies: str
):
    champion, candidate = backend.champion(0), backend.waiting(BROKEN)
    kill(backend, f"sqlite:///{tmp_path}/ledger.db", "approve", candidate.version, dies, tmp_path)
    for _ in range(3):
        backend.watch.check_champion()
    assert backend.states() == {champion.version: "promoted", candidate.version: "rolled_back"}
    assert backend.serving() == champion.version
    require_invariants(backend)
    require_one_notice(backend)


@pytest.mark.parametrize("dies", ["after the smoke test", "after the alias was taken away"])
def test_a_first_champion_that_cannot_serve_ends_as_rolled_back(backend: Backend, tmp_path: Path, dies: str):
    candidate = backend.waiting(BROKEN)
    kill(backend, f"sqlite:///{tmp_path}/ledger.db", "approve", candidate.version, dies, tmp_path)
    for _ in range(2):
        backend.watch.check_champion()
    assert (backend.serving(), backend.states()) == (None, {candidate.version: "rolled_back"})
    assert list(backend.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []
    require_invariants(backend)


def test_the_watch_itself_may_die(backend: Backend, tmp_path: Path):
    champion, candidate = backend.champion(0), backend.waiting(1)
    url = f"sqlite:///{tmp_path}/ledger.db"
    kill(backend, url, "approve", candidate.version, "after the answer", tmp_path)
    for dies in ("after the intent", "after the alias", "after the smoke test"):
        kill(backend, url, "watch", 0, dies, tmp_path) if backend.ledger.releases(S.APPROVED, S.PROMOTING) else None
    backend.watch.check_champion()
    assert backend.states() == {champion.version: "superseded", candidate.version: "promoted"}
    require_invariants(backend)


# -- somebody moves the alias away and back meanwhile

OTHER, CHAMPION, CANDIDATE = 1, 2, 3
AWAY_AND_BACK = {
    "between intent and move": {"before the alias": [OTHER, CHAMPION]},
    "between the two halves of the move": {"between looking and setting": [OTHER, CHAMPION]},
    "seen by the move and gone when it is judged": {
        "before the alias": [OTHER],
        "before the outcome is judged": [CHAMPION],
    },
    "within the move": {"between setting and looking again": [CHAMPION, CANDIDATE]},
    "seen after the move and gone when it is judged": {
        "between setting and looking again": [CHAMPION],
        "before the outcome is judged": [CANDIDATE],
    },
    "between move and outcome": {"after the alias": [OTHER, CANDIDATE]},
    "away before the outcome and back after it": {"after the alias": [CHAMPION], "after the outcome": [CANDIDATE]},
}


@pytest.mark.parametrize("dies", [None, "after the alias", "after the outcome"])
@pytest.mark.parametrize("meddling", AWAY_AND_BACK)
def test_an_alias_that_was_moved_away_and_back_during_a_promotion_ends_in_one_champion_with_its_record(
    backend: Backend, tmp_path: Path, meddling: str, dies: str | None
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    other, champion, candidate = backend.champion(0), backend.champion(1), backend.waiting(2)
    assert [other.version, champion.version, candidate.version] == [OTHER, CHAMPION, CANDIDATE]
    moves = AWAY_AND_BACK[meddling]
    log = tmp_path / "log"
    process = killed.start(order(backend, url, "approve", CANDIDATE, dies=dies, meddling=moves), log)
    process.join(120)
    output = log.read_text()
    undone = meddling == "seen by the move and gone when it is judged"
    reached = dies is not None and not (dies == "after the alias" and "seen" in meddling)
    assert process.exitcode == (-signal.SIGKILL if reached else 5 if undone else 0), output
    assert output.count("a user moved the alias") == sum(map(len, moves.values())) or reached, output
    for _ in range(2):
        backend.watch.check_champion()
        require_invariants(backend)
    promoted = {OTHER: "superseded", CHAMPION: "superseded", CANDIDATE: "promoted"}
    assert backend.states() == promoted
    assert backend.registry.champion().artifact_digest == candidate.artifact_digest
    require_one_notice(backend)


# -- at once


def at_once(backend: Backend, url: str, folder: Path, *orders: dict[str, Any]) -> list[tuple[int, str]]:
    """Exit code and words of processes that start at the same moment."""
    go, processes = folder / "go", []
    for number, one in enumerate(orders):
        about = {"go": str(go), "ready": str(folder / f"ready{number}")}
        processes.append(killed.start(order(backend, url, **one, **about), folder / f"log{number}"))
    deadline = time.monotonic() + 120
    while not all((folder / f"ready{number}").exists() for number in range(len(orders))):
        assert time.monotonic() < deadline, [path.read_text() for path in folder.glob("log*")]
        time.sleep(0.02)
    go.touch()
    for process in processes:
        process.join(120)
    return [(one.exitcode, (folder / f"log{number}").read_text()) for number, one in enumerate(processes)]


def test_of_two_approvals_in_one_second_the_first_wins_and_the_other_is_refused(
    there: tuple[Backend, str], tmp_path: Path
):
    backend, url = there
    champion, candidate = backend.champion(0), backend.waiting(1)
    both = at_once(
        backend,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "who": "alice"},
        {"act": "approve", "version": candidate.version, "who": "bob"},
    )
    assert sorted(code for code, _ in both) == [0, 5], both
    winner = ("alice", "bob")[[code for code, _ in both].index(0)]
    assert backend.ledger.release_by_version(candidate.version).decided_by == winner
    refused = next(output for code, output in both if code == 5)
    assert f"by {winner} at 20" in refused, refused
    assert backend.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert [event.version for event in backend.ledger.events(EventKind.PROMOTION_DONE)] == [1, 2]
    require_invariants(backend)


def test_of_a_yes_and_a_no_in_one_second_one_wins(there: tuple[Backend, str], tmp_path: Path):
    backend, url = there
    champion, candidate = backend.champion(0), backend.waiting(1)
    yes, no = at_once(
        backend,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "who": "alice"},
        {"act": "reject", "version": candidate.version, "who": "bob"},
    )
    assert sorted([yes[0], no[0]]) == [0, 5], (yes, no)
    approved = yes[0] == 0
    assert backend.states()[candidate.version] == ("promoted" if approved else "rejected")
    assert backend.serving() == (candidate.version if approved else champion.version)
    require_invariants(backend)


def test_at_the_very_second_of_the_deadline_one_transaction_decides(there: tuple[Backend, str], tmp_path: Path):
    backend, url = there
    champion, candidate = backend.champion(0), backend.waiting(1, hours=30 / 3600)
    moment = (candidate.deadline - timedelta(milliseconds=100)).isoformat()
    yes, clock = at_once(
        backend,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "not_before": moment},
        {"act": "expire", "version": 0, "not_before": candidate.deadline.isoformat()},
    )
    assert (clock[0], yes[0] in {0, 5}) == (0, True), (yes, clock)
    release = backend.ledger.release_by_version(candidate.version)
    if yes[0] == 0:
        assert (release.state, backend.serving()) == (S.PROMOTED, candidate.version)
        assert release.decided_at < candidate.deadline
    else:
        assert (release.state, backend.serving()) == (S.EXPIRED, champion.version)
        assert release.moved_at >= candidate.deadline
        assert "expired" in yes[1]
    require_invariants(backend)


def test_two_promotions_at_once_leave_one_champion_and_a_whole_chain(there: tuple[Backend, str], tmp_path: Path):
    """Two versions that were champion before, brought back by two people at the same moment."""
    backend, url = there
    first, second, _third = backend.champion(0), backend.champion(1), backend.champion(2)
    both = at_once(
        backend,
        url,
        tmp_path,
        {"act": "rollback", "version": first.version, "who": "alice"},
        {"act": "rollback", "version": second.version, "who": "bob"},
    )
    assert {code for code, _ in both} <= {0, 5}, both
    assert 0 in {code for code, _ in both}
    assert backend.serving() in {first.version, second.version}
    require_invariants(backend)


def test_two_watches_at_once_finish_a_promotion_once(there: tuple[Backend, str], tmp_path: Path):
    backend, url = there
    champion, candidate = backend.champion(0), backend.waiting(1)
    kill(backend, url, "approve", candidate.version, "after the alias", tmp_path)
    both = at_once(backend, url, tmp_path, {"act": "watch", "version": 0}, {"act": "watch", "version": 0})
    assert [code for code, _ in both] == [0, 0], both
    assert backend.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert [event.version for event in backend.ledger.events(EventKind.PROMOTION_DONE)] == [1, 2]
    assert [event.version for event in backend.ledger.events(EventKind.SMOKE_TESTED)] == [1, 2]
    require_invariants(backend)
