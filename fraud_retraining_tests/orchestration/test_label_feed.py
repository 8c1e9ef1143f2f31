"""A label feed is matched with transactions, makes only what it changes, and gives windows the labels known in time."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.monitoring_reports import (
    MISSED,
    PERFORMANCE,
    live_performance,
    matured_performance,
    performance_history,
    served_frauds,
)
from fraud_retraining.adapters.days.window_rows import REPORT_WEIGHT, WindowRows
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.cli import app
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable
from fraud_retraining.domain.values.schemas import TRANSACTION_ID
from fraud_retraining.orchestration.checks.label_checks import SILENCE
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import (
    ENTITY_LABEL_DAYS,
    FEATURES,
    LABELS,
    MONITOR,
    RANGE_END,
    RANGE_START,
    REASON_TAG,
    WINDOW,
)
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_store
from fraud_retraining.orchestration.sensors.next_runs import monitor_next, retrain_if_due
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, serving
from fraud_retraining.orchestration.state.readiness import NotReady, Readiness, Ready
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.orchestration.state.trigger_inputs import Watched
from fraud_retraining.orchestration.state.window_assembly import build_window, window_report
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path
from fraud_retraining.simulation.reports import FEED_SCHEMA, Feed, ReportPolicy, Reports
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.faults import run_killed
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home
from fraud_retraining_tests.support.registries import free_port

DAYS = 17
LAST = START + timedelta(days=DAYS - 1)
AS_OF = LAST
LAST_DAYS = [LAST - timedelta(days=age) for age in (3, 2, 1, 0)]
POLICY = SimulationPolicy(start=START, days=DAYS, transactions_per_day=1500, seed=4, fraud_rate=0.03)
SETTINGS: dict[str, Any] = {
    "labels": {"delay_days": 4, "use": "as_known", "min_delay_frauds": 20, "columns": {"source": "source"}},
    "holdout": {"days": 3},
    "validation": {"min_rows": 3000, "min_holdout_frauds": 5},
    "gates": {"max_calibration_error": 50, "min_average_precision": 0.01},
}


def answer_of(*arguments: str, code: int | None = 0) -> dict[str, Any]:
    """The answer of a command, which ends with `code`; None: with any."""
    found, answer, err = run(*arguments)
    assert code in (None, found), (found, answer, err)
    return answer


def feed_file(project: ProjectHome, day: date, name: str = "labels.parquet") -> Path:
    return project.folder / "feed" / Path(lake_path(day)).parent / name


def deliver(project: ProjectHome, day: date, events: pa.Table, name: str = "labels.parquet") -> None:
    path = feed_file(project, day, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(events, path)


def event(number: int | None, known_at: datetime, is_fraud: int = 1, source: str = "bank") -> dict[str, Any]:
    return {"transaction_id": number, "is_fraud": is_fraud, "known_at": known_at, "source": source}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectHome]:
    """A lake without labels and its feed, ingested."""
    project = ProjectHome(tmp_path_factory.mktemp("feed"))
    feed = Feed(Reports(ReportPolicy(median_days=1.5), seed=4, start=START))
    for day, table in Simulator(POLICY):
        project.write_day(day, table.drop_columns(["TX_FRAUD"]))
        deliver(project, day, feed.after(day, table))
    project.configure(**{**SETTINGS, "labels": {**SETTINGS["labels"], "uri": str(project.folder / "feed")}})
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        answer_of("ingest", "--from", START.isoformat(), "--to", LAST.isoformat())
        yield project


@pytest.fixture
def project(ingested: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """The same in a folder of the test's own."""
    own = ProjectHome(tmp_path)
    for name in ("lake", "feed", "home"):
        shutil.copytree(ingested.folder / name, own.folder / name)
    own.configure(**{**SETTINGS, "labels": {**SETTINGS["labels"], "uri": str(own.folder / "feed")}})
    use_home(own, monkeypatch)
    return own


def readiness() -> Readiness:
    settings = load_settings()
    return Readiness(settings, open_lake(settings), open_store(settings))


