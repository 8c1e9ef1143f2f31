"""What an auditor does on the command line: verify, show, export, archive, grant."""

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from fraud_retraining.adapters.days.review_reports import read_review_report
from fraud_retraining.adapters.ledger import statements
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.signing_keys import KEY_VARIABLE
from fraud_retraining.adapters.mlflow.environment import environment
from fraud_retraining.cli import app
from fraud_retraining.commands.implementation.audit_tables import print_events, print_history
from fraud_retraining.commands.support import output
from fraud_retraining.definitions import defs
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import open_heads, open_ledger, open_registry, open_store
from fraud_retraining.services.release_history import read_release_history
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.ledger_history import FIRST, HOSTILE, configured, window, with_history
from fraud_retraining_tests.support.pages_read import Read
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome, use_home
from fraud_retraining_tests.support.signing import append_forged
from fraud_retraining_tests.support.tampering import put_back, run_sql, tamper

WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, as a person has them."""
    with patch.object(output.out, "_width", int(WIDE["COLUMNS"])):  # it may have been opened in a narrow terminal
        result = CliRunner().invoke(app, arguments, env=WIDE)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_list_without_events_says_so():
    console = Console(file=StringIO())
    print_events([], console)
    assert console.file.getvalue() == "The ledger has no such event.\n"  # type: ignore[attr-defined]


def answer(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(*arguments, "--json")
    assert out.count("\n") == 1
    return code, json.loads(out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    project = ProjectHome(tmp_path)
    project.configure()
    use_home(project, monkeypatch)
    return project


@pytest.fixture
def history_ledger(home: ProjectHome) -> Ledger:
    settings = load_settings()
    return with_history(open_ledger(settings), open_store(settings))


class TestShow:
    def test_one_screen_answers_why_a_version_is_live(self, history_ledger: Ledger):
        code, out, _ = run("audit", "show", "2")
        assert code == 0
        text = " ".join(out.split())
        as_of = FIRST + timedelta(days=2)
        for expected in (
            "It was judged beside version 1 and passed 8 of 8 gates; 1 did not apply.",
            "approved by bob (command line, own token)",
            "schedule: 48 hours are over (automation, sensor,",
            "2026-10-31 to 2026-11-09 (rolling): 100,000 rows, 800 frauds (0.80%)",
            f"{as_of - timedelta(days=10)} {digest((as_of - timedelta(days=10)).isoformat())[:8]}",
            "n_estimators=20",
            history_ledger.release_by_version(2).artifact_digest,
            "no_regression passed 0.0773 -0.0100 0.0873",
            "gates.alert_budget: 10 -> 20",
            "replaced version 1",
            "rolled back alice (command line) alerts doubled",
        ):
            assert expected in text, f"{expected!r} is not in\n{out}"
        assert len(out.splitlines()) <= 60, "it is one screen"

    @pytest.mark.parametrize("columns", [60, 80, 120])
    def test_a_digest_stands_on_the_line_of_its_day(self, history_ledger: Ledger, columns: int):
        narrow = Console(file=StringIO(), width=columns)
        print_history(read_release_history(history_ledger, 2), None, narrow)
        _, _, days = narrow.file.getvalue().partition("Day digests")  # type: ignore[attr-defined]
        assert re.search(r"^  \d{4}-\d\d-\d\d [0-9a-f]{8}", days, re.MULTILINE)
        assert not re.search(r"^[0-9a-f]{8}\b", days, re.MULTILINE)

    def test_a_hostile_text_is_shown_and_not_obeyed(self, history_ledger: Ledger):
        out = run("audit", "show", "2")[1] + run("audit", "list")[1]
        assert "\x1b" not in out
        assert "[bold]loud[/bold]" in out

    def test_programs_get_the_whole_history(self, history_ledger: Ledger):
        code, history = answer("audit", "show", "2")
        assert code == 0
        assert history["window"] == window(FIRST + timedelta(days=2)).model_dump(mode="json")
        assert history["decision"]["reason"] == HOSTILE
        assert len(history["data_digest"]) == 64

    def test_a_review_report_that_was_changed_is_reported_and_leaves_the_record_whole(self, history_ledger: Ledger):
        fingerprint = history_ledger.release_by_version(2).fingerprint
        open_store(load_settings()).write_document("review_pack", fingerprint, b"{}")
        code, out, err = run("audit", "show", "2")
        assert code == 0 and "passed 8 of 8 gates" in out
        assert "is not the one that was recorded" in err

    def test_a_version_that_does_not_exist(self, history_ledger: Ledger):
        code, result = answer("audit", "show", "41")
        assert (code, result["error"]["exit_code"]) == (5, 5)


class TestVerify:
    def test_a_head_that_was_exported_is_compared(self, history_ledger: Ledger, tmp_path: Path):
        assert answer("audit", "export", "--version", "2", "--out", str(tmp_path / "out"))[0] == 0
        head = history_ledger.head()
        for named in (f"{head.seq}:{head.hash}", str(tmp_path / "out" / "head.json")):
            assert answer("audit", "verify", "--head", named)[0] == 0
        other = f"{head.seq}:{'0' * 64}"
        code, result = answer("audit", "verify", "--head", other)
        assert (code, result["ok"], result["first_bad"]) == (1, False, head.seq)

    def test_each_way_to_change_the_record_is_named_by_its_row(self, history_ledger: Ledger):
        url, rows, head = load_settings().ledger_url, list(history_ledger.rows()), history_ledger.head()
        cut = f"UPDATE ledger_head SET seq = 9, hash = '{rows[8].hash}'"
        changes = {
            "edited": (["UPDATE audit_events SET payload = '{}' WHERE seq = 5"], 5),
            "deleted": (["DELETE FROM audit_events WHERE seq = 7"], 7),
            "reordered": (
                ["UPDATE audit_events SET seq = -1 WHERE seq = 3", "UPDATE audit_events SET seq = 3 WHERE seq = 4",
                 "UPDATE audit_events SET seq = 4 WHERE seq = -1"],
                3,
            ),
            "truncated": (["DELETE FROM audit_events WHERE seq > 9", cut], 10),
        }  # fmt: skip
        tamper(url)
        for name, (edits, row) in changes.items():
            run_sql(url, *edits)
            code, out, err = run("audit", "verify", "--head", f"{head.seq}:{head.hash}")
            assert (code, out) == (1, ""), name
            assert f"row {row}" in err, f"{name}: {err}"
            put_back(url, rows)
        code, _, err = run("audit", "verify")
        assert code == 1 and "the guard audit_events_no_update is missing" in err, "the rows are back, the guards not"

    @pytest.mark.parametrize("named", ["nowhere.json", "12", "12:abc", "head:of:nothing"])
    def test_what_is_no_head_is_a_usage_error(self, history_ledger: Ledger, named: str):
        assert answer("audit", "verify", "--head", named)[0] == 2

    def test_a_file_that_is_no_head_is_a_usage_error(self, history_ledger: Ledger, tmp_path: Path):
        for text in ("{}x", "[]", '{"head": {"seq": "many"}}'):
            (tmp_path / "head.json").write_text(text)
            assert answer("audit", "verify", "--head", str(tmp_path / "head.json"))[0] == 2, text


class TestExport:
    def test_a_period_and_a_version(self, history_ledger: Ledger, tmp_path: Path):
        today = datetime.now(UTC).date()
        code, result = answer("audit", "export", "--from", str(today), "--to", str(today), "--out", str(tmp_path / "p"))
        assert (code, result["events"]) == (0, history_ledger.head().seq)
        code, out, _ = run("audit", "export", "--version", "2", "--out", str(tmp_path / "v"))
        assert code == 0 and f"head {history_ledger.head().seq}:{history_ledger.head().hash}" in out
        page = Read((tmp_path / "v" / "report.html").read_text())
        assert "img" in page.elements, "the review report is in it"

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("--from", "2026-01-02"),
            ("--from", "2026-01-02", "--to", "2026-01-01"),
            ("--version", "1", "--to", "2026-01-01"),
        ],
        ids=["nothing", "half a period", "backwards", "both"],
    )
    def test_what_is_neither_is_a_usage_error(self, history_ledger: Ledger, tmp_path: Path, arguments: tuple[str, ...]):
        assert answer("audit", "export", "--out", str(tmp_path / "out"), *arguments)[0] == 2
        assert not (tmp_path / "out").exists()


class TestArchive:
    def test_nothing_goes_unless_the_settings_say_so(self, history_ledger: Ledger, tmp_path: Path):
        code, result = answer("audit", "archive", "--out", str(tmp_path / "archive"))
        assert (code, result["error"]["kind"]) == (2, "SettingsError")
        assert history_ledger.verify().archived == 0

    def test_what_is_old_is_moved_out_and_verified_together(
        self, home: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        home.configure(ledger={"retention_days": 400})
        ledger = open_ledger(load_settings())
        with monkeypatch.context() as patch:
            then = datetime.now(UTC) - timedelta(days=500)
            patch.setitem(statements.CLOCKS, "sqlite", f"SELECT '{then:%Y-%m-%dT%H:%M:%S.000Z}'")
            configured(ledger, {"note": "long ago"})
        folder = str(tmp_path / "archive")
        code, result = answer("audit", "archive", "--out", folder)
        assert (code, result["archived"]["first"], result["archived"]["through"]["seq"]) == (0, 1, 2)
        assert answer("audit", "archive", "--out", folder) == (0, {"archived": None})
        code, found = answer("audit", "verify")
        assert (code, found["archived"], found["count"]) == (0, 2, 3)
        assert answer("audit", "verify", "--archive", folder)[1]["archived"] == 0
        code, result = answer("audit", "verify", "--head", f"1:{'0' * 64}")
        assert (code, "was archived" in result["error"]["message"]) == (2, True)

    def test_less_than_a_year_is_refused(self, home: ProjectHome):
        home.configure(ledger={"retention_days": 364})
        assert answer("audit", "verify")[0] == 2


class TestAChangedRecord:
    def test_rows_of_releases_are_named_and_written_anew_in_the_name_of_a_user(self, history_ledger: Ledger):
        run_sql(history_ledger._url, "UPDATE releases SET state = 'approved', decided_by = 'alice' WHERE version = 4")
        code, out, err = run("audit", "verify")
        assert code == 1 and "release fraud_detector version 4: decided_by, state differ from its last event" in err
        code, result = answer("audit", "verify")
        assert code == 1 and not result["ok"] and result["releases"]
        code, out, _ = run("audit", "restore", "--by", "alice", "--reason", "edited by hand")
        assert code == 0 and "version 4" in out
        assert history_ledger.verify().ok and history_ledger.release_by_version(4).state == "awaiting_approval"
        assert history_ledger.last(EventKind.RECORD_RESTORED).payload["reason"] == "edited by hand"

    def test_rows_that_no_event_made_go_and_lost_ones_come_back(self, history_ledger: Ledger):
        run_sql(
            history_ledger._url,
            "CREATE TABLE copied AS SELECT * FROM releases WHERE version = 4",
            "UPDATE copied SET version = 9, fingerprint = 'f9'",
            "INSERT INTO releases SELECT * FROM copied",
            "DROP TABLE copied",
        )
        before = history_ledger.verify()
        assert any("version 9" in problem and "no event made it" in problem for problem in before.releases)
        assert run("audit", "restore", "--by", "alice", "--reason", "r")[0] == 0
        assert history_ledger.verify().ok and history_ledger.release_by_version(9) is None

    def test_a_chain_that_was_changed_is_not_restored_from(self, history_ledger: Ledger):
        tamper(history_ledger._url, "UPDATE audit_events SET actor = 'mallory' WHERE seq = 3")
        code, _, err = run("audit", "restore", "--by", "alice", "--reason", "r")
        assert code == 1 and "row 3 is not what was written" in err

    def test_a_ledger_that_is_gone_is_noticed_by_the_head_that_was_kept(
        self, history_ledger: Ledger, home: ProjectHome
    ):
        settings = load_settings()
        open_heads(settings).pin(history_ledger.head(), history_ledger.now())
        code, out, err = run("audit", "verify")
        assert code == 0 and f"row {history_ledger.head().seq} was pinned outside of it" in " ".join(out.split()), err
        history_ledger._database._started().dispose()
        for file in settings.home.glob("ledger.db*"):
            file.unlink()
        code, _, err = run("audit", "verify")
        assert code == 1 and "the chain was cut: it ends at row 0" in err

    def test_an_empty_ledger_beside_registered_versions_is_no_whole_one(self, home: ProjectHome):
        registry = open_registry(load_settings())
        registry._client.create_registered_model(registry.model_name)
        source, tags = (load_settings().home / "artifacts" / "model").as_uri(), {"fingerprint": "f1"}
        registry._client.create_model_version(registry.model_name, source, tags=tags)
        code, _, err = run("audit", "verify")
        assert code == 1 and "the ledger knows no release, but MLflow has versions 1" in err


def test_a_sqlite_ledger_has_no_roles(history_ledger: Ledger):
    code, result = answer("audit", "grant", "--role", "app")
    assert (code, "only PostgreSQL knows roles" in result["error"]["message"]) == (2, True)


@pytest.mark.slow
def test_a_retrain_leaves_a_record_a_review_report_and_a_card(project: ProjectHome, tmp_path: Path):
    """Through the real pipeline: a champion, then a candidate that is judged beside it."""
    project.configure(promotion={"mode": "auto"}, gates={"min_slice_frauds": 5})
    assert answer("retrain", "--as-of", str(AS_OF), "--reason", "the first")[1]["status"] == "promoted"
    later = AS_OF + timedelta(days=2)
    project.configure(promotion={"mode": "manual"}, gates={"max_regression": 1.0, "max_unproven_regression": 1.0})
    code, result = answer("retrain", "--as-of", str(later), "--reason", "for the auditor")
    assert (code, result["status"]) == (0, "awaiting_approval"), result

    history = answer("audit", "show", "2")[1]
    assert (history["asked"]["reason"], history["asked"]["via"]) == ("for the auditor", "command line")
    assert history["making"]["parameters"]["n_estimators"] == 25
    assert history["making"]["environment"] == environment().model_dump(mode="json")
    assert history["evaluation"]["champion_version"] == 1
    assert {"gates.max_regression", "promotion.mode"} <= {change["what"] for change in history["changed"]}
    assert len(history["window"]["training"]) == 8 and all(day["digest"] for day in history["window"]["training"])

    settings = load_settings()
    review_report = read_review_report(
        open_store(settings), history["release"]["fingerprint"], history["evaluation"]["review_digest"]
    )
    assert review_report is not None and review_report.champion_version == 1 and len(review_report.disagreements) == 20
    assert {one.use for one in review_report.maturity} == {"training", "holdout"}
    assert all(one.rows is not None and one.labelled <= one.rows for one in review_report.maturity)
    assert (
        review_report.effects.champion == "shap" and review_report.intervals["average_precision"].difference is not None
    )

    registry = open_registry(settings)
    described = registry._client.get_model_version(registry.model_name, "2").description
    assert "awaiting approval" in described and "## Gates" in described
    run_id = registry.version(2).run_id
    names = {one.path for one in registry._client.list_artifacts(run_id)}
    assert {"model_card.html", "review.json", "evaluation.json", "pictures"} <= names

    code, result = answer("audit", "export", "--version", "2", "--out", str(tmp_path / "out"))
    page = Read((tmp_path / "out" / "report.html").read_text())
    assert code == 0 and page.elements.count("img") == 4
    assert "The 20 transactions on which candidate and champion disagree most" in page.text
    assert answer("audit", "verify", "--head", str(tmp_path / "out" / "head.json"))[0] == 0

    again = answer("retrain", "--as-of", str(later))[1]
    assert again["status"] == "already_trained"
    assert answer("audit", "show", "2")[1]["evaluation"]["review_digest"] == history["evaluation"]["review_digest"]


class TestSigning:
    """From a ledger that nobody signs to one in which a forged row is named, void, and forgotten."""

    @pytest.fixture
    def signing(self, history_ledger: Ledger, home: ProjectHome, tmp_path: Path) -> ProjectHome:
        """A ledger of before, and a key that the settings name."""
        file = tmp_path / "keys" / "pipeline.pem"
        code, out, err = run("audit", "key", "--out", str(file))
        assert code == 0 and str(file) in "".join(err.split())
        name, line = out.strip().split(": ", 1)
        home.configure(ledger={"signers": {name: yaml.safe_load(line)}, "key_file": str(file)})
        return home

    def test_a_ledger_of_before_is_refused_until_a_person_begins(self, signing: ProjectHome):
        code, _, err = run("audit", "list")
        assert code == 2 and "audit sign" in err
        code, _, err = run("audit", "verify")
        assert code == 1 and "The ledger is not signed." in err
        assert run("retrain")[0] == 2
        rows = open_ledger(load_settings()).verify().count
        assert run("audit", "sign", "--reason", "r")[0] == 2, "nothing says who"
        code, out, err = run("audit", "sign", "--by", "alice", "--reason", "keys are there")
        assert code == 0 and f"From row {rows + 1} on" in out, err
        code, out, _ = run("audit", "verify")
        assert code == 0 and f"signed from row {rows + 1} on" in " ".join(out.split())
        assert run("audit", "sign", "--by", "alice", "--reason", "again")[0] == 5

    def test_a_forged_row_is_named_and_void_once_a_person_says_so(self, signing: ProjectHome):
        run("audit", "sign", "--by", "alice", "--reason", "keys are there")
        ledger = open_ledger(load_settings())
        forged = append_forged(ledger._url, EventKind.AUTOMATION_RESUMED, {"reason": "ok"}, subject="promotion").seq
        named = f"row {forged} (automation resumed) is not signed"
        for command in (("audit", "verify"), ("resume", "--by", "alice", "--reason", "go on")):
            code, _, err = run(*command)
            assert code == 1 and named in " ".join(err.split()), command
        assert (row := answer("audit", "list", "--last", "2")[1]["events"][-1])["seq"] == forged, row
        assert row["not_acted_on"] == named
        code, out, _ = run("audit", "list")
        assert code == 0 and "NOT ACTED ON, row" in " ".join(out.split())
        code, done = answer("audit", "void", str(forged), "--by", "alice", "--reason", "forged")
        assert code == 0 and done["void"] == forged
        none = append_forged(ledger._url, "\x1b[2J", {}, stored={"payload": "no event", "at": "yesterday"}).seq
        code, out, _ = run("audit", "list")
        assert code == 0 and "\x1b" not in out and "is not signed; no event" in " ".join(out.split())
        assert run("audit", "void", "1-2", "--by", "alice", "--reason", "forged")[0] == 2
        span = f"{none}..{none}"
        assert answer("audit", "void", span, "--by", "alice", "--reason", "forged")[1]["through"] == none
        code, found = answer("audit", "verify")
        assert (code, found["void"], found["ok"]) == (0, [forged, none], True)
        listed = {row["seq"]: row for row in answer("audit", "list", "--last", "4")[1]["events"]}
        assert listed[forged]["not_acted_on"] == f"void: {named}" and listed[none]["payload"] == "no event"
        assert run("audit", "void", "2", "--by", "alice", "--reason", "forged")[0] == 5

    def test_who_has_no_key_reads_and_adds_nothing(
        self, signing: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run("audit", "sign", "--by", "alice", "--reason", "keys are there")
        (tmp_path / "keys" / "pipeline.pem").unlink()
        for command in (("audit", "verify"), ("audit", "list"), ("audit", "show", "2"), ("status",), ("pending",)):
            assert run(*command)[0] == 0, command
        for command in (("retrain",), ("ingest", "--latest", "1"), ("serve-approvals", "--port", "0")):
            code, _, err = run(*command)
            assert code == 2 and "ledger.key_file cannot be read" in " ".join(err.split()), command
        with pytest.raises(SettingsError, match=r"ledger\.key_file cannot be read"):
            defs.load_fn()
        monkeypatch.setenv(KEY_VARIABLE, "nothing")
        assert KEY_VARIABLE in run("retrain")[2]
