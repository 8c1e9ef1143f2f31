"""Pages need nothing from elsewhere, run nothing, show texts as they were written, and answer a stranger."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import jinja2
import pytest
from jinja2 import Environment, meta

import fraud_retraining
from fraud_retraining.adapters.days.review_reports import read_review_report, write_review_report
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages import html as pages_of
from fraud_retraining.adapters.pages.html import (
    Exported,
    answer_html,
    card_html,
    period_html,
    release_html,
    releases_html,
    replay_html,
    version_html,
)
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.audit.period import Period
from fraud_retraining.domain.ledger.hash_chain import NOTHING
from fraud_retraining.domain.release_messages.request import request_text
from fraud_retraining.domain.release_messages.slack_request import request_message
from fraud_retraining.domain.review.model_card import MOST_CHARACTERS, SHORTENED, card_markdown, limits, markdown
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.services.release_history import events_about, read_release_history
from fraud_retraining_tests.support.ledger_history import FIRST, HOSTILE, with_history
from fraud_retraining_tests.support.pages_read import Read
from fraud_retraining_tests.support.replay_results import replay_of, result_of
from fraud_retraining_tests.support.reviews import review_report

pytest_plugins = ("fraud_retraining_tests.support.databases",)

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Store]:
    folder = tmp_path_factory.mktemp("life")
    store = Store(open_location(str(folder / "store"), s3=None, cache=folder / "cache"), scratch=folder / "scratch")
    return with_history(Ledger(f"sqlite:///{folder}/ledger.db"), store), store


def history_of(record: tuple[Ledger, Store], version: int):
    ledger, store = record
    history = read_release_history(ledger, version)
    return history, read_review_report(store, history.release.fingerprint, history.evaluation.review_digest)


@pytest.fixture(scope="module")
def pages(record: tuple[Ledger, Store]) -> dict[str, str]:
    ledger, _ = record
    exported = Exported(at=AT, head=ledger.head(), chain_ok=True)
    history, shown = history_of(record, 2)
    events = list(ledger.events())
    span = Period(first=date(2020, 1, 1), last=date(2100, 1, 1))
    return {
        "version": version_html(history, shown, events_about(ledger, history.release), exported),
        "card": card_html(history, shown),
        "period": period_html("fraud_detector", span, events, {}, exported),
        "replay": replay_html(replay_of(result_of("present settings", [0.5]), result_of(HOSTILE_NAME, [0.6]))),
    }


def filled(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> dict[str, set[str]]:
    """The names that each template is given, filled in as pages are made."""
    found: dict[str, set[str]] = {}

    class Noted(jinja2.runtime.Context):
        def __init__(self, environment, parent, name, blocks, globals=None):
            found.setdefault(name, set(parent))
            found[name] &= set(parent)
            super().__init__(environment, parent, name, blocks, globals)

    monkeypatch.setattr(environment, "context_class", Noted)
    return found


def read_by(environment: Environment, name: str) -> Iterator[str]:
    """The names that a page reads on whatever path, with the templates that it extends and includes."""
    tree = environment.parse(environment.loader.get_source(environment, name)[0])
    imported = {node.target for node in tree.find_all(jinja2.nodes.Import)}
    yield from meta.find_undeclared_variables(tree)
    for node in tree.find_all((jinja2.nodes.Extends, jinja2.nodes.Include)):
        yield from (found for found in read_by(environment, node.template.value) if found not in imported)


def test_no_path_through_a_page_meets_a_name_without_a_value(
    record: tuple[Ledger, Store], monkeypatch: pytest.MonkeyPatch
):
    environment = pages_of._templates()
    given = filled(monkeypatch, environment)
    ledger, _ = record
    history, shown = history_of(record, 2)
    exported, events = Exported(at=AT, head=ledger.head(), chain_ok=True), list(ledger.events())
    version_html(history, shown, events, exported)
    card_html(history, None)
    period_html("fraud_detector", Period(first=FIRST, last=FIRST), events, {}, exported)
    releases_html([], [history.release])
    release_html(history, None, None, LinkPolicy())
    answer_html("Busy", "Later.")
    replay_html(replay_of(result_of("present settings", [0.5])))
    whole = {name for name in environment.list_templates() if name.split(".")[0] in PAGES}
    assert len(whole) == len(PAGES)
    for name in whole:
        assert set(read_by(environment, name)) - {"parts"} <= given[name], name
    assert {"served", "opened", "consequences"} <= given["release.html.j2"]


PAGES = ("version", "card", "period", "releases", "release", "answer", "replay")
HOSTILE_NAME = "\x1b[31m<script>alert('reason')</script>"
UPGRADED = """
import sys
from pathlib import Path
import fraud_retraining
import fraud_retraining.adapters.pages.html as pages
folder = Path(fraud_retraining.__file__).parent / "templates"
assert folder.is_relative_to(sys.argv[1])
files = list(folder.glob("*.j2"))
assert files
for file in files:
    file.write_text("{{ a_name_of_the_next_version }}")