def known_frauds(project: ProjectHome, as_of: date) -> dict[date, int]:
    """Frauds by day of the transaction as the files say at the end of a day, by the obvious rule."""
    happened, last = {}, {}
    for n in range(DAYS):
        day = START + timedelta(days=n)
        happened |= dict.fromkeys(project.read_day(day)["TRANSACTION_ID"].to_pylist(), day)
        for file in sorted(feed_file(project, day).parent.glob("*.parquet")):
            for one in pq.ParquetFile(file).read().sort_by("known_at").to_pylist():
                if day <= as_of:
                    last[one["transaction_id"]] = one["is_fraud"]
    found: dict[date, int] = {}
    for number, is_fraud in last.items():
        found[happened[number]] = found.get(happened[number], 0) + is_fraud
    return found


def unreported(project: ProjectHome, day: date) -> list[int]:
    """Ids of a day that the feed never names."""
    files = [pq.ParquetFile(file).read() for file in (project.folder / "feed").rglob("*.parquet")]
    named = {number for file in files for number in file["transaction_id"].to_pylist()}
    return [number for number in project.read_day(day)["TRANSACTION_ID"].to_pylist() if number not in named]


@pytest.mark.slow
def test_a_window_counts_the_frauds_that_were_known_at_the_end_of_its_as_of_day(project: ProjectHome):
    answer = answer_of("retrain", "--as-of", AS_OF.isoformat(), code=None)
    settings = load_settings()
    store = open_store(settings)
    document = store.read_document(WINDOW, AS_OF.isoformat())
    assert document is not None, answer
    window = TrainingWindow.model_validate_json(document)
    expected = known_frauds(project, AS_OF)
    assert {day.day: day.frauds for day in (*window.training, *window.holdout)} == {
        day: expected.get(day, 0) for day in window.days.needed
    }
    assert window.days.holdout.end == AS_OF, "judged on the last days"
    assert window.labels is not None and window.labels.delays is not None and window.labels.feed
    rows = WindowRows(store, window.holdout, AS_OF, [TRANSACTION_ID], KnownLabels.of(window, store))
    stands_for = [max(batch.column(REPORT_WEIGHT).to_pylist()) for batch in rows()]
    assert stands_for == sorted(stands_for) and stands_for[-1] > stands_for[0] >= 1, "the younger, the more"
    assert answer["status"] in {"awaiting_approval", "promoted", "gate_failed"}
    assert answer["window"]["holdout_frauds"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("judging", ["fresh", "mature"])
def test_a_retrain_makes_the_labels_that_it_needs(project: ProjectHome, judging: str):
    feed = {**SETTINGS["labels"], "uri": str(project.folder / "feed")}
    project.configure(**{**SETTINGS, "labels": feed, "judging": judging})
    shutil.rmtree(project.home / "store")
    answer = answer_of("retrain", "--as-of", AS_OF.isoformat(), code=None)
    assert answer["status"] != "data_invalid", answer["error"]
    assert answer["window"]["frauds"] > 50


def window_under(project: ProjectHome, labels: dict[str, Any], holdout: dict[str, Any]) -> TrainingWindow:
    feed = {"uri": str(project.folder / "feed")}
    project.configure(
        **{**SETTINGS, "labels": {**SETTINGS["labels"], **feed, **labels}, "holdout": holdout, "window": {"days": 5}}
    )
    settings = load_settings()
    return build_window(AS_OF, settings, open_lake(settings), open_store(settings))


def test_a_holdout_is_as_short_as_the_wanted_frauds_allow(project: ProjectHome):
    known = known_frauds(project, AS_OF)
    last = [known.get(AS_OF - timedelta(days=age), 0) for age in range(6)]
    for wanted, length in ((1, 2), (sum(last[:3]) + 1, 4), (sum(last[:4]), 4), (10_000, 5)):
        window = window_under(project, {}, {"days": 2, "frauds": wanted, "max_days": 5})
        held, training = window.days.holdout, window.days.training
        assert (held.end, len(held), len(training)) == (AS_OF, length, 5), wanted
        assert training.end == held.start - timedelta(days=1)
        assert window.holdout_frauds == sum(last[:length])
        assert window.labels is not None and min(day for day, _ in window.labels.days) >= training.start


def test_with_too_few_frauds_for_their_delays_a_window_has_mature_days(project: ProjectHome):
    window = window_under(project, {"min_delay_frauds": 10_000}, {"days": 3})
    assert window.days.holdout.end == AS_OF - timedelta(days=4), "the label delay before the as-of day"
    assert window.labels is not None and window.labels.delays is None
    assert all(window.report_weight(day) == 1 for day in window.days.needed)
    expected = known_frauds(project, AS_OF)
    assert {day.day: day.frauds for day in window.training} == {day: expected[day] for day in window.days.training}
    settings = load_settings()
    results = {one.name: one for one in window_report(window, settings, open_store(settings)).results}
    assert not results["reporting_delays"].passed
    assert "too few frauds are known" in results["reporting_delays"].message


def test_mature_days_that_are_not_ingested_are_named(project: ProjectHome):
    for age in range(8, 12):
        shutil.rmtree(project.home / "store" / FEATURES / f"day={AS_OF - timedelta(days=age)}")
    with pytest.raises(DataInvalid, match="too few frauds are known as of") as refused:
        window_under(project, {"min_delay_frauds": 10_000}, {"days": 3})
    assert "fraud-retraining ingest --from" in str(refused.value)


@pytest.mark.slow
def test_labels_that_arrive_make_their_day_and_later_features_only(project: ProjectHome):
    assert readiness().work() is None
    day = LAST - timedelta(days=1)
    terminals = set(project.read_day(LAST)["TERMINAL_ID"].to_pylist())
    number = next(one["TRANSACTION_ID"] for one in project.read_day(day).to_pylist() if one["TERMINAL_ID"] in terminals)
    deliver(
        project,
        day,
        pa.Table.from_pylist([event(number, noon(day) + timedelta(hours=11))], FEED_SCHEMA),
        "more.parquet",
    )
    work = readiness().work()
    assert work is not None
    assert (set(work.assets), work.days.start) == ({LABELS, ENTITY_LABEL_DAYS}, day)
    before = open_store(load_settings()).partitions(FEATURES, [day, LAST])
    answer_of("ingest", "--from", day.isoformat(), "--to", LAST.isoformat())
    after = open_store(load_settings()).partitions(FEATURES, [day, LAST])
    assert before[day] == after[day], "the day on which a label becomes known does not see it"
    assert before[LAST].digest != after[LAST].digest
    assert readiness().work() is None


def test_the_reporting_delay_of_each_label_day_is_drawn_over_the_partitions(ingested: ProjectHome):
    record = open_store(load_settings()).partition(LABELS, AS_OF)
    shown = open_instance().get_latest_materialization_event(dg.AssetKey(LABELS))
    assert record is not None and shown is not None and shown.asset_materialization is not None
    found = {name: value.value for name, value in shown.asset_materialization.metadata.items()}
    delays = [(AS_OF - date.fromisoformat(day)).days for day, n in record.facts["first_reports"] for _ in range(n)]
    assert found["mean_reporting_delay_days"] == pytest.approx(sum(delays) / len(delays))
    assert found["reported_within_3_days"] == pytest.approx(sum(delay <= 3 for delay in delays) / len(delays))
    assert 0 < found["reported_within_1_days"] < found["reported_within_7_days"] <= 1


def test_labels_that_cannot_count_are_kept_aside_counted_and_harm_nothing(project: ProjectHome):
    day = LAST
    ids = unreported(project, day - timedelta(days=3))
    late = project.read_day(day)
    after = late["TRANSACTION_ID"].to_pylist()[-1]
    odd = [
        event(ids[0], noon(day)),
        event(ids[0], noon(day)),
        event(ids[1], noon(day)),
        event(ids[1], noon(day) + timedelta(hours=1), is_fraud=0),
        event(-5, noon(day)),
        event(None, noon(day)),
        event(ids[2], noon(day) + timedelta(days=3)),
        event(after, datetime(day.year, day.month, day.day)),
        event(ids[3], noon(day), is_fraud=7),
    ]
    deliver(project, day, pa.Table.from_pylist(odd, FEED_SCHEMA))
    answer = answer_of("ingest", "--from", day.isoformat(), "--to", day.isoformat())
    store = open_store(load_settings())
    record = store.partitions(LABELS, [day])[day]
    events = pq.ParquetFile(store.paths([record], "rows")[0]).read()
    assert dict(zip(events["transaction_id"].to_pylist(), events["is_fraud"].to_pylist(), strict=True)) == {
        ids[0]: 1, ids[1]: 0,
    }  # fmt: skip
    assert record.facts["rejects"] == {
        "known before the transaction": 1,
        "known outside its day": 1,
        "label not 0/1": 1,
        "a later label of the same day counts": 1,
        "null transaction id": 1,
        "unknown transaction": 1,
    }
    assert store.paths([record], "rejects")
    assert answer["labels"] == {"known": 2, "kept_aside": record.facts["rejects"]}
    assert sum(answer_of("status")["labels"]["kept_aside"].values()) >= 6, "of the whole month"


def test_an_ingest_says_which_labels_it_kept_aside(project: ProjectHome):
    first = LAST - timedelta(days=1)
    (number,) = unreported(project, first)[:1]
    unknown = [event(-n, noon(first)) for n in (1, 2)]
    deliver(project, first, pa.Table.from_pylist(unknown, FEED_SCHEMA))
    early = event(number, datetime(first.year, first.month, first.day) - timedelta(days=1))
    deliver(project, LAST, pa.Table.from_pylist([event(number, noon(LAST)), early], FEED_SCHEMA))
    answer = CliRunner().invoke(app, ["ingest", "--from", first.isoformat(), "--to", LAST.isoformat()])
    assert "1 labels became known; 3 kept aside: unknown transaction 2, known outside its day 1." in answer.stdout
    deliver(project, LAST, pa.Table.from_pylist([event(number, noon(LAST))], FEED_SCHEMA))
    answer = CliRunner().invoke(app, ["ingest", "--from", LAST.isoformat(), "--to", LAST.isoformat()])
    assert "1 labels became known; none kept aside." in answer.stdout


def test_columns_that_are_not_as_mapped_are_refused_by_name_and_are_not_tried_again(project: ProjectHome):
    deliver(project, LAST, pa.table({"id": [1], "known_at": [noon(LAST)]}))
    answer = answer_of("ingest", "--from", LAST.isoformat(), "--to", LAST.isoformat(), code=3)
    assert "labels.columns.transaction_id" in str(answer["error"]) and "id" in str(answer["error"])
    ready = readiness()
    assert ready.labels.refused.keys() == {LAST} and ready.work() is None
    assert "are refused" in str(ready.of(LAST))


def test_a_feed_that_is_not_there_is_an_error_that_names_the_setting(project: ProjectHome):
    shutil.rmtree(project.folder / "feed")
    answer = answer_of("ingest", "--from", LAST.isoformat(), "--to", LAST.isoformat(), code=3)
    assert "labels.uri" in str(answer["error"])


# ------------------------------------------------------------------ labels of the as-of day that have not arrived

TOMORROW = LAST + timedelta(days=1)
AWAITED = f"labels of {LAST} have not arrived (they are waited for until the transactions of {TOMORROW} have)"


def configured(project: ProjectHome, **labels: Any) -> None:
    feed = {"uri": str(project.folder / "feed")}
    project.configure(**{**SETTINGS, "labels": {**SETTINGS["labels"], **feed, **labels}})


def trained_as_of(day: date) -> None:
    """A retrain as of a day that had an outcome."""
    payload = {"kind": "GateFailed", "category": "gate_failed", "cause": "gate_failed:x"}
    ledger = open_ledger(load_settings())
    ledger.append(EventKind.RETRAIN_FAILED, keys=EventKeys(as_of=day), actor="a test", payload=payload)


def decided(after: date = LAST) -> tuple[date, str] | str:
    """What automation decides in the night after a day: as-of day and reason of a retrain, or why there is none."""
    settings = load_settings()
    sources = Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))
    now = datetime.combine(after + timedelta(days=1), time(3), UTC)
    answer = retrain_if_due(sources, open_instance(), now)
    if isinstance(answer, dg.SkipReason):
        return str(answer.skip_message)
    return date.fromisoformat(str(answer.partition_key)), answer.tags[REASON_TAG]


