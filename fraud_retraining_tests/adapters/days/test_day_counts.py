"""A window's profile counts every row of its fit days once, whatever the days' sizes, and refuses other days."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.adapters.days.day_counts import Counter, counts_by_day, measure_reference
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import COLUMNS_AT_ONCE, category_bins, number_bins, number_counts
from fraud_retraining.domain.monitoring.drift import DriftPolicy, ReferenceProfile
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay, WindowDays
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining.domain.values.schemas import EntityPolicy

START = date(2026, 1, 5)
PLAN = FeaturePlan(
    entities={"customer": EntityPolicy(column="C", windows_days=(1, 3))},
    numeric=("distance",),
    categorical=("channel",),
)
POLICY = DriftPolicy(bins=5, categories=2, min_reference_days=2, sample_rows=1000)
SIZES = (300, 1, 2000, 40, 700, 0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=Path(tmp_path_factory.mktemp("engine"))) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(
        open_location(str(tmp_path / "store"), s3=None, cache=tmp_path / "cache"), scratch=tmp_path / "scratch"
    )


def day(number: int) -> date:
    return START + timedelta(days=number)


def features(number: int, rows: int) -> pa.Table:
    """A day's features; the distance is missing now and then, and one channel is new on the last day."""
    random = np.random.default_rng(number)
    seconds = np.sort(random.integers(0, 86_400, rows))
    columns = {name: pa.array(random.gamma(2, 10 + number, rows).astype(np.float32)) for name in PLAN.names}
    columns["amount"] = pa.array(random.gamma(2, 40, rows))
    columns["distance"] = pa.array(np.where(random.random(rows) < 0.1, np.nan, random.random(rows)).astype(np.float32))
    words = random.choice(["chip", "online", "atm"], rows, p=[0.6, 0.3, 0.1])
    columns["channel"] = pa.array([None if random.random() < 0.05 else word for word in words], pa.string())
    stamps = [datetime.combine(day(number), datetime.min.time()) + timedelta(seconds=int(s)) for s in seconds]
    return pa.table({"timestamp": pa.array(stamps, pa.timestamp("us")), **columns})


