"""Days are counted with the labels of a feed as the pipeline would take them, by the end of the last day."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.feed_profiles import count_with_feed, feed_source
from fraud_retraining.adapters.storage.profiles import Profiler
from fraud_retraining.domain.proposal.facts import DayFacts, FeedFacts
from fraud_retraining.domain.proposal.feed import decide_feed
from fraud_retraining.domain.proposal.roles import Choices, decide_roles
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid

FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(3)]
Label = tuple[int, int, int, int | None]
"""Number of the transaction, and of the label: day of its folder, hour from the first midnight, fraud or not."""

LABELS: list[Label] = [
    (0, 0, 20, 1),
    (1, 1, 30, 1),
    (1, 2, 50, 0),  # taken back
    (2, 1, 30, 0),
    (2, 2, 50, 1),
    (3, 1, 30, 1),
    (3, 1, 30, 0),  # at the same moment: fraud counts
    (11, 0, 5, 1),  # before its transaction
    (12, 1, 60, 1),  # in the folder of the day before
    (13, 1, 40, None),
    (99, 2, 50, 1),  # no transaction of these days
]


@pytest.fixture
def profiler(tmp_path: Path) -> Iterator[Profiler]:
    with Profiler(memory_limit="200MB", threads=1, temp_directory=tmp_path / "spill") as opened:
        yield opened


def hours(number: int) -> datetime:
    return datetime.combine(FIRST, datetime.min.time()) + timedelta(hours=number)


def transactions(path: Path, ids: pa.Array, **more: Any) -> Path:
    """Ten transactions on each of three days, one an hour from noon on."""
    moments = [hours(24 * (number // 10) + 12 + number % 10) for number in range(30)]
    pq.write_table(pa.table({"tx_id": ids, "tx_time": moments, "amount": [1.5] * 30, **more}), path)
    return path


def feed(folder: Path, labels: list[Label], name: Any = int) -> dict[date, list[Path]]:
    folder.mkdir()
    files: dict[date, list[Path]] = {}
    for place, day in enumerate(DAYS):
        rows = [one for one in labels if one[1] == place]
        table = pa.table(
            {
                "tx_id": pa.array([name(one[0]) for one in rows], pa.string() if name is not int else pa.int64()),
                "known_at": pa.array([hours(one[2]) for one in rows], pa.timestamp("us")),
                "is_fraud": pa.array([one[3] for one in rows], pa.float64()),
            }
        )
        files[day] = [folder / f"{day}.parquet"]
        pq.write_table(table, files[day][0])
    return files


def counted(
    profiler: Profiler, lake: Path, files: dict[date, list[Path]], within: DayRange | None = None, **choices: Any
) -> tuple[list[DayFacts], FeedFacts]:
    source = profiler.file(lake)
    said = Choices(transaction_id="tx_id", time="tx_time", amount="amount", **choices)
    roles = decide_roles(profiler.columns(source), said, is_file=True, has_feed=True)
    labels = decide_feed(profiler.columns(feed_source(profiler, files)), said, "tx_id")
    return count_with_feed(profiler, source, roles, files, labels, within)


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (pa.array(range(30)), int),
        (pa.array([f"p{number}" for number in range(30)]), lambda number: f"p{number}"),
        (pa.array([str(number) for number in range(30)]), int),
        (pa.array(range(30), pa.int32()), str),
    ],
)
def test_frauds_are_counted_by_the_last_label_that_counts(
    profiler: Profiler, tmp_path: Path, ids: pa.Array, name: Any
) -> None:
    days, facts = counted(profiler, transactions(tmp_path / "lake.parquet", ids), feed(tmp_path / "feed", LABELS, name))
    assert [(one.day, one.rows, one.labelled, one.frauds) for one in days] == [
        (DAYS[0], 10, 10, 3),
        (DAYS[1], 10, 10, 0),
        (DAYS[2], 10, 10, 0),
    ]
    assert facts == FeedFacts(
        labels=9, named=6, found=5, early=1, misplaced=1, unclear=1, frauds_by_delay={DAYS[0]: {0: 1, 1: 2, 2: 1}}
    )


def test_what_became_known_after_the_last_day_does_not_count(profiler: Profiler, tmp_path: Path) -> None:
    lake = transactions(tmp_path / "lake.parquet", pa.array(range(30)))
    within = DayRange(start=DAYS[0], end=DAYS[1])
    days, facts = counted(profiler, lake, feed(tmp_path / "feed", LABELS), within)
    assert [(one.day, one.frauds) for one in days] == [(DAYS[0], 3), (DAYS[1], 0)]
    assert (facts.labels, facts.named) == (6, 5)
    # What is known of the first two days by the end of the third says more.
    assert counted(profiler, lake, feed(tmp_path / "again", LABELS))[1].labels == 9


def test_ids_of_a_csv_file_are_what_they_will_be_in_the_lake(profiler: Profiler, tmp_path: Path) -> None:
    lines = [f"{number},{hours(12 + number)},1.5" for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["tx_id,tx_time,amount", *lines]))
    days, facts = counted(profiler, tmp_path / "a.csv", feed(tmp_path / "feed", [(4, 1, 30, 1), (5, 1, 30, 0)]))
    assert (facts.named, facts.found, sum(one.frauds for one in days)) == (2, 2, 1)


def test_a_blocked_transaction_is_unknown_until_it_was_reviewed(profiler: Profiler, tmp_path: Path) -> None:
    decisions = ["blocked" if number in (0, 5) else "approved" for number in range(30)]
    lake = transactions(tmp_path / "lake.parquet", pa.array(range(30)), decision=decisions)
    days, _ = counted(profiler, lake, feed(tmp_path / "feed", LABELS))
    assert (days[0].rows, days[0].labelled, days[0].frauds) == (10, 9, 3)


def test_a_day_of_the_feed_that_lacks_a_column_is_refused_by_name(profiler: Profiler, tmp_path: Path) -> None:
    files = feed(tmp_path / "feed", LABELS)
    (path,) = files[DAYS[1]]
    pq.write_table(pq.read_table(path).drop_columns(["is_fraud"]), path)
    with pytest.raises(DataInvalid, match="columns of the label feed are not as mapped") as refused:
        counted(profiler, transactions(tmp_path / "lake.parquet", pa.array(range(30))), files)
    assert "is_fraud" in str(refused.value)


def test_transactions_of_other_days_than_their_folders_are_no_transactions(profiler: Profiler, tmp_path: Path) -> None:
    lake, files = transactions(tmp_path / "lake.parquet", pa.array(range(30))), feed(tmp_path / "feed", LABELS)
    long_ago = DayRange(start=date(2020, 1, 1), end=date(2020, 1, 5))
    with pytest.raises(DataInvalid, match="no row has a time"):
        counted(profiler, lake, files, long_ago)
