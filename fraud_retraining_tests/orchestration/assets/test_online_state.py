"""The state after a day is published by its ingest, and gives the next day's features as the batch computes them."""

from datetime import date, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.online.published_state import PublishedState
from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.features.live import LiveFeatures
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import Batch
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import FEATURES, INGEST, ONLINE_STATE, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_store
from fraud_retraining.orchestration.state.inventory import Recipes
from fraud_retraining.orchestration.state.readiness import Readiness
from fraud_retraining.services.live_scoring import STATE
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import START, ProjectHome


def day(number: int) -> date:
    return START + timedelta(days=number)


def ingest(first: int, last: int) -> None:
    code, answer, _ = run("ingest", "--from", day(first).isoformat(), "--to", day(last).isoformat())
    assert code == 0, answer


def made() -> list[date]:
    return list(open_store(load_settings()).readable(ONLINE_STATE, [day(number) for number in range(26)]))


def published() -> PublishedState:
    settings = load_settings()
    return PublishedState(
        open_store(settings),
        open_ledger(settings),
        settings.home / "online",
        settings.feature_plan,
        Recipes(settings).feature_version,
    )


def test_the_last_day_of_an_ingest_is_published_and_has_the_features_of_the_batch(project: ProjectHome):
    ingest(0, 6)
    assert made() == [day(6)]
    ingest(7, 7)
    assert made() == [day(6), day(7)]
    current = published().current()
    assert current is not None and current.day == day(7)
    store, plan = open_store(load_settings()), load_settings().feature_plan
    states = LocalStates(plan)
    states.publish(published().open(day(6)))
    rows, features = (
        pq.read_table(*store.paths([record], "rows"))
        for record in (store.partition(TRANSACTIONS, day(7)), store.partition(FEATURES, day(7)))
        if record is not None
    )
    found = LiveFeatures(plan).of(Batch.of(rows, plan), states)
    assert all(age.exact for age in found.ages) and len(found.features) > 30
    unlike = [
        name for name, values in found.features.items() if values.tobytes() != features[name].to_numpy().tobytes()
    ]
    assert unlike == []


@pytest.mark.slow
def test_an_earlier_day_is_made_by_itself_and_not_published(project: ProjectHome):
    ingest(0, 6)
    job = build_definitions(load_settings()).resolve_job_def(INGEST)
    tags = {"dagster/asset_partition_range_start": str(day(3)), "dagster/asset_partition_range_end": str(day(4))}
    result = job.execute_in_process(instance=open_instance(), tags=tags, asset_selection=[dg.AssetKey(ONLINE_STATE)])
    assert result.success and made() == [day(3), day(4), day(6)]
    current = published().current()
    assert current is not None and current.day == day(6)


@pytest.mark.slow
def test_a_state_that_is_made_again_names_those_that_scorers_may_have_loaded(project: ProjectHome):
    ingest(0, 3)
    store = open_store(load_settings())
    digests = []
    for amount in (None, 7.0, 8.0):
        if amount is not None:
            table = project.read_day(day(3))
            changed = pa.array([amount] * table.num_rows)
            project.write_day(day(3), table.set_column(table.column_names.index("TX_AMOUNT"), "TX_AMOUNT", changed))
            ingest(3, 3)
        record = store.partition(ONLINE_STATE, day(3))
        assert record is not None
        assert record.facts.get("replaced", []) == digests
        digests.append(record.digest)
    assert len(set(digests)) == 3


@pytest.mark.slow
def test_readiness_asks_for_a_state_that_is_missing_or_made_of_something_else(project: ProjectHome):
    ingest(0, 25)
    settings = load_settings()
    assert Readiness(settings, open_lake(settings), open_store(settings)).stale_state is None
    for file in (project.home / "store" / ONLINE_STATE / f"day={day(25)}").iterdir():
        file.unlink()
    readiness = Readiness(settings, open_lake(settings), open_store(settings))
    assert readiness.stale_state == day(25)
    work = readiness.work()
    assert work is not None and work.assets == (ONLINE_STATE,) and work.days.start == day(25)