def without_labels_of_the_last_day(project: ProjectHome) -> pa.Table:
    """Takes the last label day away; it is ingested as a day without labels."""
    events = pq.ParquetFile(feed_file(project, LAST)).read()
    shutil.rmtree(feed_file(project, LAST).parent)
    answer_of("ingest", "--from", LAST.isoformat(), "--to", LAST.isoformat())
    return events


@pytest.mark.slow
def test_automation_waits_for_the_labels_of_its_as_of_day_and_a_first_model_does_not(project: ProjectHome):
    events = without_labels_of_the_last_day(project)
    assert readiness().of(LAST) == NotReady(as_of=LAST, why=AWAITED)
    before = decided()
    assert isinstance(before, tuple) and before[0] == LAST - timedelta(days=1), "the newest day with labels"
    trained_as_of(LAST - timedelta(days=2))
    assert f"schedule: a retrain as of {LAST} is due, but {AWAITED}" in str(decided())
    status = answer_of("status")
    assert status["labels"]["awaited"] == AWAITED
    assert status["labels"]["known_until"] == str(LAST - timedelta(days=1)), "a late day is none without reports"
    assert status["next"]["as_of"] == LAST.isoformat()
    assert status["next"]["why"].endswith("its transactions are there, its labels have not arrived")

    deliver(project, LAST, events)
    assert "still has to be ingested" in str(decided())
    answer_of("ingest", "--from", LAST.isoformat(), "--to", LAST.isoformat())
    requested = decided()
    assert isinstance(requested, tuple) and requested[0] == LAST
    assert "without the labels" not in requested[1]
    assert answer_of("status")["labels"]["awaited"] is None


