"""Served rows, and processes that serve some and are killed at a named point of it.

They are forked by a server that has imported everything, and do not share its memory with the test.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from fraud_retraining.adapters.online.journal_segments import Segment
from fraud_retraining.adapters.online.serving_log import ServingLog
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.serving.served_rows import Sample, ServedRows
from fraud_retraining.domain.values.schemas import EntityPolicy

PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="c", windows_days=(1,)),
        "device": EntityPolicy(column=("maker", "serial"), windows_days=(1,), nullable=True),
    },
    numeric=("risk",),
    categorical=("channel",),
)
KEY_TYPES = {"transaction_id": INTEGER, "customer": INTEGER, "device": TEXT}
TEXT_TYPES = {"transaction_id": TEXT, "customer": TEXT, "device": TEXT}
NOON = datetime(2026, 3, 14, 12)


def served(
    ids: Sequence[Any], *, at: datetime = NOON, sampled: bool = False, scored: datetime | None = None
) -> ServedRows:
    """Rows of one answer; every value follows from the id and differs from the others."""
    numbers = [int(str(one).lstrip("t")) for one in ids]
    samples = {
        place: Sample(np.array([number, 0.1, np.nan], np.float32), ["web", None])
        for place, number in enumerate(numbers)
        if sampled
    }
    return ServedRows(
        ids=list(ids),
        timestamps=np.array([at + timedelta(microseconds=number) for number in numbers], "datetime64[us]"),
        amounts=np.array([number + 0.1 for number in numbers]),
        keys={
            "customer": [number % 7 if ids[0] == numbers[0] else f"c{number % 7}" for number in numbers],
            "device": [None if number % 3 else f"é\x1f{number}" for number in numbers],
        },
        scored_at=scored or datetime.now(UTC),
        version=4,
        feature_version="f1",
        scores=np.array([1 / (number + 3) for number in numbers]),
        decisions=[None if number % 2 else "review" for number in numbers],
        state_days=[None if number % 5 == 0 else at.date() - timedelta(days=1) for number in numbers],
        digests=[f"{number:032x}" for number in numbers],
        samples=samples,
    )


def killed_scorer(folder: Path, place: Path, answered: Path, point: str, first: int = 0) -> BaseProcess:
    """A process that answers transactions, one after the other from `first` on, and flushes every 97; until it is
    killed or comes to `point`. The ids that it answered stand in `answered`, one a line."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_serve, args=(folder, place, answered, point, first))
    process.start()
    return process


POINTS: dict[str, tuple[type, str, str, int]] = {
    "in a line": (Segment, "append", "within", 60),
    "after a line": (Segment, "append", "after", 60),
    "before a part": (FolderLocation, "put_file", "before", 2),
    "after a part": (FolderLocation, "put_file", "after", 2),
    "after its segment": (Segment, "remove", "after", 2),
}
"""Where a process dies: class and method, before, within or after the call, and which call of it."""


def _serve(folder: Path, place: Path, answered: Path, point: str, first: int) -> None:
    if point:
        _die_at(*POINTS[point])
    log = ServingLog(FolderLocation(place), folder, PLAN, f"scorer-{first}", KEY_TYPES, segment_rows=40)
    with answered.open("a", buffering=1) as words:
        for number in range(first, first + 1_000_000):
            log.append(served([number], sampled=number % 10 == 0))
            words.write(f"{number}\n")
            if number % 97 == 96:
                log.flush()


def _die_at(owner: type, method: str, when: str, count: int) -> None:
    done: Callable[..., Any] = getattr(owner, method)
    calls = {"left": count}

    def deadly(self: Any, *arguments: Any) -> None:
        calls["left"] -= 1
        due = calls["left"] == 0
        if due and when == "within":
            # As much of a line as a write that is interrupted leaves.
            os.write(self._file.fileno(), b"0badf00d 59 1 {")
        if due and when != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        done(self, *arguments)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, deadly)
