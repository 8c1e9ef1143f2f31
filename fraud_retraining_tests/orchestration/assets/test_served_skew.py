"""What was served is held against the batch each day: equal to the last bit, or a finding that stops automation.

The champion of the home is as of day 22 of the lake, which ends with day 25; a scorer answers days 24 and 25.
"""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.monitoring_reports import SKEW, latest_skew, report_of
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.online.published_state import PublishedState
from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.adapters.online.serving_log import ServingLog
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.features.live import LiveFeatures
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import Batch
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.monitoring.skew_reasons import Reason
from fraud_retraining.domain.serving.log_parts import RANGES, ranges_of
from fraud_retraining.domain.serving.served_rows import Sampler, ServedRows
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import TIMESTAMP
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import MONITOR, RANGE_END, RANGE_START, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_outbox, open_store
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.sensors.next_runs import latest_served
from fraud_retraining.orchestration.state.inventory import Recipes
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, former_champions, serving
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.services.track_record import skew_concern
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import retrain, run
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

LAST = 25
WRONG = "0" * 32


def day(number: int) -> date:
    return START + timedelta(days=number)


def rows_of(number: int) -> pa.Table:
    store = open_store(load_settings())
    record = store.partition(TRANSACTIONS, day(number))
    assert record is not None
    return pq.read_table(*store.paths([record], "rows")).sort_by(TIMESTAMP)


def serve(number: int, *, rows: pa.Table | None = None, wrong: Sequence[int] = (), name: str = "a") -> None:
    """Answers a day's transactions in their order, as a scorer does; `wrong` are places of wrong digests."""
    settings = load_settings()
    plan, store, version = settings.feature_plan, open_store(settings), Recipes(settings).feature_version
    states = PublishedState(store, open_ledger(settings), settings.home / "online", plan, version)
    live, kept, key_types = LiveFeatures(plan), LocalStates(plan), states.key_types(day(number - 1))
    kept.publish(states.open(day(number - 1)))
    log = ServingLog(store.location, settings.home / "journal", plan, name, key_types)
    table = rows_of(number) if rows is None else rows
    batch = Batch.of(table, plan)
    digests, sampler = RowDigests(plan), Sampler(plan, 0.1)
    size, now = 50, batch.timestamps[0]
    for first in range(0, table.num_rows, size):
        places = range(first, min(first + size, table.num_rows))
        part = Batch(
            [batch.ids[place] for place in places],
            batch.timestamps[first : first + size],
            batch.amounts[first : first + size],
            {entity: [keys[place] for place in places] for entity, keys in batch.keys.items()},
        )
        # What comes late is scored when it comes.
        now = max(now, part.timestamps.max()) + np.timedelta64(1, "us")
        found = live.of(part, kept)
        columns: Any = (part.amounts, found.features, {}, {})
        named = digests.of(*columns)
        log.append(
            ServedRows(
                ids=part.ids,
                timestamps=part.timestamps,
                amounts=part.amounts,
                keys=part.keys,
                scored_at=now.astype(datetime).replace(tzinfo=UTC),
                version=1,
                feature_version=version,
                scores=np.full(len(part.ids), 0.5),
                decisions=[None] * len(part.ids),
                state_days=[age.day for age in found.ages],
                digests=[WRONG if place in wrong else one for place, one in zip(places, named, strict=True)],
                samples=sampler.of(part.ids, *columns),
            )
        )
    log.flush()
    log.close()


def record_parts(number: int) -> None:
    """As the scorer does every hour."""
    settings = load_settings()
    open_ledger(settings).append(
        EventKind.ANSWERS_LOGGED,
        actor="scorer",
        channel="serving log",
        keys=EventKeys(subject=day(number).isoformat()),
        payload={RANGES: ranges_of(ServedDays(open_store(settings).location).digests(day(number)))},
    )


