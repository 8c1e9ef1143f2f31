"""Several scorers that share a real Redis give the bits of one process, and never those of half a state."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fraud_retraining.adapters.online import redis_states
from fraud_retraining.adapters.online.redis_server import PAUSE_SECONDS, RedisServer
from fraud_retraining.adapters.online.redis_states import RedisStates
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.live import (
    LiveFeatures,
    LiveStates,
    OnlineState,
    StateAge,
    StateName,
    StatesMoved,
)
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import Batch, FinishedDay, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining_tests.domain.features.test_online import NULLABLE, Lake, Rows, assert_same_bits
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, at, table, transaction
from fraud_retraining_tests.support.redis_servers import PASSWORD, RedisProcess

pytest_plugins = ["fraud_retraining_tests.support.redis_servers"]
pytestmark = pytest.mark.slow

BEFORE, DAY_AFTER = DAY - timedelta(days=1), DAY + timedelta(days=1)
PLAN = NULLABLE


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def state_after(lake: Lake, day: date) -> OnlineState:
    recent = RecentDay(lake.plan, day, FinishedDay(lake.day(day), lake.plan, day))
    return OnlineState(day, f"{day}-of-the-lake", lake.states(day + timedelta(days=1)), recent)


def payments(seed: int, count: int) -> Rows:
    """Transactions of four days: keys that may be missing, equal moments, negative zeros, ids out of order."""
    random = Random(seed)
    amounts = (0.0, -0.0, 0.01, 219.99, 99_999.99, -7.5, 1e-7)
    return [
        transaction(
            number if seed % 2 else f"id-{number}-é",
            at(days_before=random.randint(0, 3), hour=random.randint(0, 23), micro=random.randint(0, 1)),
            random.choice(amounts) if random.random() < 0.5 else random.uniform(0, 500),
            customer=random.randint(1, 3),
            terminal=random.choice([1, 2, None]),
            is_fraud=int(random.random() < 0.3),
        )
        for number in random.sample(range(count * 3), count)
    ]


def shared(server: RedisProcess, plan: FeaturePlan = PLAN, version: str = "0123456789abcdef") -> RedisStates:
    """One scorer's view of the server, which has taken note of everything."""
    states = RedisStates(plan, RedisServer(server.url, 2.0), version)
    states.follow()
    states.filled()
    return states


def publish(states: LiveStates, state: OnlineState) -> None:
    assert states.prepare(state)
    states.publish(state)


def batch_of(lake: Lake, rows: Rows) -> Batch:
    return Batch.of(table(lake.plan, rows), lake.plan)


def scored(features: LiveFeatures, states: LiveStates, batch: Batch) -> tuple[dict[Any, Any], list[StateAge]]:
    try:
        found = features.of(batch, states)
    except StatesMoved:
        return scored(features, states, batch)
    return {
        number: {name: values[place] for name, values in found.features.items()}
        for place, number in enumerate(batch.ids)
    }, found.ages


@pytest.mark.parametrize("seed", range(2))
def test_two_scorers_that_take_turns_have_the_bits_of_one_process(
    engine: Engine, redis_server: RedisProcess, seed: int
):
    """In any order, with batches of any size and day, sent again, added, and with states published in between."""
    random = Random(seed)
    lake, features = Lake(engine, PLAN, payments(seed, 60)), LiveFeatures(PLAN)
    one, scorers = LocalStates(PLAN), [shared(redis_server), shared(redis_server)]
    days = [BEFORE - timedelta(days=1), BEFORE, DAY]
    for states in (one, scorers[0]):
        publish(states, state_after(lake, days[0]))
    scorers[1].follow()
    scorers[1].filled()
    for day in days[1:]:
        rows = [row for row in lake.rows if abs(row["timestamp"].date() - day) <= timedelta(days=1)]
        rows = [row for row in rows if row["timestamp"].date() >= day] + random.choices(rows, k=20)
        random.shuffle(rows)
        while rows:
            part, rows = rows[: (size := random.choice([1, 2, 9, 20]))], rows[size:]
            batch, scorer = batch_of(lake, part), random.choice(scorers)
            if random.random() < 0.2:
                one.add(batch)
                scorer.add(batch)
                continue
            found, wanted = scored(features, scorer, batch), scored(features, one, batch)
            assert_same_bits(found[0], wanted[0])
            assert found[1] == wanted[1]
        for states in (one, random.choice(scorers)):
            publish(states, state_after(lake, day))


