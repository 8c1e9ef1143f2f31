"""A simulated lake in a folder: days written, replaced and added."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.commands.implementation.simulated_lake import grow_simulated_lake, write_simulated_lake
from fraud_retraining.commands.support.options import SimulatedLabels
from fraud_retraining.orchestration.resources import open_lake
from fraud_retraining.settings import Settings
from fraud_retraining.simulation import SimulationPolicy
from fraud_retraining.simulation.decisions import BlockingPolicy

START = date(2024, 3, 1)
POLICY = SimulationPolicy(start=START, days=3, transactions_per_day=200)


class Counted:
    """A progress that keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def start(self, task: str, total: int) -> None:
        self.seen.append((task, total))

    def advance(self, task: str, done: int) -> None:
        self.seen.append((task, done))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    return Settings()


def rows(settings: Settings, day: date) -> int:
    folder = Path(settings.lake_uri) / f"year={day:%Y}/month={day:%m}/day={day:%d}"
    return sum(pq.read_table(file).num_rows for file in folder.glob("*.parquet"))


def test_every_day_of_the_simulation_is_in_the_lake_and_counted(settings: Settings) -> None:
    progress = Counted()
    written = write_simulated_lake(settings, POLICY, progress)
    days = sorted(open_lake(settings).days())
    assert days == [START + timedelta(days=n) for n in range(3)]
    assert written == sum(rows(settings, day) for day in days) > 0
    assert progress.seen == [("simulate", 3), ("simulate", 1), ("simulate", 2), ("simulate", 3)]


def test_the_lake_grows_day_by_day_until_it_is_stopped_and_goes_on_from_its_last_day(settings: Settings) -> None:
    write_simulated_lake(settings, POLICY, Counted())
    arrived: list[tuple[date, int]] = []
    for pauses in ([True, True, False], [True, False]):
        left = iter(pauses)
        grow_simulated_lake(settings, POLICY, lambda left=left: next(left), lambda *day: arrived.append(day))
    assert [day for day, _ in arrived] == [START + timedelta(days=n) for n in (3, 4, 5)]
    assert all(rows(settings, day) == count > 0 for day, count in arrived)


def test_no_day_is_added_before_it_is_over(settings: Settings) -> None:
    future = POLICY.model_copy(update={"start": date(2999, 1, 1)})
    write_simulated_lake(settings, future, Counted())
    left = iter([True, True, False])
    assert grow_simulated_lake(settings, future, lambda: next(left), lambda *_: pytest.fail("a day came")) == 0


def everything(root: str, last: date) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path)
        for path in sorted(Path(root).rglob("*.parquet"))
        if str(path.parent) <= day_folder(root, last)
    )


def day_folder(root: str, day: date) -> str:
    return f"{root}/year={day:%Y}/month={day:%m}/day={day:%d}"


@pytest.mark.parametrize("review_share", [0.0, 0.4])
def test_nothing_but_a_review_is_ever_known_of_what_was_blocked_and_a_lake_goes_on_as_if_made_at_once(
    settings: Settings, tmp_path: Path, review_share: float
) -> None:
    policy = POLICY.model_copy(update={"days": 8, "fraud_rate": 0.05})
    blocking = BlockingPolicy(block_share=0.1, control_share=0.5, review_share=review_share)
    options = {"labels": SimulatedLabels.FEED, "blocking": blocking}
    write_simulated_lake(settings, policy, Counted(), **options)
    lake, feed = (everything(str(tmp_path / name), policy.end) for name in ("lake", "labels"))
    reported = set(feed["transaction_id"].to_pylist())
    decisions = dict(zip(lake["TRANSACTION_ID"].to_pylist(), lake["DECISION"].to_pylist(), strict=True))
    assert {decisions[number] for number in reported} == {"approve", "control"} | ({"block"} if review_share else set())
    told = {
        (one["transaction_id"], one["source"])
        for one in feed.to_pylist()
        if decisions[one["transaction_id"]] == "block"
    }
    blocked = sum(name == "block" for name in decisions.values())
    assert {source for _, source in told} <= {"analyst"} and len(told) / blocked == pytest.approx(
        review_share, abs=0.12
    )
    assert "TX_FRAUD" not in lake.column_names
    write_simulated_lake(settings, policy, Counted(), since=START + timedelta(days=5), **options)
    assert everything(str(tmp_path / "lake"), policy.end).equals(lake)
    assert everything(str(tmp_path / "labels"), policy.end).equals(feed)