def test_a_wait_is_over_when_the_next_day_is_there_and_the_reason_says_what_is_missing(project: ProjectHome):
    without_labels_of_the_last_day(project)
    trained_as_of(LAST - timedelta(days=2))
    project.write_day(TOMORROW, Simulator(POLICY).table(TOMORROW).drop_columns(["TX_FRAUD"]))
    answer_of("ingest", "--from", TOMORROW.isoformat(), "--to", TOMORROW.isoformat())
    requested = decided()
    assert isinstance(requested, tuple) and requested[0] == LAST
    assert requested[1].endswith(f"; without the labels of {LAST}, which have not arrived")
    assert isinstance(readiness().of(TOMORROW), NotReady), "its own labels are waited for"
    configured(project, wait_days=2)
    assert "(they are waited for until the transactions of 2024-02-19 have)" in str(decided())


@pytest.mark.parametrize(("wait_days", "says_so"), [(1, False), (0, True)])
def test_a_later_label_day_counts_as_arrival_and_without_a_wait_nothing_has_to(
    project: ProjectHome, wait_days: int, says_so: bool
):
    without_labels_of_the_last_day(project)
    trained_as_of(LAST - timedelta(days=2))
    configured(project, wait_days=wait_days)
    if wait_days:
        deliver(project, TOMORROW, FEED_SCHEMA.empty_table())
    ready = readiness().of(LAST)
    assert isinstance(ready, Ready) and ready.labelled is not says_so
    requested = decided()
    assert isinstance(requested, tuple) and requested[0] == LAST
    assert ("without the labels" in requested[1]) is says_so


