"""The parts of a day are read as one table, in the order of scoring; what is damaged is named and never left out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.online.journal_segments import begin, encoded, read_segment
from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.domain.serving.served_rows import schema
from fraud_retraining.domain.values.errors import IntegrityError
from fraud_retraining_tests.support.served import KEY_TYPES, NOON, PLAN, TEXT_TYPES, served

DAY = NOON.date()
EVENING = datetime(2026, 3, 14, 20, tzinfo=UTC)


@pytest.fixture
def days(tmp_path: Path) -> ServedDays:
    return ServedDays(FolderLocation(tmp_path / "place"))


def rows(folder: Path, ids: list[Any], types: dict[str, str] = KEY_TYPES, **named: Any) -> pa.Table:
    folder.mkdir(exist_ok=True)
    segment = begin(folder, named.pop("scorer", "a"), types, after=0)
    segment.append(0, len(ids), encoded(served(ids, **named)))
    found = read_segment(segment.path)
    segment.remove()
    assert found is not None
    return found.table


def put(days: ServedDays, scratch: Path, segment: str, table: pa.Table) -> None:
    days.put(DAY, segment, table, scratch)


def test_a_day_without_parts_is_none(days: ServedDays) -> None:
    assert days.read(DAY) is None


def test_rows_are_in_the_order_in_which_they_were_scored(days: ServedDays, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    put(days, scratch, "b-1", rows(scratch, [4, 3], scorer="b", scored=EVENING))
    put(days, scratch, "a-2", rows(scratch, [9], scored=EVENING - timedelta(seconds=1)))
    put(days, scratch, "a-1", rows(scratch, [8, 7], scored=EVENING))
    found = days.read(DAY)
    assert found is not None
    assert found["transaction_id"].to_pylist() == [9, 8, 7, 4, 3]
    assert found.schema == schema(PLAN.entities, KEY_TYPES)
    assert not list(scratch.glob("*"))


def test_parts_with_other_entities_and_types_of_keys_are_read_together(days: ServedDays, tmp_path: Path) -> None:
    put(days, tmp_path, "a-1", rows(tmp_path, [1], scored=EVENING))
    put(days, tmp_path, "b-1", rows(tmp_path, ["t2"], TEXT_TYPES, scorer="b", scored=EVENING).drop(["device"]))
    found = days.read(DAY)
    assert found is not None
    assert found.select(["transaction_id", "customer", "device"]).to_pylist() == [
        {"transaction_id": "1", "customer": "1", "device": None},
        {"transaction_id": "t2", "customer": "c2", "device": None},
    ]


def test_days_with_parts_are_found_and_their_version_follows_the_parts(days: ServedDays, tmp_path: Path) -> None:
    around = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]
    assert days.days(around) == set()
    put(days, tmp_path, "a-1", rows(tmp_path, [1], scored=EVENING))
    (tmp_path / "place" / "serving_log" / "day=old").mkdir()
    first = days.version(DAY)
    assert days.days(around) == {DAY}
    assert first == days.version(DAY)
    put(days, tmp_path, "a-2", rows(tmp_path, [2], scored=EVENING))
    assert days.version(DAY) != first


def test_every_damaged_part_is_named(days: ServedDays, tmp_path: Path) -> None:
    for segment in ("a-1", "a-2", "a-3", "a-4"):
        put(days, tmp_path, segment, rows(tmp_path, list(range(200)), sampled=True))
    place = tmp_path / "place" / "serving_log" / f"day={DAY}"
    cut, flipped, other = (place / f"a-{number}.parquet" for number in (1, 2, 4))
    cut.write_bytes(cut.read_bytes()[:-20])
    content = bytearray(flipped.read_bytes())
    content[1000] ^= 1
    flipped.write_bytes(content)
    pq.write_table(pa.table({"transaction_id": [1]}), other)
    with pytest.raises(IntegrityError) as refused:
        days.read(DAY)
    named = [culprit.split(":")[0] for culprit in refused.value.culprits]
    assert named == [f"serving_log/day={DAY}/{file.name}" for file in (cut, flipped, other)]
    assert refused.value.days == (DAY,)


def test_parts_of_some_segments_are_passed_by(days: ServedDays, tmp_path: Path) -> None:
    for number in (1, 2):
        put(days, tmp_path, f"a-{number}", rows(tmp_path, [number]))
    (found,) = days.parts(DAY, ["transaction_id"], without={"a-1"})
    assert found.to_pydict() == {"transaction_id": [2]}