@pytest.mark.slow
def test_readiness_asks_for_a_state_that_was_made_and_not_published(project: ProjectHome):
    """A run may be killed after it wrote the state, or something else may have written where it is named."""
    ingest(0, 25)
    settings = load_settings()
    named = project.home / "store" / ONLINE_STATE / "current.json"
    for content in (None, b"{}"):
        if content is None:
            named.unlink()
        else:
            named.write_bytes(content)
        assert Readiness(settings, open_lake(settings), open_store(settings)).stale_state == day(25)
        ingest(25, 25)
        current = published().current()
        assert current is not None and current.day == day(25)
        assert Readiness(settings, open_lake(settings), open_store(settings)).stale_state is None


def test_a_state_that_somebody_else_wrote_is_not_opened_and_is_made_again(project: ProjectHome):
    """With its record, which fits its files: only the ledger knows better."""
    ingest(0, 3)
    store = open_store(load_settings())
    record = store.partition(ONLINE_STATE, day(3))
    assert record is not None
    names = list(record.files)
    tables = {name: pq.read_table(*store.paths([record], name)) for name in names}
    column = next(name for name in tables["customer"].column_names if name.endswith("total"))
    forged = pa.array([1e6] * tables["customer"].num_rows)
    tables["customer"] = tables["customer"].set_column(tables["customer"].column_names.index(column), column, forged)
    store.write(ONLINE_STATE, day(3), tables, digest=record.digest, inputs=record.inputs, facts=record.facts)
    with pytest.raises(IntegrityError, match="not the state that the ledger says"):
        published().open(day(3))
    with pytest.raises(IntegrityError):
        published().key_types(day(3))
    ingest(3, 3)
    again = store.partition(ONLINE_STATE, day(3))
    assert again == record
    published().open(day(3))


@pytest.mark.slow
def test_a_state_that_was_published_before_the_number_of_models_changed_is_served(project: ProjectHome):
    def served() -> list[tuple[date | None, bool]]:
        scorers = [scorer_of(one) for one in load_settings().each_model()]
        for scorer in scorers:
            scorer.follow()
        return [(scorer.state_day, STATE in scorer.problems) for scorer in scorers]

    several = {"models": [{"name": "small", "where": {"TX_AMOUNT": {"below": 60}}}, {"name": "large"}]}
    ingest(0, 6)
    project.configure(**several)
    assert served() == [(day(6), False)] * 2
    ingest(7, 7)
    assert served() == [(day(7), False)] * 2
    project.configure()
    assert served() == [(day(7), False)]


def test_a_state_that_would_not_know_days_that_have_arrived_is_not_made(project: ProjectHome):
    ingest(0, 2)
    before = made()
    ingest(5, 5)
    assert made() == before, "days 3 and 4 are in the lake, and not ingested"
    job = build_definitions(load_settings()).resolve_job_def(INGEST)
    alone = [dg.AssetKey(ONLINE_STATE)]
    with pytest.raises(DataInvalid, match="not ingested") as refused:
        job.execute_in_process(instance=open_instance(), partition_key=str(day(5)), asset_selection=alone)
    assert refused.value.remedy == f"fraud-retraining ingest --from {day(3)} --to {day(5)}"
    ingest(3, 5)
    assert made() == [*before, day(5)]


def test_a_state_of_other_features_or_one_that_was_changed_is_not_opened(project: ProjectHome):
    ingest(0, 3)
    settings = load_settings()
    ledger, folder = open_ledger(settings), settings.home / "online"
    other = PublishedState(open_store(settings), ledger, folder, settings.feature_plan, "f" * 64)
    with pytest.raises(DataInvalid, match="features of version"):
        other.open(day(3))
    with pytest.raises(DataInvalid, match="has not been made"):
        published().open(day(2))
    (file,) = (project.home / "store" / ONLINE_STATE / f"day={day(3)}").glob("terminal-*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    with pytest.raises(IntegrityError):
        published().open(day(3))


def test_copies_are_shared_and_old_ones_go(project: ProjectHome):
    for last in range(5):
        ingest(last, last)
        published().open(day(last))
        published().open(day(last))
    copies = sorted(path.name[:10] for path in (project.home / "online").iterdir())
    assert copies == [str(day(number)) for number in (2, 3, 4)]


def test_a_new_copy_stays_whatever_the_others_are_named(project: ProjectHome):
    ingest(0, 0)
    # As of the same day that was ingested again: the digest decides which name comes first.
    for digest in ("x", "y", "z"):
        (project.home / "online" / f"{day(0)}-{digest * 16}").mkdir(parents=True)
    assert published().open(day(0)).day == day(0)
    assert len(list((project.home / "online").iterdir())) == 3