@pytest.mark.slow
def test_a_retrain_by_hand_does_not_wait_and_says_that_labels_have_not_arrived(project: ProjectHome):
    strict = {**SETTINGS, "validation": {"min_rows": 10_000_000}}
    project.configure(**{**strict, "labels": {**SETTINGS["labels"], "uri": str(project.folder / "feed")}})
    answer = answer_of("retrain", "--as-of", LAST.isoformat(), code=3)
    assert (answer["labels_arrived"], answer["window"]["train_end"]) == (True, str(LAST - timedelta(days=3)))
    without_labels_of_the_last_day(project)
    printed = CliRunner().invoke(app, ["retrain", "--as-of", LAST.isoformat()])
    assert f"Labels of {LAST} have not arrived: no report of that day is known." in printed.stdout
    assert answer_of("retrain", "--as-of", str(LAST - timedelta(days=1)), code=3)["labels_arrived"] is True


def test_rows_of_a_day_that_waits_for_labels_are_no_new_data_yet(project: ProjectHome):
    rows = readiness().rows_after(LAST - timedelta(days=2))
    waits = len(project.read_day(LAST))
    without_labels_of_the_last_day(project)
    assert readiness().rows_after(LAST - timedelta(days=2)) == rows - waits > 0


def test_a_feed_that_cannot_be_read_is_no_feed_that_is_late(project: ProjectHome, monkeypatch: pytest.MonkeyPatch):
    shutil.rmtree(project.folder / "feed")
    missing = f"there is no label feed at {project.folder / 'feed'}"
    assert missing in str(decided()) and "labels.uri" in str(decided())
    assert f"the label feed: {missing}" in answer_of("status")["problems"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    s3 = {"endpoint": f"http://127.0.0.1:{free_port()}", "region": "us-east-1", "max_attempts": 1}
    labels = {**SETTINGS["labels"], "uri": "s3://label-feed/reports"}
    project.configure(**{**SETTINGS, "labels": labels, "lake": {"uri": str(project.lake), "s3": s3}})
    with pytest.raises(DependencyUnreachable):
        decided()
    assert "s3://label-feed/reports" in str(answer_of("status", code=7)["error"])


def made(days: list[date]) -> dict[str, dict[date, str]]:
    """Digests of what the store holds of labels, their sums, and features."""
    store = open_store(load_settings())
    assets = (LABELS, ENTITY_LABEL_DAYS, FEATURES)
    return {asset: {day: one.digest for day, one in store.partitions(asset, days).items()} for asset in assets}


def deliver_in_three_files(project: ProjectHome, days: list[date]) -> None:
    """More labels of each day known, about transactions of two days before, in two files beside the first."""
    for day in days:
        ids = unreported(project, day - timedelta(days=2))[:60]
        for part in range(2):
            events = [event(number, noon(day) + timedelta(minutes=part)) for number in ids[part::2]]
            deliver(project, day, pa.Table.from_pylist(events, FEED_SCHEMA), f"more-{part}.parquet")


@pytest.fixture(scope="module")
def undisturbed(ingested: ProjectHome, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[date, str]]:
    """The digests of the last four days once three files of labels came for each, and nothing went wrong."""
    own = ProjectHome(tmp_path_factory.mktemp("undisturbed"))
    for name in ("lake", "feed", "home"):
        shutil.copytree(ingested.folder / name, own.folder / name)
    own.configure(**{**SETTINGS, "labels": {**SETTINGS["labels"], "uri": str(own.folder / "feed")}})
    with pytest.MonkeyPatch.context() as patch:
        use_home(own, patch)
        before = made(LAST_DAYS)
        deliver_in_three_files(own, LAST_DAYS)
        answer_of("ingest", "--from", LAST_DAYS[0].isoformat(), "--to", LAST.isoformat())
        found = made(LAST_DAYS)
        counts = [one.facts["events"] for one in open_store(load_settings()).partitions(LABELS, LAST_DAYS).values()]
    assert min(counts) >= 60, "the labels of all three files count"
    assert all(found[LABELS][day] != before[LABELS][day] for day in LAST_DAYS)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "before the record of labels",
        "after the record of labels",
        "before the record of entity label days",
        "before the record of features",
    ],
)
def test_killed_while_labels_are_ingested_the_next_run_ends_in_the_same_digests(
    moment: str, project: ProjectHome, undisturbed: dict[str, dict[date, str]]
):
    deliver_in_three_files(project, LAST_DAYS)
    days = ("--from", LAST_DAYS[0].isoformat(), "--to", LAST.isoformat())
    run_killed(moment, "ingest", *days)
    assert made(LAST_DAYS) != undisturbed
    answer_of("ingest", *days)
    assert made(LAST_DAYS) == undisturbed
    assert readiness().work() is None


