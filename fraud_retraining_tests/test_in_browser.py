"""What people see in a real browser of a pipeline that runs: Dagster's UI, the page of releases, an exported report.

One small lake with a champion and a candidate that waits. Schedules and sensors start switched off
(`environment: development`), so that each test decides what happens by itself.
"""

import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dagster._core.scheduler.instigation import InstigatorType, ScheduleInstigatorData

from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE
from fraud_retraining.domain.data.day_checks import DAY_CHECKS
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import (
    RETRAIN_SCHEDULE,
)
from fraud_retraining.orchestration.resources import open_ledger, open_links
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.browsers import DESKTOP, PHONE, Visit, keep, require_readable, visiting
from fraud_retraining_tests.support.command_line import retrain, run
from fraud_retraining_tests.support.daemons import daemon_over, releases_over, webserver_over
from fraud_retraining_tests.support.project_homes import AS_OF, DAYS, START, ProjectHome, use_home

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytest_plugins = ("fraud_retraining_tests.support.browser_fixtures",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GROUPS = {
    "ingestion": ("raw_transactions", "transactions"),
    "features": ("entity_days", "transaction_features"),
    "serving": ("online_state",),
    "training": ("training_window", "fraud_model"),
    "evaluation": ("model_evaluation",),
    "promotion": ("registered_model", "production_model"),
    "monitoring": (
        "scored_transactions",
        "drift_report",
        "production_performance",
        "served_skew",
        "shadow_scores",
        "promotion_watch",
    ),
}
SCHEDULES = ("daily_ingest", "daily_clean", "retrain_schedule")
SENSORS = ("ingest_sensor", "retrain_sensor", "monitoring_sensor", "releases_sensor", "champion_sensor")
CANDIDATE = AS_OF + timedelta(days=2)
SECRETS = {LINK_VARIABLE: "a secret that is long enough to sign links with"}
WIDE = {"viewport": {"width": 1600, "height": 1000}}
LONG_MS = 180_000
"""Patience with a run, which takes two processes to start."""
A_DAY = 26 * 3600
"""Seconds that hold a whole day, whatever the hour."""


@pytest.fixture(scope="module", autouse=True)
def waiting(promoted_home: ProjectHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectHome]:
    """A home with a champion and a candidate of the lake's last day that waits for a reviewer."""
    project = ProjectHome(tmp_path_factory.mktemp("waiting") / "copy")
    shutil.copytree(promoted_home.folder, project.folder)
    for later in range((CANDIDATE - START).days + 1, DAYS):
        project.day_file(START + timedelta(days=later)).unlink()
    project.configure(
        environment="development",
        promotion={"mode": "manual", "reviewers": ["anna", "bert"]},
        gates={"max_regression": 0.05},
        triggers={"poll_seconds": 5},
    )
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        code, answer, _ = retrain(CANDIDATE)
        assert (code, answer["status"]) == (0, "awaiting_approval"), answer
        yield project


@pytest.fixture(scope="module")
def ui(waiting: ProjectHome) -> Iterator[str]:
    with webserver_over(waiting) as address:
        yield address


@pytest.fixture
def approvals(browser: "Browser") -> Iterator[Visit]:
    """Somebody at a wide screen; Dagster's UI loads nothing from elsewhere."""
    with visiting(browser, WIDE) as visit:
        yield visit
        assert visit.elsewhere == []


# ------------------------------------------------------------------ Dagster's UI


def test_the_lineage_shows_every_group_and_asset(ui: str, approvals: Visit) -> None:
    page = approvals.page
    page.goto(f"{ui}/asset-groups")
    graph = page.locator("svg foreignObject")
    for group in GROUPS:
        graph.get_by_text(group, exact=True).first.wait_for()
    page.get_by_role("button", name="Hide navigation").click()
    page.set_viewport_size({"width": 2400, "height": 2000})
    page.keyboard.press("Alt+e")
    for group, assets in GROUPS.items():
        graph.get_by_text(group, exact=True).first.wait_for()
        for asset in assets:
            graph.get_by_text(as_written(asset)).first.wait_for()
    approvals.picture("lineage", around=graph)


def as_written(name: str) -> re.Pattern[str]:
    """A name as the graph writes it, which leaves out the middle of a long one."""
    return re.compile(f"^{name[:3]}\\w*…?\\w*{name[-5:]}$")


@pytest.mark.parametrize(
    ("asset", "check", "rules"),
    [("transactions", "fraud_rate", DAY_CHECKS), ("training_window", "minimum_rows", WINDOW_CHECKS)],
)
def test_the_checks_of_an_asset_show_their_results(
    ui: str, approvals: Visit, asset: str, check: str, rules: dict[str, object]
) -> None:
    page = approvals.page
    page.goto(f"{ui}/assets/{asset}?view=checks&checkDetail={check}")
    page.get_by_text(f"Checks ({len(rules)})").wait_for()
    page.get_by_text("Latest execution").wait_for()
    page.get_by_text("Passed").first.wait_for()
    for rule in rules:
        page.get_by_text(rule).first.wait_for()
    # A check that passed gives its numbers too.
    page.get_by_text(re.compile(r"\d[\d,]* (of|labelled|rows)")).first.wait_for()
    approvals.picture(f"checks_of_{asset}")


def test_a_partition_is_materialized_by_clicking(ui: str, approvals: Visit, waiting: ProjectHome) -> None:
    page = approvals.page
    with daemon_over(waiting):
        page.goto(f"{ui}/assets/transactions?view=partitions")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Show all partitions").click()
        dialog.get_by_role("textbox").first.fill(str(CANDIDATE))
        dialog.get_by_role("textbox").first.press("Enter")
        dialog.get_by_role("button", name="Launch 1 run").click()
        page.get_by_text("Launched run").wait_for()
        page.get_by_text("View", exact=True).click()
        page.wait_for_url("**/runs/**")
        page.get_by_text("Success", exact=True).first.wait_for(timeout=LONG_MS)
    page.goto(f"{ui}/assets/transactions?view=partitions&partition={CANDIDATE}")
    page.get_by_role("heading", name=str(CANDIDATE)).or_(page.get_by_text(str(CANDIDATE), exact=True)).first.wait_for()
    page.get_by_text("day_digest").or_(page.get_by_text("rows", exact=True)).first.wait_for()
    approvals.picture("partition")
    page.goto(f"{ui}/assets/transactions?view=checks&checkDetail=fraud_rate")
    page.get_by_text(re.compile(f"{CANDIDATE}: \\d+ of [\\d,]+ labelled rows are frauds")).wait_for()


def test_schedules_and_sensors_show_their_last_ticks_and_why_they_skipped(
    ui: str, approvals: Visit, waiting: ProjectHome
) -> None:
    page = approvals.page
    page.goto(f"{ui}/automation")
    for name in (*SCHEDULES, *SENSORS):
        page.get_by_text(name, exact=True).first.wait_for()
    switch_everything_on(approvals)
    as_if_switched_on_yesterday(RETRAIN_SCHEDULE)
    with daemon_over(waiting):
        not_due = r"schedule: a retrain as of \d{4}-\d\d-\d\d is due, but .* has not arrived"
        why = {
            "sensors/ingest_sensor": rf"every day up to {CANDIDATE} is ingested as the lake has it",
            "sensors/retrain_sensor": not_due,
            "sensors/releases_sensor": r"version \d+ waits for a decision until .* UTC; nothing is new",
            "sensors/dead_runs_sensor": r"no run is under way|its process exists|all exist",
            "sensors/champion_sensor": r"the champion is the recorded one and sound",
            f"schedules/{RETRAIN_SCHEDULE}": not_due,
        }
        for path, reason in why.items():
            require_skip_reason(approvals, f"{ui}/locations/fraud_retraining/{path}", re.compile(reason))
            approvals.picture(path.split("/")[1])
        page.goto(f"{ui}/automation")
        page.get_by_text("Standard sensor").first.wait_for()
        approvals.picture("automation")


def switch_everything_on(approvals: Visit) -> None:
    page = approvals.page
    page.get_by_text("Select all").click()
    page.get_by_role("button", name="Actions").click()
    page.get_by_role("menuitem", name=re.compile(r"Start \d+ automations")).click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile(r"Start \d+ automations")).click()
    page.get_by_text(re.compile(r"Successfully started \d+ automations")).wait_for()
    page.get_by_role("button", name="Done", exact=True).click()


