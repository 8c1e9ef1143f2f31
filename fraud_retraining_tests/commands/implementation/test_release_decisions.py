"""Release decisions on the command line: proof of identity, messages and exit codes."""

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE, ReleaseLinks
from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.cli import app
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.reviewers import token_digest
from fraud_retraining.settings import REVIEWER_TOKEN_VARIABLE
from fraud_retraining_tests.support.approvals_fixture import Backend, Trained, new_backend, require_invariants, touched
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home

TOKEN = "d41d8cd98f00b204e9800998ecf8427e-of-alice"
ALICE = {"name": "alice", "token_sha256": token_digest(TOKEN)}


class Console:
    """A home whose registry holds a few versions, and its command line."""

    def __init__(self, backend: Backend, project: ProjectHome) -> None:
        self.backend = backend
        self.project = project
        self.configure()

    def configure(self, page: str | None = None, **promotion: Any) -> None:
        registry = self.backend.registry
        self.project.configure(
            alerts={"links": {"releases": page}},
            mlflow={"tracking_uri": registry.tracking_uri, "experiment": registry.experiment},
            model={"name": registry.model_name},
            promotion=promotion,
        )

    def refusals(self) -> list[tuple[str, str]]:
        events = self.backend.ledger.events(EventKind.DECISION_REFUSED)
        return [(event.actor, str(event.payload["refused"])) for event in events]


