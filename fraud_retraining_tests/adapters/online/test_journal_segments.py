"""A segment of the journal: what was appended is read back to the bit, whatever a killed process left behind it."""

import math
import struct
import subprocess
import sys
from io import FileIO
from pathlib import Path

import pytest

from fraud_retraining.adapters.online.journal_segments import (
    Segment,
    SegmentRows,
    begin,
    encoded,
    read_segment,
    segment_paths,
    take_leftovers,
)
from fraud_retraining.domain.serving.served_rows import schema
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining_tests.support.served import KEY_TYPES, PLAN, served


def segment_of(folder: Path, *answers: list[int]) -> Segment:
    segment = begin(folder, "scorer", KEY_TYPES, after=0)
    for answer in answers:
        segment.append(segment.rows, len(answer), encoded(served(answer, sampled=True)))
    return segment


def rows_of(path: Path) -> SegmentRows:
    found = read_segment(path)
    assert found is not None
    return found


def ids(path: Path) -> list[int]:
    return rows_of(path).table["transaction_id"].to_pylist()


def bits(values: object) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]  # type: ignore[attr-defined]


def test_what_was_appended_is_read_to_the_bit(tmp_path: Path) -> None:
    wanted = served([5, 6, 7, 8], sampled=True)
    wanted.amounts[:3] = [-0.0, 5e-324, math.inf]
    segment = begin(tmp_path, "scorer", KEY_TYPES, after=0)
    segment.append(40, 4, encoded(wanted))
    table, dropped = rows_of(segment.path)
    assert dropped == 0
    assert table.schema == schema(PLAN.entities, KEY_TYPES)
    rows = table.to_pydict()
    assert rows["transaction_id"] == wanted.ids
    assert table["timestamp"].to_numpy().tolist() == wanted.timestamps.tolist()
    assert {name: rows[name] for name in PLAN.entities} == wanted.keys
    assert bits(rows["amount"]) == bits(wanted.amounts)
    assert bits(rows["score"]) == bits(wanted.scores)
    assert {moment.isoformat() for moment in rows["scored_at"]} == {wanted.scored_at.isoformat()[:-6]}
    assert (rows["scorer"], rows["sequence"]) == (["scorer"] * 4, [40, 41, 42, 43])
    assert (rows["version"], rows["feature_version"]) == ([4] * 4, ["f1"] * 4)
    assert (rows["decision"], rows["state_day"]) == (wanted.decisions, wanted.state_days)
    assert rows["features_digest"] == wanted.digests
    features = [struct.pack("<3f", *row) for row in rows["features"]]
    assert features == [wanted.samples[place].numbers.tobytes() for place in range(4)]
    assert rows["categories"] == [["web", None]] * 4


def test_a_line_that_is_cut_anywhere_is_left_out_and_counted(tmp_path: Path) -> None:
    path = segment_of(tmp_path, [1, 2], [3]).path
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert ids(path) == [1, 2]
        assert rows_of(path).dropped == (end > last)


def test_a_process_that_dies_before_the_first_answer_leaves_no_rows(tmp_path: Path) -> None:
    path = segment_of(tmp_path).path
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        assert ids(path) == []


def test_a_damaged_line_costs_no_other(tmp_path: Path) -> None:
    path = segment_of(tmp_path, [1, 2], [3], [4]).path
    first, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + lines[0] + lines[1].replace(b"f1", b"f2") + lines[2])
    assert (ids(path), rows_of(path).dropped) == ([1, 2, 4], 1)
    path.write_bytes(b"\0" * len(first) + b"".join(lines))
    assert (ids(path), rows_of(path).dropped) == ([], 3)


def test_a_segment_says_itself_what_its_keys_are(tmp_path: Path) -> None:
    """The settings of the process that reads it may name other entities."""
    segment = begin(tmp_path, "scorer", {"transaction_id": "text", "card": "integer"}, after=0)
    rows = served(["t1"])._replace(keys={"card": [None]})
    segment.append(0, 1, encoded(rows))
    assert rows_of(segment.path).table.schema == schema(["card"], {"card": "integer"})


def test_nobody_else_can_read_a_segment(tmp_path: Path) -> None:
    assert segment_of(tmp_path, [1]).path.stat().st_mode & 0o777 == 0o600


def test_a_segment_is_a_leftover_once_its_process_let_go_of_it(tmp_path: Path) -> None:
    held, left, empty = (segment_of(tmp_path, *answers) for answers in ([[1]], [[2], [3, 4]], []))
    left.close()
    empty.close()
    with left.path.open("ab") as file:
        file.write(b"torn")
    (tmp_path / "notes.journal").touch()
    found = take_leftovers(tmp_path)
    assert [(one.path, one.rows, one.dropped) for one in found] == [(left.path, 3, 1), (empty.path, 0, 0)]
    assert take_leftovers(tmp_path) == []
    found[0].remove()
    assert segment_paths(tmp_path) == [held.path, empty.path]


def test_a_segment_of_a_living_process_is_no_leftover(tmp_path: Path) -> None:
    path = segment_of(tmp_path, [1]).path
    script = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        process.stdout.readline()
        assert take_leftovers(tmp_path) == []
        process.kill()
    assert [one.path for one in take_leftovers(tmp_path)] == [path]


def test_numbers_rise_although_the_clock_is_set_back(tmp_path: Path) -> None:
    later = 2_000_000_000_000_000
    segment = begin(tmp_path, "scorer", KEY_TYPES, after=later)
    assert segment.path.name == f"scorer-{later + 1}.journal"
    assert segment.began == pytest.approx((later + 1) / 1e6)


def test_a_disk_that_refuses_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "scorer-1.journal", FileIO("/dev/full", "wb"))
    with pytest.raises(DependencyUnreachable, match=r"scorer-1\.journal") as refused:
        segment.append(0, 1, b"{}")
    assert "Free space" in refused.value.remedy
    assert segment.rows == 0


def test_a_segment_that_was_removed_has_no_rows_to_read(tmp_path: Path) -> None:
    segment = segment_of(tmp_path, [1])
    segment.remove()
    assert read_segment(segment.path) is None