def monitor(first: int, last: int) -> dg.ExecuteInProcessResult:
    return (
        build_definitions(load_settings())
        .resolve_job_def(MONITOR)
        .execute_in_process(
            instance=open_instance(),
            tags={RANGE_START: str(day(first)), RANGE_END: str(day(last))},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    )


def report(number: int) -> ServedSkew | None:
    record = open_store(load_settings()).partition(SKEW, day(number))
    return report_of(record, ServedSkew) if record is not None else None


def due(first: int, last: int) -> dict[int, tuple[str, ...]]:
    settings, ledger = load_settings(), open_ledger(load_settings())
    days = [day(number) for number in range(first, last + 1)]
    served_by = ServedBy(serving(ledger), tuple(former_champions(ledger, days[0])))
    state = MonitoringState(settings, open_lake(settings), open_store(settings), served_by, days)
    return {(at - START).days: assets for at, assets in state.due().items()}


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    found = [one for one in result.get_asset_check_evaluations() if one.check_name == SKEW and one.partition is None]
    return found[-1]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, promoted_home: ProjectHome) -> ProjectHome:
    """The home with its champion, every day ingested, and the states that served days 24 and 25."""
    copy = ProjectHome(tmp_path_factory.mktemp("served"))
    shutil.copytree(promoted_home.folder, copy.folder, dirs_exist_ok=True)
    copy.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        use_home(copy, patch)
        for first, last in ((18, 23), (24, 24), (25, 25)):
            code, answer, _ = run("ingest", "--from", str(day(first)), "--to", str(day(last)))
            assert code == 0, answer
    return copy


@pytest.fixture
def home(ingested: ProjectHome, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectHome]:
    shutil.copytree(ingested.folder, tmp_path / "copy")
    copy = ProjectHome(tmp_path / "copy")
    copy.configure(promotion={"mode": "auto"})
    use_home(copy, monkeypatch)
    yield copy


def test_a_day_that_was_served_is_equal_to_the_batch_to_the_last_bit(home: ProjectHome) -> None:
    serve(24)
    assert SKEW in due(24, LAST)[24] and SKEW not in due(24, LAST)[25]
    result = monitor(24, 24)
    found = report(24)
    assert result.success and found is not None
    assert (found.equal_share, found.different, found.not_in_lake, found.not_served) == (1.0, 0, 0, 0)
    assert found.served == found.distinct == rows_of(24).num_rows
    assert check(result).passed
    assert SKEW not in str(due(24, LAST))


def test_of_a_range_only_the_days_that_were_served_are_made(home: ProjectHome) -> None:
    serve(24)
    result = monitor(24, LAST)
    assert result.success
    assert report(24) is not None and report(LAST) is None
    why = [
        observed.metadata["not made, because"].value
        for event in result.all_events
        if event.is_asset_observation
        and (observed := event.asset_observation_data.asset_observation).asset_key == dg.AssetKey(SKEW)
    ]
    assert why == [f"no transaction of {day(LAST)} was scored live"]


def test_a_home_without_a_serving_log_has_no_word_of_it(home: ProjectHome) -> None:
    result = monitor(24, 24)
    assert report(24) is None
    seen = [event for event in result.all_events if event.is_asset_observation]
    assert all(event.asset_key != dg.AssetKey(SKEW) for event in seen)


def test_answers_that_come_late_are_taken_in_once_the_next_day_has_arrived(home: ProjectHome) -> None:
    rows = rows_of(LAST)
    serve(LAST, rows=rows.slice(0, 1500))
    monitor(LAST, LAST)
    first = report(LAST)
    assert first is not None and (first.equal_share, first.not_served) == (1.0, rows.num_rows - 1500)
    serve(LAST, rows=rows.slice(1500), name="b")
    assert SKEW not in str(due(LAST, LAST))
    home.write_day(day(LAST + 1), home.read_day(day(LAST)))
    assert SKEW in due(LAST, LAST)[LAST]
    monitor(LAST, LAST)
    second = report(LAST)
    assert second is not None and second.not_served == 0
    assert SKEW not in str(due(LAST, LAST))


def test_a_wrong_digest_fails_the_check(home: ProjectHome) -> None:
    serve(24, wrong=(7, 8, 1200))
    result = monitor(24, 24)
    found = report(24)
    assert result.success and found is not None
    assert found.differing == {Reason.UNEXPLAINED: 3}
    failed = check(result)
    assert not failed.passed and failed.severity is dg.AssetCheckSeverity.ERROR and not failed.blocking
    assert "3 of" in str(failed.description) and "without a known reason" in str(failed.description)
    assert latest_skew(open_store(load_settings())) == found