@pytest.mark.slow
def test_a_feed_on_s3_gives_the_same_labels_and_an_outage_loses_nothing(
    project: ProjectHome, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    deliver_in_three_files(project, LAST_DAYS)
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="label-feed")
    for file in sorted((project.folder / "feed").rglob("*.parquet")):
        key = f"reports/{file.relative_to(project.folder / 'feed')}"
        client.put_object(Bucket="label-feed", Key=key, Body=file.read_bytes())
    days = ("--from", LAST_DAYS[0].isoformat(), "--to", LAST.isoformat())
    answer_of("ingest", *days)
    from_folder = made(LAST_DAYS)

    def read_from(endpoint: str) -> None:
        s3 = {"endpoint": endpoint, "region": "us-east-1", "max_attempts": 2}
        feed = {"uri": "s3://label-feed/reports"}
        lake = {"uri": str(project.lake), "s3": s3}
        project.configure(**{**SETTINGS, "labels": {**SETTINGS["labels"], **feed}, "lake": lake})

    read_from(f"http://127.0.0.1:{free_port()}")
    answer = answer_of("ingest", *days, code=7)
    assert "s3://label-feed/reports" in str(answer["error"])
    assert made(LAST_DAYS) == from_folder, "nothing is lost"
    read_from(s3_endpoint)
    answer_of("ingest", *days)
    assert made(LAST_DAYS) == from_folder
    labels = open_store(load_settings()).partitions(LABELS, LAST_DAYS)
    sources = {day: one.inputs["source"] for day, one in labels.items()}
    assert sources == {day: one.version for day, one in readiness().labels.arrived.items() if day in LAST_DAYS}