def test_in_order_of_time_two_scorers_have_the_bits_of_the_lake(engine: Engine, redis_server: RedisProcess):
    lake, features = Lake(engine, PLAN, payments(7, 80)), LiveFeatures(PLAN)
    scorers = [shared(redis_server), shared(redis_server)]
    publish(scorers[0], state_after(lake, BEFORE))
    for scorer in scorers:
        scorer.follow()
        scorer.filled()
    rows = sorted(
        (row for row in lake.rows if row["timestamp"].date() == DAY),
        key=lambda row: (row["timestamp"], row["transaction_id"]),
    )
    found: dict[Any, Any] = {}
    for place, row in enumerate(rows):
        named, ages = scored(features, scorers[place % 2], batch_of(lake, [row]))
        assert ages[0].exact
        found |= named
    assert found
    assert_same_bits(found, lake.batch_features(DAY))


def test_a_batch_that_takes_several_calls_has_the_bits_of_one(
    engine: Engine, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redis_states, "STEP", 7)
    lake, features = Lake(engine, PLAN, payments(3, 80)), LiveFeatures(PLAN)
    one, other = LocalStates(PLAN), shared(redis_server)
    for states in (one, other):
        publish(states, state_after(lake, BEFORE))
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() >= BEFORE])
    assert_same_bits(scored(features, other, batch)[0], scored(features, one, batch)[0])


def test_a_transaction_that_is_sent_again_is_kept_once(engine: Engine, redis_server: RedisProcess):
    lake = Lake(engine, PLAN, payments(1, 10))
    states = shared(redis_server)
    batch = batch_of(lake, lake.rows)
    for _ in range(3):
        states.add(batch)
    keys = list(states._server.bulk.scan_iter("*:since:*:customer:*"))
    assert sum(states._server.bulk.zcard(key) for key in keys) == 10
    assert all(0 < states._server.bulk.ttl(key) <= 4 * 86_400 for key in keys)


def test_states_that_are_no_longer_kept_expire_and_those_that_are_stay(engine: Engine, redis_server: RedisProcess):
    lake, states = Lake(engine, PLAN, payments(1, 30)), shared(redis_server)
    for days in (3, 2, 1):
        publish(states, state_after(lake, DAY - timedelta(days=days)))
    assert states._pointer is not None and list(states._pointer.states) == [DAY - timedelta(days=2), BEFORE]
    kept = {one.name for one in states._pointer.states.values()}
    for key in states._server.bulk.scan_iter("*:state:*"):
        assert (states._server.bulk.ttl(key) == -1) == any(name in key.decode() for name in kept)


def _load_for_ever(server: RedisProcess, lake_rows: Rows, folder: Path) -> None:
    """Brings a state to Redis, and stops after its first hash."""
    with Engine(temp_directory=folder, threads=1) as engine:
        states = shared(server)
        write = states._write

        def slow(*arguments: Any) -> None:
            write(*arguments)
            (folder / "half").touch()
            time.sleep(600)

        states._write = slow  # type: ignore[method-assign]
        states.prepare(state_after(Lake(engine, PLAN, lake_rows), DAY))


def test_a_loader_that_is_killed_leaves_the_former_state_and_another_takes_over(
    engine: Engine, redis_server: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redis_states, "LOADING_SECONDS", 2)
    lake, features, states = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN), shared(redis_server)
    publish(states, state_after(lake, BEFORE))
    process = get_context("fork").Process(target=_load_for_ever, args=(redis_server, lake.rows, tmp_path))
    process.start()
    while not (tmp_path / "half").exists():
        time.sleep(0.05)
    assert process.pid is not None
    assert not states.prepare(state_after(lake, DAY))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    states.follow()
    assert states.newest == StateName(BEFORE, f"{BEFORE}-of-the-lake")
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    one = LocalStates(PLAN)
    publish(one, state_after(lake, BEFORE))
    assert_same_bits(scored(features, states, batch)[0], scored(features, one, batch)[0])
    while not states.prepare(state_after(lake, DAY)):
        time.sleep(0.1)
    states.publish(state_after(lake, DAY))
    assert states.newest == StateName(DAY, f"{DAY}-of-the-lake")
    left = [key for key in states._server.bulk.scan_iter("*:state:*") if states._server.bulk.ttl(key) > 0]
    assert left, "what the killed one wrote is there, and expires"


def test_two_that_bring_the_same_state_at_once_are_harmless(engine: Engine, redis_server: RedisProcess):
    lake, features = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN)
    first, second = shared(redis_server), shared(redis_server)
    state = state_after(lake, BEFORE)
    assert first.prepare(state)
    # Its claim has lapsed, as that of a process that was paused.
    assert second.prepare(state)
    second.publish(state)
    first.publish(state)
    second.follow()
    second.filled()
    assert first._pointer == second._pointer
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    one = LocalStates(PLAN)
    publish(one, state)
    wanted = scored(features, one, batch)[0]
    first.follow()
    first.filled()
    assert_same_bits(scored(features, first, batch)[0], wanted)
    assert_same_bits(scored(features, second, batch)[0], wanted)