print(pages.answer_html("Busy", "Come back later."))
"""


def test_an_upgrade_under_a_running_process_changes_none_of_its_pages(tmp_path: Path):
    package = Path(fraud_retraining.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", UPGRADED, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Come back later." in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["version", "card", "period", "replay"])
def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(pages: dict[str, str], name: str):
    read = Read(pages[name])
    assert read.open == []
    assert not {"script", "link", "iframe", "object", "form", "a"} & set(read.elements)
    assert read.handlers == []
    assert all(reference.startswith("data:image/png;base64,") for reference in read.references)
    assert "url(" not in pages[name] and "@import" not in pages[name]


@pytest.mark.parametrize("name", ["version", "card", "period", "replay"])
def test_a_hostile_text_is_shown_as_it_was_written(pages: dict[str, str], name: str):
    assert "default-src 'none'" in pages[name]
    assert "<script>" not in pages[name] and "\x1b" not in pages[name]
    assert "<script>alert('reason')</script>" in Read(pages[name]).text


def test_a_category_that_is_markup_is_text(pages: dict[str, str]):
    assert "<b>" not in pages["card"]
    assert ["city", "<b>elm</b>"] in [cells[:2] for cells in Read(pages["card"]).cells]


class TestAStranger:
    """What an auditor can answer from the report alone."""

    def test_what_data_trained_it(self, pages: dict[str, str]):
        read = Read(pages["version"])
        assert "Learnt from 2026-10-31 to 2026-11-09 (rolling, 10 days): 100,000 transactions, 800 frauds" in read.text
        day = (FIRST - timedelta(days=8)).isoformat()
        assert [cells for cells in read.cells if cells and cells[0] == day and digest(day) in cells]

    def test_which_gates_it_passed_and_by_how_much(self, pages: dict[str, str], record: tuple[Ledger, Store]):
        read, (history, _) = Read(pages["version"]), history_of(record, 2)
        for gate in history.gates:
            row = read.row(gate.name)
            assert row[1] == ("passed" if gate.applicable else "not applicable")
            counted = gate.margin is not None and gate.margin >= 10 and gate.margin.is_integer()
            assert row[4] == (f"{gate.margin:{',.0f' if counted else '.4f'}}" if gate.applicable else "-")
            assert row[5] == gate.message

    def test_who_approved_it_and_why(self, pages: dict[str, str]):
        assert f"approved by bob (command line, own token): {HOSTILE[:30]}" in Read(pages["version"]).text

    def test_what_it_replaced_and_what_became_of_it(self, pages: dict[str, str]):
        text = Read(pages["version"]).text
        assert "took the place of version 1" in text
        assert "rolled back by alice" in text and "alerts doubled" in text

    def test_what_was_configured_otherwise(self, pages: dict[str, str]):
        assert Read(pages["version"]).row("gates.alert_budget") == ["gates.alert_budget", "10", "20"]

    def test_where_the_chain_ended(self, pages: dict[str, str], record: tuple[Ledger, Store]):
        head = record[0].head()
        for name in ("version", "period"):
            assert f"--head {head.seq}:{head.hash}" in Read(pages[name]).text


class TestPeriod:
    def test_every_retrain_says_what_it_came_to(self, pages: dict[str, str]):
        rows = [cells for cells in Read(pages["period"]).cells if "48 hours are over" in cells]
        assert [row[5] for row in rows] == ["1", "2", "3", "4"]
        assert [row[8] for row in rows] == ["promoted", "rolled back", "rejected", "awaiting approval"]

    def test_decisions_promotions_and_settings_are_listed(self, pages: dict[str, str]):
        read = Read(pages["period"])
        assert [cells[2:4] for cells in read.cells if len(cells) == 6 and cells[2] in ("approved", "rejected")] == [
            ["approved", "alice"], ["approved", "bob"], ["rejected", "alice"],
        ]  # fmt: skip
        assert [cells[1:4] for cells in read.cells if len(cells) == 7 and "version" in cells[1]] == [
            ["version 1", "no version", "promotion"],
            ["version 2", "version 1", "promotion"],
            ["version 1", "version 2", "rollback"],
        ]
        assert ["settings: gates.alert_budget", "10", "20"] in [cells[2:] for cells in read.cells]
        assert "4 retrains requested, 4 models trained, 4 versions registered, 2 approved, 1 rejected" in read.text

    def test_an_empty_period_is_a_page_too(self):
        span = Period(first=date(2020, 1, 1), last=date(2020, 1, 2))
        exported = Exported(at=AT, head=NOTHING, chain_ok=True)
        assert "0 retrains requested" in Read(period_html("m", span, [], {}, exported)).text


def test_a_version_without_a_review_report_says_so(record: tuple[Ledger, Store]):
    history, _ = history_of(record, 2)
    assert "No review report was made for this version." in Read(card_html(history, None)).text


class TestCard:
    def test_it_has_every_section_and_fits_into_the_registry(self, record: tuple[Ledger, Store]):
        text = card_markdown(*history_of(record, 2))
        assert len(text) <= MOST_CHARACTERS
        sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
        assert sections == [
            "Why it stands where it stands", "Purpose", "Data", "Metrics", "Thresholds", "Gates", "Limits", "Lineage",
            "Approvals", "Slices",
        ]  # fmt: skip
        assert SHORTENED not in text

    def test_of_several_models_each_says_which_transactions_it_is_for(self, record: tuple[Ledger, Store]):
        history, shown = history_of(record, 2)
        assert history.model is not None and history.segment == ""
        fit = history.model.determined_by
        own = fit.model_copy(
            update={"model": {**fit.model, "where": {"COUNTRY": ["FR", None], "amount": {"below": 50}}}}
        )
        history = history.model_copy(update={"model": history.model.model_copy(update={"determined_by": own})})
        words = "COUNTRY is FR or missing, and amount is below 50"
        card, page = card_markdown(history, shown), Read(card_html(history, shown)).text
        asked, message = (
            request_text(history, shown, LinkPolicy()),
            json.dumps(request_message(history, shown, LinkPolicy())),
        )
        assert all(words in text for text in (card, page, asked, message))
        assert f"each payment transaction of which {words} the probability" in card

    def test_what_does_not_fit_is_left_out_by_whole_sections_and_said(self, record: tuple[Ledger, Store]):
        history, shown = history_of(record, 2)
        many = tuple(one.model_copy(update={"value": f"city {n}"}) for n in range(99) for one in shown.slices[:1])
        text = card_markdown(history, shown.model_copy(update={"slices": many}))
        assert len(text) <= MOST_CHARACTERS and text.endswith(SHORTENED)
        assert "## Approvals" in text and "## Slices" not in text

    def test_no_text_of_the_record_is_markup(self, record: tuple[Ledger, Store]):
        text = card_markdown(*history_of(record, 2))
        assert "<script>" not in text.replace(r"\<", "") and "[x](" not in text and "\x1b" not in text
        assert r"\[x\](javascript:1)" in text

    def test_limits_name_what_was_not_shown(self, record: tuple[Ledger, Store]):
        first = " ".join(limits(*history_of(record, 1)))
        assert "It has seen no fraud that happened after 2026-11-07, 7 days before its as-of day." in first
        assert "It was not compared with a champion: there is no champion yet." in first
        second = " ".join(limits(*history_of(record, 2)))
        assert "not shown to be better" not in second
        assert "Slices with too few frauds to be judged: amount_band under 10" in second
        assert "What had drifted by 2026-11-14 from what the champion learnt from: amount." in second

    @pytest.mark.parametrize("text", ["a\nb", "# head", "| cell |", "`code`", "**bold**", "![x](http://e)", "<img>"])
    def test_text_stays_text(self, text: str):
        shown = markdown(text)
        assert "\n" not in shown
        unescaped = shown.replace("\\", "")
        assert unescaped == text.replace("\n", " ")


class TestReviewReport:
    def test_a_review_report_is_read_as_it_was_recorded(self, tmp_path: Path):
        store = Store(open_location(str(tmp_path), s3=None, cache=tmp_path / "c"), scratch=tmp_path / "s")
        recorded = write_review_report(store, review_report())
        assert read_review_report(store, review_report().fingerprint, recorded).document() == review_report().document()
        assert read_review_report(store, "0" * 64) is None

    def test_a_review_report_that_was_changed_is_refused(self, tmp_path: Path):
        store = Store(open_location(str(tmp_path), s3=None, cache=tmp_path / "c"), scratch=tmp_path / "s")
        recorded = write_review_report(store, review_report())
        write_review_report(store, review_report().model_copy(update={"frauds": 1}))
        with pytest.raises(IntegrityError, match="its digest is another one"):
            read_review_report(store, review_report().fingerprint, recorded)
        store.write_document("review_pack", review_report().fingerprint, b"{}")
        with pytest.raises(IntegrityError, match="cannot be understood"):
            read_review_report(store, review_report().fingerprint)