@pytest.mark.slow
def test_a_feed_that_falls_silent_is_a_warning_and_no_day_without_fraud(project: ProjectHome):
    for n in range(3):
        deliver(project, LAST - timedelta(days=n), FEED_SCHEMA.empty_table())
    answer_of("ingest", "--from", (LAST - timedelta(days=2)).isoformat(), "--to", LAST.isoformat())
    key = dg.AssetCheckKey(dg.AssetKey(LABELS), SILENCE)
    evaluation = latest_evaluation(open_instance(), key)
    assert not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.WARN
    assert f"0 frauds were reported on {LAST}" in str(evaluation.description)
    labels = answer_of("status")["labels"]
    assert labels["known_until"] == LAST.isoformat() and labels["reporting"]["frauds"] == 0
    assert 0 < labels["known_within"]["1"] < labels["known_within"]["7"] <= 1


def latest_evaluation(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    event = records[0].event
    assert event is not None and event.dagster_event is not None
    return event.dagster_event.asset_check_evaluation_data


def defrauded(project: ProjectHome, day: date, known_by: date) -> int:
    """Customers of a day with a fraud that the feed's files say at the end of another day."""
    rows = project.read_day(day)
    customers = dict(zip(rows["TRANSACTION_ID"].to_pylist(), rows["CUSTOMER_ID"].to_pylist(), strict=True))
    last: dict[int, int] = {}
    for n in range((known_by - day).days + 1):
        for file in sorted(feed_file(project, day + timedelta(days=n)).parent.glob("*.parquet")):
            for one in pq.ParquetFile(file).read().sort_by("known_at").to_pylist():
                last[one["transaction_id"]] = one["is_fraud"]
    return len({customers[number] for number, is_fraud in last.items() if is_fraud and number in customers})


@pytest.mark.slow
def test_known_frauds_of_served_days_are_held_against_the_alert_budget(project: ProjectHome):
    as_of, served = LAST - timedelta(days=5), [LAST - timedelta(days=n) for n in (4, 3, 2, 1, 0)]
    project.configure(
        **{
            **SETTINGS,
            "labels": {**SETTINGS["labels"], "uri": str(project.folder / "feed")},
            "gates": {**SETTINGS["gates"], "alert_budget": 5},
        },
        promotion={"mode": "auto"},
        triggers={"labels": {}},
    )
    settings = load_settings()
    assert answer_of("retrain", "--as-of", as_of.isoformat(), code=None)["status"] == "promoted"
    tags = {RANGE_START: served[0].isoformat(), RANGE_END: served[-1].isoformat()}
    done = build_definitions(settings).resolve_job_def(MONITOR).execute_in_process(instance=open_instance(), tags=tags)
    assert done.success
    store, ledger = open_store(settings), open_ledger(settings)
    found = served_frauds(store, served)
    assert {one.day: one.known for one in found} == {
        day: defrauded(project, day, min(LAST, day + timedelta(days=4))) for day in served
    }
    assert 0 < sum(one.missed for one in found) < sum(one.known for one in found)
    assert all(one.promised_missed is not None and one.promised_frauds > 5 for one in found)
    watched = Watched.of(settings, ledger, store, LAST)
    assert (watched.served, watched.learnt_until) == (found, as_of - timedelta(days=3))
    state = MonitoringState(settings, open_lake(settings), store, ServedBy(serving(ledger)), served)
    due = {asset for assets in state.due().values() for asset in assets}
    assert not due & {MISSED, PERFORMANCE}, "as long as no further label arrives"
    reports = performance_history(store, served)
    assert [(one.day, one.known_by, one.is_mature) for one in reports] == [
        (served[0], LAST, True),
        (served[1], LAST, False),
    ], "judged after three days, as a holdout is, and again after the label delay of four"
    early = reports[1]
    assert early.delays is not None and 0 < early.today.frauds <= early.recent.frauds
    assert watched.matured is None, "the trigger performance is off"
    assert matured_performance(store, served) == reports[0].live_performance
    assert live_performance(store, served) == early.live_performance


@pytest.mark.slow
def test_a_column_with_the_time_of_the_label_is_used_as_known_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project, reports = (
        ProjectHome(tmp_path),
        Reports(ReportPolicy(median_days=1.5), seed=4, start=START, label_delay_days=4),
    )
    expected = {}
    ends = datetime.combine(AS_OF + timedelta(days=1), datetime.min.time())
    for day, table in Simulator(POLICY):
        labelled = reports.labelled(day, table)
        project.write_day(day, labelled)
        rows = zip(labelled["TX_FRAUD"].to_pylist(), labelled["LABELLED_AT"].to_pylist(), strict=True)
        expected[day] = sum(is_fraud for is_fraud, known_at in rows if known_at < ends)
    project.configure(
        **{**SETTINGS, "columns": {"labelled_at": "LABELLED_AT"}, "labels": {**SETTINGS["labels"], "columns": {}}}
    )
    use_home(project, monkeypatch)
    answer = answer_of("retrain", "--as-of", AS_OF.isoformat(), code=None)
    assert answer["status"] != "data_invalid", answer["error"]
    document = open_store(load_settings()).read_document(WINDOW, AS_OF.isoformat())
    assert document is not None
    window = TrainingWindow.model_validate_json(document)
    assert window.labels is not None and not window.labels.feed and window.labels.delays is not None
    assert {day.day: day.frauds for day in (*window.training, *window.holdout)} == {
        day: expected[day] for day in window.days.needed
    }
    young = window.holdout[-1]
    assert young.rows == len(project.read_day(AS_OF)), "a young row without a report counts as genuine"
    assert [window.report_weight(day.day) for day in window.holdout] == sorted(
        window.report_weight(day.day) for day in window.holdout
    )


@pytest.mark.slow
def test_a_champion_of_mature_labels_is_followed_by_a_human_once_label_times_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = ProjectHome(tmp_path)
    reports = Reports(ReportPolicy(median_days=1.5), seed=4, start=START, label_delay_days=4)
    for day, table in Simulator(POLICY):
        project.write_day(day, reports.labelled(day, table))
    own = {
        **SETTINGS,
        "labels": {"delay_days": 4, "min_delay_frauds": 20},
        "window": {"days": 6},
        "promotion": {"mode": "auto"},
    }
    project.configure(**own)
    use_home(project, monkeypatch)
    before = answer_of("retrain", "--as-of", (AS_OF - timedelta(days=1)).isoformat())
    assert before["status"] == "promoted"
    assert not any("learnt with" in one for one in answer_of("status")["problems"])

    project.configure(**own, columns={"labelled_at": "LABELLED_AT"})
    [switched] = [one for one in answer_of("status")["problems"] if "learnt with mature labels" in one]
    assert "champion version 1 cannot be scored" in switched and "waits for a human" in switched
    settings = load_settings()
    sources = Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))
    skipped = monitor_next(sources, open_instance())
    assert isinstance(skipped, dg.SkipReason) and "learnt with mature labels" in str(skipped.skip_message)
    answer = answer_of("retrain", "--as-of", AS_OF.isoformat())
    assert answer["status"] == "awaiting_approval", answer
    [regression] = [gate for gate in answer["gates"] if gate["name"] == "no_regression"]
    assert "version 1 cannot be scored: it learnt with mature labels" in regression["message"]
