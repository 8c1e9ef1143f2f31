"""Processes that are killed while they move a champion, and two that move it at once: the invariants hold."""

import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import ReleaseState
from fraud_retraining_tests.support import killed_process as mortals
from fraud_retraining_tests.support.approvals_fixture import BROKEN, Trained, World, new_world, require_invariants

pytest_plugins = ("fraud_retraining_tests.support.databases",)
pytestmark = pytest.mark.slow

S = ReleaseState


def order(world: World, url: str, act: str, version: int, **more: Any) -> dict[str, Any]:
    trained, model = world.trained, world.registry.model_name
    return {
        "uri": trained.uri,
        "experiment": trained.experiment,
        "model": model,
        "ledger": url,
        "act": act,
        "version": version,
        **more,
    }


def kill(world: World, url: str, act: str, version: int, dies: str, folder: Path) -> None:
    """Let a process do it and die of it."""
    process = mortals.start(order(world, url, act, version, dies=dies), folder / "log")
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (folder / "log").read_text()


def require_told_once(world: World) -> None:
    """I5: every alarm is raised once and ended once, however often it is looked."""
    notices = world.watch.news(0).notices
    alarms = [(notice.dedup_key, notice.kind, notice.version) for notice in notices if notice.severity == "critical"]
    assert len(alarms) == len(set(alarms))
    again = world.watch.news(world.watch.news(0).cursor).notices
    assert again == ()


@pytest.fixture
def there(trained: Trained, ledger_url: str) -> tuple[World, str]:
    """A world whose ledger is on SQLite, or on a real PostgreSQL."""
    return new_world(trained, ledger_url), ledger_url


APPROVING = [point for point in mortals.POINTS if "way back" not in point and "taken away" not in point]