def as_if_switched_on_yesterday(schedule: str) -> None:
    """Moves the start of a schedule back by a day, so that the daemon, once it is there, finds its last hour missed."""
    instance = open_instance()
    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    (state,) = [one for one in states if one.instigator_name == schedule]
    data = state.instigator_data
    assert isinstance(data, ScheduleInstigatorData)
    before = ScheduleInstigatorData(data.cron_schedule, start_timestamp=time.time() - A_DAY)
    instance.update_instigator_state(state.with_data(before))
    instance.dispose()


def require_skip_reason(approvals: Visit, address: str, reason: re.Pattern[str]) -> None:
    """Opens the page of a schedule or sensor until the tick that is clicked gives the reason."""
    page, until = approvals.page, time.monotonic() + 180
    text = ""
    while not reason.search(text):
        assert time.monotonic() < until, f"{address} last said {text!r}"
        page.goto(address)
        page.get_by_text("Latest tick").wait_for()
        ticks = page.get_by_role("button", name="0 runs requested")
        if appears(ticks.first):
            ticks.first.click()
            # The page draws itself anew while ticks come, and a tick that is under way has no reason yet.
            dialog = page.get_by_role("dialog")
            if appears(dialog.get_by_text("Skip reason")):
                text = " ".join(dialog.get_by_text("Skip reason").locator("..").all_inner_texts())
            else:
                text = " ".join(dialog.all_inner_texts())