def test_a_serving_log_that_was_altered_fails_the_check_and_asks_a_person(home: ProjectHome) -> None:
    serve(24, wrong=(7,))
    record_parts(24)
    (part,) = (home.home / "store" / "serving_log" / f"day={day(24)}").glob("*.parquet")
    genuine = part.read_bytes()
    part.unlink()
    serve(24, name="other")
    (other,) = part.parent.glob("*.parquet")
    other.rename(part)
    result = monitor(24, 24)
    found = report(24)
    assert found is not None and (found.different, found.altered) == (0, (part.stem,))
    failed = check(result)
    assert not failed.passed and failed.severity is dg.AssetCheckSeverity.ERROR
    assert "is not as the scorer recorded it" in str(failed.description)
    assert "is not as the scorer recorded it" in str(skew_concern(open_store(load_settings())))
    part.unlink()
    with pytest.raises(IntegrityError, match="the store has none of them"):
        monitor(24, 24)
    part.write_bytes(genuine)
    monitor(24, 24)
    found = report(24)
    assert found is not None and (found.unexplained, found.altered) == (1, ())


def test_a_state_that_rested_on_days_before_they_were_corrected_is_a_reason(home: ProjectHome) -> None:
    serve(24)
    table = home.read_day(day(23))
    raised = pc.add(table["TX_AMOUNT"], 1.0)
    home.write_day(day(23), table.set_column(table.column_names.index("TX_AMOUNT"), "TX_AMOUNT", raised))
    code, answer, _ = run("ingest", "--from", str(day(23)), "--to", str(day(24)))
    assert code == 0, answer
    failed = check(monitor(24, 24))
    found = report(24)
    assert found is not None and found.differing.keys() == {Reason.STATE_CHANGED}
    assert found.not_in_lake == 0 and failed.severity is dg.AssetCheckSeverity.WARN


def notify() -> None:
    settings = load_settings()
    sources = Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))
    open_outcomes(settings).notify_skew(latest_served(sources))


@pytest.mark.slow
def test_a_difference_without_a_reason_notifies_and_asks_before_a_promotion_until_a_later_day_is_clean(
    home: ProjectHome,
) -> None:
    outbox = open_outbox(load_settings())
    notify()
    assert outbox.open_notices() == []
    serve(24, wrong=(7, 8, 1200))
    monitor(24, 24)
    notify()
    notify()
    (opened,) = outbox.open_notices()
    assert (opened.notice.key, opened.notice.audience, opened.notice.severity) == ("served_skew", "model", "high")
    assert "3 of" in opened.notice.why[0] and opened.seen == 1
    code, answer, _ = retrain(day(24))
    assert (code, answer["status"]) == (0, "awaiting_approval"), answer
    assert f"of the last day served, {day(24)}, 3 of" in answer["message"]
    code, answer, _ = run("status")
    assert any("without a known reason" in problem for problem in answer["problems"])
    serve(25)
    monitor(25, 25)
    notify()
    assert outbox.open_notices() == []
    code, answer, _ = retrain(day(25))
    assert (code, answer["status"]) == (0, "promoted"), answer


def test_a_latest_report_that_cannot_be_read_asks_and_is_made_again(home: ProjectHome) -> None:
    serve(24)
    monitor(24, 24)
    store = open_store(load_settings())
    assert skew_concern(store) is None
    store.write_document(SKEW, "latest", b"{}")
    assert "is damaged" in str(skew_concern(store))
    monitor(24, 24)
    assert skew_concern(store) is None


def test_known_reasons_only_warn(home: ProjectHome) -> None:
    rows = rows_of(24)
    late, others = rows.slice(0, 30), rows.slice(30)
    serve(24, rows=pa.concat_tables([others, late]))
    failed = check(monitor(24, 24))
    found = report(24)
    assert found is not None and found.differing.keys() <= {Reason.LATE_ARRIVAL}
    assert not failed.passed and failed.severity is dg.AssetCheckSeverity.WARN
