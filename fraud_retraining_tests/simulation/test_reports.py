"""Reports of simulated frauds come late, some never, some by mistake; and are the same whenever they are made."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining.simulation.reports import FEED_SCHEMA, LABELLED_AT, Feed, ReportPolicy, Reports, days_before

START = date(2026, 1, 1)
POLICY = SimulationPolicy(start=START, days=40, transactions_per_day=3000, seed=5, fraud_rate=0.03)


@pytest.fixture(scope="module")
def lake() -> dict[date, pa.Table]:
    return dict(Simulator(POLICY))


def reports(**changes: float) -> Reports:
    return Reports(ReportPolicy(**changes), seed=5, start=START)


def delays(lake: dict[date, pa.Table], made: Reports) -> np.ndarray:
    """Days from transaction to report, of every fraud that is reported."""
    found = []
    for day, table in lake.items():
        when = dict(zip(table["TRANSACTION_ID"].to_pylist(), table["TX_DATETIME"].to_pylist(), strict=True))
        frauds = set(table.filter(pc.equal(table["TX_FRAUD"], 1))["TRANSACTION_ID"].to_pylist())
        events = pa.concat_tables(made.of(day, table).by_day.values()).to_pylist()
        reported = [one for one in events if one["is_fraud"] and one["transaction_id"] in frauds]
        found += [(one["known_at"] - when[one["transaction_id"]]) / timedelta(days=1) for one in reported]
    return np.array(found)


def test_the_median_delay_is_as_requested_and_twice_as_slow_is_twice_as_slow(lake: dict[date, pa.Table]):
    usual = delays(lake, reports(analyst_share=0.0))
    slow = delays(lake, reports(analyst_share=0.0, median_days=5.0))
    assert np.median(usual) == pytest.approx(2.5, rel=0.15)
    assert np.median(slow) == pytest.approx(2 * np.median(usual), rel=0.05)
    assert usual.min() > 0 and usual.max() <= 28


def test_analysts_find_their_share_within_the_day(lake: dict[date, pa.Table]):
    found = delays(lake, reports(analyst_share=0.4))
    assert (found < 0.61).mean() == pytest.approx(0.4, abs=0.06)


def test_some_frauds_are_never_reported_and_some_reports_are_taken_back(lake: dict[date, pa.Table]):
    made = reports(never_share=0.2, reversed_share=0.1, false_alarm_rate=0.001)
    frauds = sum(pc.sum(table["TX_FRAUD"]).as_py() for table in lake.values())
    events = pa.concat_tables([one for day, table in lake.items() for one in made.of(day, table).by_day.values()])
    reported = events.filter(pc.equal(events["is_fraud"], 1)).num_rows
    cleared = events.num_rows - reported
    alarms = 0.001 * sum(map(len, lake.values()))
    assert reported == pytest.approx(0.8 * frauds + alarms, rel=0.06)
    assert cleared == pytest.approx(0.08 * frauds + alarms, rel=0.25)
    assert (
        events.group_by("transaction_id").aggregate([("is_fraud", "count")])["is_fraud_count"].to_pylist().count(3) == 0
    )


def test_labels_of_the_lake_are_what_the_reports_say_in_the_end(lake: dict[date, pa.Table]):
    made, table = reports(), lake[START + timedelta(days=20)]
    labelled = made.labelled(START + timedelta(days=20), table)
    events = pa.concat_tables(made.of(START + timedelta(days=20), table).by_day.values()).sort_by("known_at")
    last = dict(zip(events["transaction_id"].to_pylist(), events.to_pylist(), strict=True))
    for row in labelled.to_pylist():
        event = last.get(row["TRANSACTION_ID"])
        assert row["TX_FRAUD"] == (event["is_fraud"] if event else 0)
        expected = event["known_at"] if event else row["TX_DATETIME"] + timedelta(days=7)
        assert row[LABELLED_AT] == expected


def test_a_feed_that_goes_on_later_is_the_same_feed(lake: dict[date, pa.Table]):
    whole, days = Feed(reports()), sorted(lake)
    made = {day: whole.after(day, lake[day]) for day in days}
    later = Feed(reports())
    for day in days_before(START, days[35], reports().longest):
        later.after(day, lake[day])
    assert all(later.after(day, lake[day]).equals(made[day]) for day in days[35:])
    assert made[days[0]].schema == FEED_SCHEMA
    for day, events in made.items():
        assert all(known.date() == day for known in events["known_at"].to_pylist())


def test_nothing_becomes_known_before_it_happened(lake: dict[date, pa.Table]):
    feed, happened = Feed(reports()), {}
    for day, table in lake.items():
        happened |= dict(zip(table["TRANSACTION_ID"].to_pylist(), table["TX_DATETIME"].to_pylist(), strict=True))
        assert all(
            event["known_at"] >= happened[event["transaction_id"]] for event in feed.after(day, table).to_pylist()
        )
