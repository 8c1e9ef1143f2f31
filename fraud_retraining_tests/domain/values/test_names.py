"""Names of users never meet names used inside: what settings accept can be worked with, the rest is refused by name."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_retraining.adapters.storage.engine import Engine, lake_day
from fraud_retraining.domain.data.ingestion import Arrival, ingest
from fraud_retraining.domain.features import point_in_time as features
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import bin_counts, category_bins, newcomers, number_bins
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.names import column_problem, entity_problem, feature_problem, twins
from fraud_retraining.settings import Settings, load_settings

DAY = date(2024, 3, 1)
ROWS = 40


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(tmp_path / "retraining.yaml"))
    return tmp_path / "retraining.yaml"


def configured(config: Path, numeric: str, category: str, entity: str, column: str) -> Settings:
    """Settings in which a number, a category, an entity and its column have those names."""
    settings = {
        "entities": {entity: {"column": column, "windows_days": [1, 2], "fraud_share": True}},
        "features": {"numeric": [numeric], "categorical": [category]},
        "gates": {"alert_entity": entity},
    }
    config.write_text(yaml.safe_dump(settings))
    return load_settings()


def lake_rows(settings: Settings, day: date) -> pa.Table:
    start = datetime(day.year, day.month, day.day)
    own = settings.columns
    (entity,) = settings.entities.values()
    (number,), (category,) = settings.features.numeric, settings.features.categorical
    values = {
        own.transaction_id: [f"{day}-{n}" for n in [*range(ROWS), 7, 8]],
        own.timestamp: [start + timedelta(minutes=n) for n in range(ROWS + 2)],
        own.amount: [float(n) for n in range(ROWS + 2)],
        own.is_fraud: [n % 2 for n in range(ROWS + 2)],
        str(entity.column): [n % 5 for n in range(ROWS + 2)],
        number: [float(n) for n in range(ROWS + 2)],
        category: ["a", "b"] * (ROWS // 2 + 1),
    }
    return pa.table(values)


def worked_through(settings: Settings, folder: Path) -> pa.Table:
    """A day after a day: ingested, summed up, featurized, counted by bins, learnt from."""
    plan, mapping = settings.feature_plan, settings.mapping
    with Engine(temp_directory=folder / "spill") as engine:
        rows = {}
        for day in (DAY, DAY + timedelta(days=1)):
            file = folder / f"{day}.parquet"
            pq.write_table(lake_rows(settings, day), file)
            query = engine.lake_query("transactions", day, lake_day([file], mapping), mapping)
            found = ingest(query, mapping, arrival=Arrival(files=1, source_version="1"))
            assert found.accepted.num_rows == ROWS
            rows[day] = engine.memtable(found.accepted)
        first, second = rows
        sums = {
            entity: features.entity_days(rows[first], entity, plan, first).mutate(day=first)  # type: ignore[arg-type]
            for entity in plan.entities
        }
        table = engine.to_arrow(
            features.transaction_features(plan, second, today=rows[second], yesterday=rows[first], entity_days=sums)
        )
        _count(engine, settings, table)
    _learn(plan, table)
    return table


def _count(engine: Engine, settings: Settings, table: pa.Table) -> None:
    (number,), (category,) = settings.features.numeric, settings.features.categorical
    bins = [number_bins(number, table[number].to_numpy(), 4), category_bins(category, [("a", 1)], 5)]
    assert engine.to_arrow(bin_counts(engine.memtable(table), bins)).num_rows == 6
    assert engine.to_arrow(newcomers(engine.memtable(table), bins[1:])).num_rows == 1


def _learn(plan: FeaturePlan, table: pa.Table) -> None:
    import xgboost as xgb

    names = [name for name in plan.names if name not in plan.categorical]
    values = np.column_stack([table[name].to_numpy() for name in names])
    xgb.train({"nthread": 1}, xgb.DMatrix(values, np.arange(len(values)) % 2, feature_names=names), 1)


CASES = {
    "rank": "rank place today transactions",
    "place": "place rank yesterday rows",
    "keys": "key id customer kind",
    "kinds": "kind clock a amount_sum",
    "SQL words": "select from order table",
    "spaces and quotes": 'betrag_in_€ the\'one customer "x"',
    "arguments of Ibis": "by having self metrics",
    "columns of the counts": "bin rows feature value",
}


@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_names_that_look_like_those_inside_work(names: str, config: Path, tmp_path: Path) -> None:
    numeric, category, entity, column = names.split(" ")
    worked_through(configured(config, numeric, category, entity, column), tmp_path)


REFUSED = {
    "HOUR": ("HOUR", "b", "customer", "C", r"HOUR has the name of a column .* \(hour; letter case"),
    "brackets": ("amount[eur]", "b", "customer", "C", r"amount\[eur\] holds \[ and \], which XGBoost refuses"),
    "less": ("b", "x<y", "customer", "C", "x<y holds <"),
    "twins": ("Tier", "TIER", "customer", "C", "Tier and TIER"),
    "twin of a mapped column": ("tx_amount", "b", "customer", "C", "TX_AMOUNT and tx_amount"),
    "inside": ("__place", "b", "customer", "C", "__place begins with __"),
    "score": ("Score", "b", "customer", "C", r"Score has the name .* \(score;"),
    "control": ("a\nb", "b", "customer", "C", "cannot be printed"),
    "too long": ("a" * 201, "b", "customer", "C", "longer than 200"),
    "entity of other letters": ("a", "b", "käufer", "C", "entities.käufer"),
    "entity that is hidden": ("a", "b", "_customer", "C", "entities._customer"),
    "entity like an own column": ("a", "b", "hour", "C", "entities: feature columns named twice: hour"),
    "entity's column": ("a", "b", "customer", "\x07", "cannot be printed"),
}


@pytest.mark.parametrize(("numeric", "category", "entity", "column", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_at_start_by_name(
    numeric: str, category: str, entity: str, column: str, words: str, config: Path
) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        configured(config, numeric, category, entity, column)
    assert refused.value.exit_code == 2


WORDS = st.one_of(
    st.sampled_from(["rank", "Hour", "day", "key", "amount", "is_fraud", "customer", "TX_AMOUNT", "label", "count"]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.from_regex(r"\A[a-z_][a-z0-9_]{0,6}\Z"),
)
ENTITIES = st.one_of(st.just("customer"), WORDS)


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS, WORDS, ENTITIES, WORDS)
@example(numeric="rank", category=".", entity="customer", column="rank")
def test_what_settings_accept_can_be_worked_with(
    config: Path, tmp_path_factory: pytest.TempPathFactory, numeric: str, category: str, entity: str, column: str
) -> None:
    try:
        settings = configured(config, numeric, category, entity, column)
    except SettingsError as refused:
        assert any(
            name in str(refused) or repr(name)[1:-1] in str(refused) for name in (numeric, category, entity, column)
        )
        return
    worked_through(settings, tmp_path_factory.mktemp("names"))


@pytest.mark.parametrize("name", ["merchant's fraud", 'the "fraud"', "a/b", "a:b", "a@b", "a\\b", " a", "a\n", "a%b"])
def test_a_model_name_that_mlflow_cannot_address_is_refused(name: str, config: Path) -> None:
    config.write_text(yaml.safe_dump({"model": {"name": name}}))
    with pytest.raises(SettingsError, match=r"model\.name"):
        load_settings()


def test_reasons() -> None:
    assert column_problem("amount[eur]") == feature_problem("tier", ["hour"]) == entity_problem("card", ["day"]) == ""
    assert twins(["a", "B", "b", "a", "c"]) == [("B", "b")]