def appears(what: "Locator") -> bool:
    """Waits a while for something on the page."""
    from playwright.sync_api import TimeoutError

    try:
        what.wait_for(timeout=5000)
    except TimeoutError:
        return False
    return True


# ------------------------------------------------------------------ the page of releases


@pytest.fixture(scope="module")
def releases(waiting: ProjectHome) -> Iterator[str]:
    with releases_over(waiting, SECRETS) as address:
        yield address


def test_the_candidate_with_its_review_report_is_readable_on_a_phone(releases: str, browser: "Browser") -> None:
    settings = load_settings()
    links = open_links(settings)
    assert links is not None
    (release,) = open_ledger(settings).waiting()
    with visiting(browser, PHONE) as phone:
        page = phone.page
        page.goto(releases)
        page.get_by_role("link", name=f"Version {release.version}").tap()
        page.get_by_text("It waits for a reviewer").wait_for()
        assert page.locator("form").count() == 0
        page.goto(links.url(releases, release, "bert"))
        shown = phone.text()
        for part in ("You decide as bert", "Metrics on the holdout", "Gates", "average precision", "Slices", "Limits"):
            assert part in shown
        assert page.locator("figure img").count() >= 4
        require_readable(phone)
        assert (phone.complaints, phone.elsewhere) == ([], [])
        keep("release", screens_of(phone))
    with visiting(browser, DESKTOP) as approvals:
        approvals.page.goto(releases)
        history = approvals.page.locator("table").inner_text()
        assert "awaiting approval" in history
        assert "promoted" in history
        approvals.picture("releases")


def screens_of(phone: Visit) -> list[bytes]:
    """The first screen of a page, its pictures, and what is folded away behind them."""
    seen = []
    for part in ("main", ".pictures", ".fold"):
        phone.page.locator(part).first.evaluate("one => one.scrollIntoView()")
        seen.append(phone.page.screenshot())
    return seen


def test_an_exported_report_needs_nothing_from_elsewhere(
    waiting: ProjectHome, tmp_path: Path, browser: "Browser"
) -> None:
    (release,) = open_ledger(load_settings()).waiting()
    code, _, text = run("audit", "export", "--version", str(release.version), "--out", str(tmp_path / "version"))
    assert code == 0, text
    (report,) = (tmp_path / "version").rglob("*.html")
    for device in (DESKTOP, PHONE):
        with visiting(browser, device) as reader:
            reader.page.goto(report.as_uri())
            shown = reader.text()
            assert f"version {release.version}" in shown
            assert "What happened" in shown
            assert reader.page.locator("figure img").count() >= 4
            if device is PHONE:
                require_readable(reader)
            assert (reader.complaints, reader.elsewhere) == ([], [])
            reader.picture("report" if device is DESKTOP else "report_phone")