def test_at_midnight_every_answer_is_that_of_one_state_or_of_the_other(engine: Engine, redis_server: RedisProcess):
    """A state is published again and again under requests, each of which is answered with its own day's state."""
    lake, features = Lake(engine, PLAN, payments(9, 60)), LiveFeatures(PLAN)
    one, loader, scorer = LocalStates(PLAN), shared(redis_server), shared(redis_server)
    publish(loader, state_after(lake, BEFORE))
    publish(one, state_after(lake, BEFORE))
    scorer.follow()
    scorer.filled()
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    batch_after = batch._replace(timestamps=batch.timestamps + 86_400_000_000)
    today = scored(features, one, batch)[0]
    late = scored(features, one, batch_after)
    publish(one, state_after(lake, DAY))
    exact = scored(features, one, batch_after)
    wanted = {late[1][0]: late[0], exact[1][0]: exact[0]}
    after = state_after(lake, DAY)
    thread = threading.Thread(target=lambda: publish(loader, after))
    ages = []
    for number in range(60):
        if number == 20:
            thread.start()
        assert_same_bits(scored(features, scorer, batch)[0], today)
        found, (age, *_) = scored(features, scorer, batch_after)
        assert_same_bits(found, wanted[age])
        ages.append(age)
    thread.join()
    assert ages[0] == late[1][0] and ages[-1] == exact[1][0]


def test_redis_that_is_gone_is_named_and_one_that_comes_back_empty_is_not_believed(
    engine: Engine, redis_server: RedisProcess
):
    lake, features, states = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN), shared(redis_server)
    publish(states, state_after(lake, BEFORE))
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    wanted = scored(features, states, batch)[0]
    redis_server.stop()
    with pytest.raises(DependencyUnreachable, match=f"Redis at 127.0.0.1:{redis_server.port}") as refused:
        features.of(batch, states)
    assert PASSWORD not in str(refused.value)
    redis_server.start()
    time.sleep(PAUSE_SECONDS)
    with pytest.raises((DependencyUnreachable, StatesMoved)):
        features.of(batch, states)
    with pytest.raises(DependencyUnreachable, match="does not hold"):
        features.of(batch, states)
    states.follow()
    assert states.newest is None and states.lacks_transactions
    states.filled()
    publish(states, state_after(lake, BEFORE))
    assert_same_bits(scored(features, states, batch)[0], wanted)


def test_redis_that_answers_late_is_not_waited_for(engine: Engine, redis_server: RedisProcess):
    lake, features = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN)
    publish(shared(redis_server), state_after(lake, BEFORE))
    states = RedisStates(PLAN, RedisServer(redis_server.url, 0.2), "0123456789abcdef")
    states.follow()
    states.filled()
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    wanted = scored(features, states, batch)[0]
    redis_server.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(DependencyUnreachable, match="Timeout") as first:
        features.of(batch, states)
    assert time.monotonic() - began < 1
    began = time.monotonic()
    with pytest.raises(DependencyUnreachable) as second:
        features.of(batch, states)
    # Not asked again, and told in the same words: only another problem is logged anew.
    assert time.monotonic() - began < 0.1 and str(second.value) == str(first.value)
    redis_server.signal(signal.SIGCONT)
    time.sleep(PAUSE_SECONDS)
    assert_same_bits(scored(features, states, batch)[0], wanted)


def test_a_hash_that_somebody_removed_is_noticed(engine: Engine, redis_server: RedisProcess):
    lake, features, states = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN), shared(redis_server)
    publish(states, state_after(lake, BEFORE))
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    (key,) = states._server.bulk.scan_iter("*:state:*:terminal")
    states._server.bulk.delete(key)
    with pytest.raises(DependencyUnreachable, match="lost a part"):
        features.of(batch, states)
    states.follow()
    assert states.newest is None and states.lacks_transactions


def test_transactions_that_redis_lost_are_noticed_by_one_that_read_them(engine: Engine, redis_server: RedisProcess):
    lake, features = Lake(engine, PLAN, payments(5, 30)), LiveFeatures(PLAN)
    one, states = LocalStates(PLAN), shared(redis_server)
    for place in (one, states):
        publish(place, state_after(lake, BEFORE))
    batch = batch_of(lake, [row for row in lake.rows if row["timestamp"].date() == DAY])
    scored(features, states, batch)
    for key in states._server.bulk.scan_iter("*:since:*"):
        states._server.bulk.delete(key)
    assert_same_bits(scored(features, states, batch)[0], scored(features, one, batch)[0])


def test_a_server_that_drops_keys_is_refused(redis_server: RedisProcess):
    states = shared(redis_server)
    states._server.bulk.config_set("maxmemory", "100mb")
    states.follow()
    states._server.bulk.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(SettingsError, match="vanish"):
        states.follow()


def test_a_wrong_password_is_told_without_it(redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REDIS_PASSWORD", "another secret")
    with pytest.raises(DependencyUnreachable, match="Redis at") as refused:
        shared(redis_server)
    assert "another secret" not in str(refused.value)