def window(store: Store, sizes: tuple[int, ...] = SIZES, history: int = 10) -> TrainingWindow:
    days = []
    for number, rows in enumerate(sizes):
        table = {"rows": features(number, rows)}
        store.write("transaction_features", day(number), table, digest=f"d{number}", inputs={}, facts={})
        days.append(WindowDay(day=day(number), digest="t", features_digest=f"d{number}", rows=rows, frauds=rows // 50))
    training = DayRange(start=day(0), end=day(len(sizes) - 1))
    holdout = DayRange(start=day(len(sizes)), end=day(len(sizes)))
    return TrainingWindow(
        days=WindowDays(strategy="rolling", as_of=day(20), training=training, holdout=holdout),
        label_delay_days=7,
        training=tuple(days),
        holdout=(),
        history=tuple((day(-n), "h") for n in range(history, 0, -1)),
        features=PLAN.names,
        features_policy="p",
    )


def profile(store: Store, engine: Engine, given: TrainingWindow) -> ReferenceProfile:
    return measure_reference(store, engine, given, PLAN, POLICY, "f" * 64, counts_by_day)


def test_every_row_of_the_window_is_counted_once(store: Store, engine: Engine) -> None:
    found = profile(store, engine, window(store))
    whole = pa.concat_tables([features(number, rows) for number, rows in enumerate(SIZES)])
    assert {one.bins.name for one in found.features} == set(PLAN.names) - {"hour", "weekend", "night"}
    for one in found.features:
        assert sum(one.counts) == whole.num_rows
        if one.bins.categories is None:
            assert one.counts == number_counts(one.bins, whole[one.bins.name].to_numpy())


def test_bins_have_nearly_equal_weight_though_a_sample_chose_them(store: Store, engine: Engine) -> None:
    amount = next(one for one in profile(store, engine, window(store)).features if one.bins.name == "amount")
    inner = np.array(amount.counts[1:-2]) / sum(amount.counts)
    assert len(inner) == 5
    assert abs(inner - 0.2).max() < 0.08


def test_the_most_frequent_categories_of_the_whole_window_have_a_bin(store: Store, engine: Engine) -> None:
    channel = next(one for one in profile(store, engine, window(store)).features if one.bins.name == "channel")
    whole = pa.concat_tables([features(number, rows) for number, rows in enumerate(SIZES)])["channel"]
    assert channel.bins.categories == ("chip", "online")
    assert channel.counts[-1] == whole.null_count
    assert channel.counts[-2] == whole.to_pylist().count("atm")


def test_the_same_window_leaves_the_same_profile(store: Store, engine: Engine) -> None:
    given = window(store)
    assert profile(store, engine, given) == profile(store, engine, given)


def test_while_the_lake_was_young_what_looks_back_is_counted_from_later_days_alone(
    store: Store, engine: Engine
) -> None:
    found = {one.bins.name: one for one in profile(store, engine, window(store, history=0)).features}
    assert found["amount"].days == len(SIZES)
    assert sum(found["customer_count_1d"].counts) == sum(SIZES[1:])
    assert sum(found["customer_count_3d"].counts) == sum(SIZES[3:])


def test_what_can_never_be_judged_is_left_out_with_the_reason(store: Store, engine: Engine) -> None:
    found = profile(store, engine, window(store, sizes=(50, 50, 50, 50), history=0))
    assert found.left_out["customer_count_3d"].startswith("looks back 3 days, and only 1 training days")
    assert found.left_out["hour"] == "follows the calendar: a single day never holds all of it"


def test_labels_are_kept_by_day(store: Store, engine: Engine) -> None:
    found = profile(store, engine, window(store))
    assert [(one.day, one.rows, one.frauds) for one in found.fraud_days] == [
        (day(number), rows, rows // 50) for number, rows in enumerate(SIZES)
    ]


def test_a_day_that_is_not_the_manifests_is_refused_by_name(store: Store, engine: Engine) -> None:
    given = window(store)
    store.write("transaction_features", day(2), {"rows": features(2, 5)}, digest="other", inputs={}, facts={})
    with pytest.raises(IntegrityError) as caught:
        profile(store, engine, given)
    assert caught.value.culprits == (str(day(2)),)


def test_days_are_counted_by_a_query_that_is_compiled_once(store: Store, engine: Engine) -> None:
    given = window(store)
    bins = [number_bins("amount", np.arange(100.0), 4), category_bins("channel", [("chip", 1)], 1)]
    counter = Counter(engine, bins)
    records = store.partitions("transaction_features", [one.day for one in given.training])
    before = len(engine._prepared)
    for number, (at, record) in enumerate(records.items()):
        found = counter.count(at, store.paths([record], "rows"))
        assert {name: sum(counts) for name, counts in found.counts.items()} == dict.fromkeys(
            ("amount", "channel"), SIZES[number]
        )
    assert len(engine._prepared) == before + 2
    assert [word for word, _ in found.newcomers.get("channel", [])] == []


def test_a_wide_table_is_counted_by_queries_of_bounded_width(store: Store, tmp_path: Path) -> None:
    numbers, texts = tuple(f"n{n}" for n in range(44)), tuple(f"c{n}" for n in range(6))
    plan = FeaturePlan(entities={}, numeric=numbers, categorical=texts)
    given = window(store, sizes=(400, 400))
    for number, rows in enumerate((400, 400)):
        random = np.random.default_rng(number)
        columns = {name: pa.array(random.random(rows).astype(np.float32)) for name in ("amount", *numbers)}
        columns |= {name: pa.array([f"v{v}" for v in random.integers(0, 50, rows)]) for name in texts}
        table = features(number, rows).select(["timestamp", "hour", "weekend", "night"])
        wide = pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **columns})
        store.write("transaction_features", day(number), {"rows": wide}, digest=f"d{number}", inputs={}, facts={})
    with Engine(temp_directory=tmp_path / "spill", memory_limit="64MB", threads=2) as small:
        found = measure_reference(store, small, given, plan, POLICY, "f" * 64, counts_by_day)
        records = store.partitions("transaction_features", [day(0)])
        counted = Counter(small, [one.bins for one in found.features])
        counts = counted.count(day(0), store.paths(records.values(), "rows")).counts
        queries = len(small._prepared)
    assert queries == -(-51 // COLUMNS_AT_ONCE) + 1, "features in parcels, and their new categories in one"
    assert {sum(one.counts) for one in found.features} == {800}
    assert {sum(of_one) for of_one in counts.values()} == {400}
    assert set(counts) == {"amount", *numbers, *texts}