@pytest.mark.parametrize("dies", APPROVING)
def test_whoever_dies_while_approving_leaves_one_champion_and_the_approval_ends_the_same(
    world: World, tmp_path: Path, dies: str
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    champion, candidate = world.champion(0), world.waiting(1)
    kill(world, url, "approve", candidate.version, dies, tmp_path)
    assert world.serving() in {champion.version, candidate.version}
    for _ in range(2):
        world.watch.mind_champion()
        require_invariants(world)
    if dies == "before the answer":
        assert world.states()[candidate.version] == "awaiting_approval"
        kill(world, url, "approve", candidate.version, "after the outcome", tmp_path)
        world.watch.mind_champion()
    assert world.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert world.registry.champion().artifact_digest == candidate.artifact_digest
    assert world.registry.candidate() is None
    assert [event.payload["passed"] for event in world.ledger.events(EventKind.SMOKE_TESTED)][-1]
    require_invariants(world)
    require_told_once(world)


@pytest.mark.parametrize("dies", ["after the intent", "after the alias", "after the outcome"])
def test_it_is_the_same_on_either_database(there: tuple[World, str], tmp_path: Path, dies: str):
    world, url = there
    champion, candidate = world.champion(0), world.waiting(1)
    kill(world, url, "approve", candidate.version, dies, tmp_path)
    world.watch.mind_champion()
    assert world.states() == {champion.version: "superseded", candidate.version: "promoted"}
    require_invariants(world)


ROLLING_BACK = ["before the intent", "after the intent", "after the alias", "after the outcome"]


@pytest.mark.parametrize("dies", ROLLING_BACK)
def test_whoever_dies_while_rolling_back_has_rolled_back_or_not(world: World, tmp_path: Path, dies: str):
    first, second = world.champion(0), world.champion(1)
    kill(world, f"sqlite:///{tmp_path}/ledger.db", "rollback", first.version, dies, tmp_path)
    for _ in range(2):
        world.watch.mind_champion()
        require_invariants(world)
    happened = dies in {"after the alias", "after the outcome"}
    assert world.serving() == (first.version if happened else second.version)
    assert [event.subject for event in world.ledger.events(EventKind.AUTOMATION_PAUSED)] == ["promotion"] * happened
    if not happened:
        kill(world, f"sqlite:///{tmp_path}/ledger.db", "rollback", first.version, "after the smoke test", tmp_path)
        world.watch.mind_champion()
    assert world.states() == {first.version: "promoted", second.version: "rolled_back"}
    require_invariants(world)
    require_told_once(world)


TAKING_BACK = [
    "after the outcome",
    "after the smoke test",
    "after the intent of the way back",
    "after the alias of the way back",
    "after the outcome of the way back",
]


@pytest.mark.parametrize("dies", TAKING_BACK)
def test_a_champion_that_cannot_serve_is_taken_back_even_if_whoever_promoted_it_dies(
    world: World, tmp_path: Path, dies: str
):
    champion, candidate = world.champion(0), world.waiting(BROKEN)
    kill(world, f"sqlite:///{tmp_path}/ledger.db", "approve", candidate.version, dies, tmp_path)
    for _ in range(3):
        world.watch.mind_champion()
    assert world.states() == {champion.version: "promoted", candidate.version: "rolled_back"}
    assert world.serving() == champion.version
    require_invariants(world)
    require_told_once(world)


@pytest.mark.parametrize("dies", ["after the smoke test", "after the alias was taken away"])
def test_a_first_champion_that_cannot_serve_ends_as_rolled_back(world: World, tmp_path: Path, dies: str):
    candidate = world.waiting(BROKEN)
    kill(world, f"sqlite:///{tmp_path}/ledger.db", "approve", candidate.version, dies, tmp_path)
    for _ in range(2):
        world.watch.mind_champion()
    assert (world.serving(), world.states()) == (None, {candidate.version: "rolled_back"})
    assert list(world.ledger.events(EventKind.CHAMPION_MOVED_OUTSIDE)) == []
    require_invariants(world)


def test_the_watch_itself_may_die(world: World, tmp_path: Path):
    champion, candidate = world.champion(0), world.waiting(1)
    url = f"sqlite:///{tmp_path}/ledger.db"
    kill(world, url, "approve", candidate.version, "after the answer", tmp_path)
    for dies in ("after the intent", "after the alias", "after the smoke test"):
        kill(world, url, "watch", 0, dies, tmp_path) if world.ledger.releases(S.APPROVED, S.PROMOTING) else None
    world.watch.mind_champion()
    assert world.states() == {champion.version: "superseded", candidate.version: "promoted"}
    require_invariants(world)


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
    world: World, tmp_path: Path, meddling: str, dies: str | None
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    other, champion, candidate = world.champion(0), world.champion(1), world.waiting(2)
    assert [other.version, champion.version, candidate.version] == [OTHER, CHAMPION, CANDIDATE]
    moves = AWAY_AND_BACK[meddling]
    log = tmp_path / "log"
    process = mortals.start(order(world, url, "approve", CANDIDATE, dies=dies, meddling=moves), log)
    process.join(120)
    said = log.read_text()
    undone = meddling == "seen by the move and gone when it is judged"
    reached = dies is not None and not (dies == "after the alias" and "seen" in meddling)
    assert process.exitcode == (-signal.SIGKILL if reached else 5 if undone else 0), said
    assert said.count("somebody moved the alias") == sum(map(len, moves.values())) or reached, said
    for _ in range(2):
        world.watch.mind_champion()
        require_invariants(world)
    promoted = {OTHER: "superseded", CHAMPION: "superseded", CANDIDATE: "promoted"}
    assert world.states() == promoted
    assert world.registry.champion().artifact_digest == candidate.artifact_digest
    require_told_once(world)


# -- at once


def at_once(world: World, url: str, folder: Path, *orders: dict[str, Any]) -> list[tuple[int, str]]:
    """Exit code and words of processes that start at the same moment."""
    go, processes = folder / "go", []
    for number, one in enumerate(orders):
        about = {"go": str(go), "ready": str(folder / f"ready{number}")}
        processes.append(mortals.start(order(world, url, **one, **about), folder / f"log{number}"))
    deadline = time.monotonic() + 120
    while not all((folder / f"ready{number}").exists() for number in range(len(orders))):
        assert time.monotonic() < deadline, [path.read_text() for path in folder.glob("log*")]
        time.sleep(0.02)
    go.touch()
    for process in processes:
        process.join(120)
    return [(one.exitcode, (folder / f"log{number}").read_text()) for number, one in enumerate(processes)]


def test_of_two_approvals_in_one_second_the_first_wins_and_the_other_is_told(there: tuple[World, str], tmp_path: Path):
    world, url = there
    champion, candidate = world.champion(0), world.waiting(1)
    both = at_once(
        world,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "who": "alice"},
        {"act": "approve", "version": candidate.version, "who": "bob"},
    )
    assert sorted(code for code, _ in both) == [0, 5], both
    winner = ("alice", "bob")[[code for code, _ in both].index(0)]
    assert world.ledger.release_by_version(candidate.version).decided_by == winner
    refused = next(said for code, said in both if code == 5)
    assert f"by {winner} at 20" in refused, refused
    assert world.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert [event.version for event in world.ledger.events(EventKind.PROMOTION_DONE)] == [1, 2]
    require_invariants(world)