@pytest.fixture
def approvals(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Console:
    project = ProjectHome(tmp_path)
    project.home.mkdir()
    project.lake.mkdir()
    use_home(project, monkeypatch)
    return Console(new_backend(trained, f"sqlite:///{project.home}/ledger.db"), project)


def printed(*arguments: str) -> str:
    """The output for people, in one line."""
    result = CliRunner().invoke(app, list(arguments))
    return " ".join((result.stdout + result.stderr).split())


def test_what_waits_is_listed_with_its_numbers_and_its_time(approvals: Console):
    assert run("pending") == (0, {"pending": []}, "")
    assert printed("pending") == "nothing waits for a reviewer"
    version = approvals.backend.waiting(0).version
    code, answer, _ = run("pending")
    (waiting,) = answer["pending"]
    assert (code, waiting["release"]["version"], waiting["release"]["state"]) == (0, version, "awaiting_approval")
    assert 23 * 3600 < waiting["seconds_left"] <= 24 * 3600
    assert waiting["candidate"]["average_precision"] == 0.7
    assert waiting["champion"] is None
    text = printed("pending")
    for part in (f"Version {version} as of 2026-11-01", "hours left", "average_precision", "0.7000"):
        assert part in text


def test_a_name_is_enough_where_nothing_better_is_configured_and_the_record_says_so(approvals: Console):
    version = approvals.backend.waiting(0).version
    code, answer, _ = run("approve", str(version), "--by", "alice", "--reason", "looks right")
    assert (code, answer["state"], answer["decided_by"]) == (0, "promoted", "alice")
    assert answer["decided_via"] == "command line, unverified"
    assert approvals.backend.serving() == version


def test_the_message_names_who_decided_and_how(approvals: Console):
    version = approvals.backend.waiting(0).version
    text = printed("approve", str(version), "--by", "alice")
    assert f"version {version} as of 2026-11-01 is promoted by alice (command line, unverified)" in text


def test_the_second_answer_leaves_with_5_and_the_name_of_the_first(approvals: Console):
    version = approvals.backend.waiting(0).version
    run("reject", str(version), "--by", "alice", "--reason", "scores jump")
    code, answer, _ = run("approve", str(version), "--by", "bob")
    assert (code, answer["error"]["kind"]) == (5, "Conflict")
    assert "rejected by alice at 20" in answer["error"]["message"]
    assert "scores jump" in answer["error"]["message"]


def test_an_own_token_from_the_environment_proves_who_it_is(approvals: Console, monkeypatch: pytest.MonkeyPatch):
    approvals.configure(reviewers=[ALICE], require_verified=True)
    version = approvals.backend.waiting(0).version
    code, answer, _ = run("approve", str(version), "--by", "alice")
    assert (code, answer["error"]["kind"]) == (2, "NotPermitted")
    monkeypatch.setenv(REVIEWER_TOKEN_VARIABLE, "a guess")
    assert run("approve", str(version))[0] == 2
    monkeypatch.setenv(REVIEWER_TOKEN_VARIABLE, TOKEN)
    code, answer, _ = run("approve", str(version), "--by", "bob")
    assert (code, answer["error"]["message"]) == (2, "the own token belongs to alice, not to bob")
    code, answer, _ = run("approve", str(version))
    assert (code, answer["decided_by"], answer["decided_via"]) == (0, "alice", "command line, own token")
    assert [who for who, _ in approvals.refusals()] == ["alice", account(), "bob"]


def test_a_token_is_never_written_down(approvals: Console, monkeypatch: pytest.MonkeyPatch):
    approvals.configure(reviewers=[ALICE])
    version = approvals.backend.waiting(0).version
    monkeypatch.setenv(REVIEWER_TOKEN_VARIABLE, TOKEN)
    output = printed("reject", str(version), "--reason", "no") + printed("status") + printed("audit", "list")
    stored = b"".join(path.read_bytes() for path in approvals.project.home.rglob("*") if path.is_file())
    assert TOKEN not in output
    assert TOKEN.encode() not in stored


def test_an_account_proves_who_it_is_whatever_the_environment_claims(
    approvals: Console, monkeypatch: pytest.MonkeyPatch
):
    mine = account()
    approvals.configure(reviewers=[{"name": "alice", "os_user": mine}, {"name": "bob", "os_user": "somebody-else"}])
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    version = approvals.backend.waiting(0).version
    assert run("approve", str(version), "--by", "bob")[0] == 2
    code, answer, _ = run("approve", str(version))
    assert (code, answer["decided_by"]) == (0, "alice")
    assert answer["decided_via"] == "command line, operating-system account"


def test_a_stranger_leaves_with_2_and_is_on_record(approvals: Console):
    approvals.configure(reviewers=["alice"])
    version = approvals.backend.waiting(0).version
    for arguments in (("approve", str(version)), ("reject", str(version), "--reason", "no")):
        code, answer, _ = run(*arguments, "--by", "mallory")
        assert (code, answer["error"]["message"]) == (2, "mallory is not a reviewer")
    assert run("rollback", "--to", str(version), "--by", "mallory", "--reason", "no")[0] == 2
    assert approvals.refusals() == [("mallory", "mallory is not a reviewer")] * 3
    assert approvals.backend.states() == {version: "awaiting_approval"}


def test_without_anything_that_says_who_decides_it_is_a_usage_error(approvals: Console):
    version = approvals.backend.waiting(0).version
    code, answer, _ = run("approve", str(version))
    assert (code, answer["error"]["message"]) == (2, "nothing says who decides")


def test_the_requester_cannot_approve_the_candidate(approvals: Console):
    approvals.configure(reviewers=[{"name": "alice", "os_user": account()}, "bob"])
    version = approvals.backend.waiting(0, trigger="manual", requested_by=account()).version
    code, answer, _ = run("approve", str(version))
    assert code == 2
    assert f"alice requested version {version}" in answer["error"]["message"]
    assert run("approve", str(version), "--by", "bob")[0] == 2, "the account is alice's"


@pytest.mark.parametrize(
    ("promotion", "output"),
    [
        ({"reviewers": ["alice", "bob"]}, "needs require_verified: true"),
        ({"reviewers": [ALICE, "bob"], "require_verified": True}, "and 1 can"),
        ({"reviewers": [ALICE, {"name": "bob", "os_user": "bdoe"}]}, "needs require_verified: true"),
        ({}, "and 0 can"),
    ],
    ids=["two names", "one proof", "proofs that are not required", "no reviewers"],
)
def test_two_names_are_not_two_people(approvals: Console, promotion: dict[str, Any], output: str):
    approvals.configure(two_person=True, **promotion)
    code, answer, _ = run("pending")
    assert code == 2
    assert any(output in culprit for culprit in answer["error"]["culprits"]), answer


def test_two_different_reviewers_have_to_approve(approvals: Console, monkeypatch: pytest.MonkeyPatch):
    bob = {"name": "bob", "os_user": account()}
    approvals.configure(reviewers=[ALICE, bob], two_person=True, require_verified=True)
    version = approvals.backend.waiting(0).version
    monkeypatch.setenv(REVIEWER_TOKEN_VARIABLE, TOKEN)
    code, answer, _ = run("approve", str(version))
    assert (code, answer["state"], answer["first_approval_by"]) == (0, "awaiting_approval", "alice")
    assert run("approve", str(version))[0] == 5
    assert "a second reviewer has to approve" in printed("pending")
    monkeypatch.delenv(REVIEWER_TOKEN_VARIABLE)
    code, answer, _ = run("approve", str(version))
    assert (code, answer["state"]) == (0, "promoted")


def test_a_late_answer_leaves_with_5(approvals: Console):
    version = approvals.backend.waiting(0, hours=1e-7).version
    code, answer, _ = run("approve", str(version), "--by", "alice")
    assert code == 5
    assert "expired" in answer["error"]["message"]


def test_a_changed_artifact_leaves_with_1_and_the_champion_stays(approvals: Console):
    champion, candidate = approvals.backend.champion(0), approvals.backend.waiting(1)
    with touched(approvals.backend.trained.folders[1]) as folder:
        (folder / "MLmodel").write_text("something else")
        code, answer, _ = run("approve", str(candidate.version), "--by", "alice")
    assert (code, answer["error"]["kind"]) == (1, "IntegrityError")
    assert approvals.backend.serving() == champion.version


def test_a_rollback_pauses_automatic_promotion_until_a_user_resumes(approvals: Console):
    first, second = approvals.backend.champion(0), approvals.backend.champion(1)
    assert run("rollback", "--to", "9", "--by", "alice", "--reason", "x")[0] == 5
    code, answer, _ = run("rollback", "--to", str(first.version), "--by", "alice", "--reason", "alerts doubled")
    assert (code, answer["state"], approvals.backend.serving()) == (0, "promoted", first.version)
    assert approvals.backend.states()[second.version] == "rolled_back"
    _, status, _ = run("status")
    assert status["promotion_paused"]["by"] == "alice"
    assert "alerts doubled" in printed("status")
    code, answer, _ = run("resume", "--promotion", "--by", "alice", "--reason", "it was the lake")
    assert (code, [pause["subject"] for pause in answer["resumed"]]) == (0, ["promotion"])
    assert run("resume", "--by", "alice", "--reason", "again") == (0, {"resumed": []}, "")
    assert run("status")[1]["promotion_paused"] is None
    require_invariants(approvals.backend)


def test_who_may_not_decide_may_not_resume_promotion(approvals: Console):
    first = approvals.backend.champion(0)
    approvals.backend.champion(1)
    approvals.configure(reviewers=["alice"])
    run("rollback", "--to", str(first.version), "--by", "alice", "--reason", "alerts doubled")
    assert run("resume", "--by", "mallory", "--reason", "let it run")[0] == 2
    assert run("status")[1]["promotion_paused"] is not None


def test_status_says_how_far_trust_has_grown_and_why_the_last_release_did_not_go_by_itself(approvals: Console):
    approvals.configure(mode="earned")
    for model in (0, 1):
        version = approvals.backend.waiting(model).version
        run("approve", str(version), "--by", "alice")
    _, status, _ = run("status")
    assert (status["trust"]["approved"], status["trust"]["approved_needed"]) == (2, 20)
    assert "2 of 20 releases approved in a row" in printed("status")
    assert status["last_release"].startswith("version 2 did not go by itself")


def test_status_offers_the_way_back_from_a_damaged_champion(approvals: Console):
    good = approvals.backend.champion(0)
    approvals.backend.champion(1)
    with touched(approvals.backend.trained.folders[1]) as folder:
        (folder / "MLmodel").unlink()
        approvals.backend.watch.check_champion()
    assert f"`fraud-retraining rollback --to {good.version}`" in run("status")[1]["champion_problem"]


@pytest.mark.slow
def test_a_token_is_typed_at_a_terminal_and_not_shown(approvals: Console):
    approvals.configure(reviewers=[ALICE])
    version = approvals.backend.waiting(0).version
    code, output = _at_a_terminal(["approve", str(version), "--by", "alice"], "Token of alice", TOKEN)
    assert code == 0, output
    assert "is promoted by alice (command line, own token)" in " ".join(output.split())
    assert TOKEN not in output


def _at_a_terminal(arguments: list[str], prompt: str, answer: str, seconds: float = 120) -> tuple[int, str]:
    """Exit code of a command whose prompt was answered at a terminal, and everything that the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fraud_retraining.cli", *arguments]
    # a session of its own: the command has no other terminal than this one
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    output, answered, deadline = "", False, time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and (piece := _read(ours)) is not None:
            output += piece
            if prompt in output and not answered and not termios.tcgetattr(ours)[3] & termios.ECHO:
                os.write(ours, f"{answer}\n".encode())
                answered = True
        return process.wait(10), output
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int) -> str | None:
    """What a terminal shows next, if anything; None once its other end is closed."""
    if not select.select([terminal], [], [], 0.2)[0]:
        return ""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return None


def test_the_answer_is_one_json_object(approvals: Console):
    version = approvals.backend.waiting(0).version
    result = CliRunner().invoke(app, ["approve", str(version), "--by", "alice", "--json"])
    assert json.loads(result.stdout)["version"] == version


# ------------------------------------------------------------------ links

SECRET = "a secret that is long enough to sign links with"
PAGE, REVIEWERS = "https://fraud.example/releases", ["bob", "carol"]


def with_page(approvals: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LINK_VARIABLE, SECRET)
    approvals.configure(PAGE, reviewers=REVIEWERS)


def test_a_link_is_printed_alone_and_only_that_it_was_made_is_recorded(
    approvals: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_page(approvals, monkeypatch)
    waiting = approvals.backend.waiting(0)
    code, answer, _ = run("link", str(waiting.version), "--for", "bob")
    assert code == 0
    assert answer["url"].startswith(f"{PAGE}/{waiting.version}?link=")
    token = answer["url"].split("link=")[1]
    read = ReleaseLinks(SECRET, hours=24).read(token)
    assert (read.version, read.digest, read.reviewer) == (waiting.version, waiting.artifact_digest, "bob")
    (event,) = approvals.backend.ledger.events(EventKind.LINK_MADE)
    assert (event.version, event.payload["reviewer"]) == (waiting.version, "bob")
    assert token not in event.model_dump_json() and read.nonce not in event.model_dump_json()
    assert answer["expires_at"].startswith(waiting.deadline.isoformat()[:19])
    assert not list(approvals.project.home.glob("alerts*")), "no file gets it"
    assert approvals.backend.ledger.verify().ok


def test_only_a_reviewer_gets_a_link_to_a_waiting_version(approvals: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    with_page(approvals, monkeypatch)
    waiting, champion = approvals.backend.waiting(0), approvals.backend.champion(1)
    code, answer, _ = run("link", str(waiting.version), "--for", "mallory")
    assert (code, answer["error"]["kind"]) == (2, "NotPermitted")
    assert "bob, carol" in answer["error"]["remedy"]
    for version in (champion.version, 999):
        code, answer, _ = run("link", str(version), "--for", "bob")
        assert (code, answer["error"]["kind"]) == (5, "Conflict"), version
    assert approvals.backend.kinds(EventKind.LINK_MADE) == []


@pytest.mark.parametrize("missing", ["secret", "page"])
def test_what_a_link_needs_is_named(approvals: Console, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(LINK_VARIABLE, raising=False)
    if missing == "page":
        monkeypatch.setenv(LINK_VARIABLE, SECRET)
    approvals.configure(None if missing == "page" else PAGE, reviewers=REVIEWERS)
    waiting = approvals.backend.waiting(0)
    code, answer, _ = run("link", str(waiting.version), "--for", "bob")
    assert (code, answer["error"]["kind"]) == (2, "SettingsError")
    named = LINK_VARIABLE if missing == "secret" else "alerts.links.releases"
    assert named in " ".join(answer["error"]["culprits"])