def test_of_a_yes_and_a_no_in_one_second_one_wins(there: tuple[World, str], tmp_path: Path):
    world, url = there
    champion, candidate = world.champion(0), world.waiting(1)
    yes, no = at_once(
        world,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "who": "alice"},
        {"act": "reject", "version": candidate.version, "who": "bob"},
    )
    assert sorted([yes[0], no[0]]) == [0, 5], (yes, no)
    approved = yes[0] == 0
    assert world.states()[candidate.version] == ("promoted" if approved else "rejected")
    assert world.serving() == (candidate.version if approved else champion.version)
    require_invariants(world)


def test_at_the_very_second_of_the_deadline_one_transaction_decides(there: tuple[World, str], tmp_path: Path):
    world, url = there
    champion, candidate = world.champion(0), world.waiting(1, hours=30 / 3600)
    moment = (candidate.deadline - timedelta(milliseconds=100)).isoformat()
    yes, clock = at_once(
        world,
        url,
        tmp_path,
        {"act": "approve", "version": candidate.version, "not_before": moment},
        {"act": "expire", "version": 0, "not_before": candidate.deadline.isoformat()},
    )
    assert (clock[0], yes[0] in {0, 5}) == (0, True), (yes, clock)
    release = world.ledger.release_by_version(candidate.version)
    if yes[0] == 0:
        assert (release.state, world.serving()) == (S.PROMOTED, candidate.version)
        assert release.decided_at < candidate.deadline
    else:
        assert (release.state, world.serving()) == (S.EXPIRED, champion.version)
        assert release.moved_at >= candidate.deadline
        assert "expired" in yes[1]
    require_invariants(world)


def test_two_promotions_at_once_leave_one_champion_and_a_whole_chain(there: tuple[World, str], tmp_path: Path):
    """Two versions that were champion before, brought back by two people at the same moment."""
    world, url = there
    first, second, _third = world.champion(0), world.champion(1), world.champion(2)
    both = at_once(
        world,
        url,
        tmp_path,
        {"act": "rollback", "version": first.version, "who": "alice"},
        {"act": "rollback", "version": second.version, "who": "bob"},
    )
    assert {code for code, _ in both} <= {0, 5}, both
    assert 0 in {code for code, _ in both}
    assert world.serving() in {first.version, second.version}
    require_invariants(world)


def test_two_watches_at_once_finish_a_promotion_once(there: tuple[World, str], tmp_path: Path):
    world, url = there
    champion, candidate = world.champion(0), world.waiting(1)
    kill(world, url, "approve", candidate.version, "after the alias", tmp_path)
    both = at_once(world, url, tmp_path, {"act": "watch", "version": 0}, {"act": "watch", "version": 0})
    assert [code for code, _ in both] == [0, 0], both
    assert world.states() == {champion.version: "superseded", candidate.version: "promoted"}
    assert [event.version for event in world.ledger.events(EventKind.PROMOTION_DONE)] == [1, 2]
    assert [event.version for event in world.ledger.events(EventKind.SMOKE_TESTED)] == [1, 2]
    require_invariants(world)
