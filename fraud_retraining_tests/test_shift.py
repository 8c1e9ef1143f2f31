"""The promise of the whole: a new kind of fraud is noticed, waited for, learnt and caught again, unattended.

A real daemon lives over a lake that grows, and on one of the days fraudsters and customers change. A second daemon,
every trigger off, is left with the same champion over the same lake. They are compared by what the product itself says
of its champions: `production_performance`.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.monitoring_reports import DRIFT, FINGERPRINT, PERFORMANCE, SCORED, report_of
from fraud_retraining.domain.alerts.notices import Topic
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.drift import DriftReport
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.orchestration.names import (
    RETRAIN,
    RETRAIN_SENSOR,
)
from fraud_retraining.orchestration.resources import open_ledger, open_store
from fraud_retraining.orchestration.state.monitoring import HINDSIGHT
from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path
from fraud_retraining_tests.support.command_line import retrain
from fraud_retraining_tests.support.daemons import Daemon, Watched, daemon_over, wait_until
from fraud_retraining_tests.support.project_homes import ProjectHome, merged, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

START = date(2026, 1, 1)
SHIFT = START + timedelta(days=24)
LAKE = SimulationPolicy(start=START, days=40, transactions_per_day=3000, seed=7, fraud_rate=0.03, shift_on=SHIFT)
LABEL_DELAY, HOLDOUT = 2, 3
SETTINGS: dict[str, Any] = {
    "promotion": {"mode": "auto"},
    "labels": {"delay_days": LABEL_DELAY},
    "window": {"days": 10},
    "holdout": {"days": HOLDOUT},
    "model": {"params": {"n_estimators": 40, "max_depth": 6}},
}
"""Over the small pipeline: labels that mature in two days and a window that is renewed in ten, triggers as shipped."""

THRESHOLD = DriftTriggerPolicy().threshold
TOLERANCE = 0.03
FAR_BELOW = 0.15
PATIENCE = 400


def after_shift(*numbers: int) -> list[date]:
    """Days counted from the shift."""
    return [SHIFT + timedelta(days=number) for number in numbers]


EVERY = timedelta(days=2)
MATURES = timedelta(days=LABEL_DELAY)
FIRST_AS_OF = SHIFT - timedelta(days=6)
SECOND_DAY, THIRD_DAY = after_shift(1, 2)
HELPS = SHIFT + timedelta(days=LABEL_DELAY + HOLDOUT)
"""The as-of day whose training window is the first to hold a shifted day."""

LEARNT = HELPS + EVERY
"""The as-of day whose champion has learnt from three shifted days."""

BEFORE = after_shift(-5, -4, -3, -2, -1)
AFTER = after_shift(8, 9, 10, 11, 12, 13)
"""Days that are served by that champion and its successors."""

STEPS = [
    BEFORE,
    [SHIFT],
    [SECOND_DAY],
    [THIRD_DAY],
    after_shift(3, 4, 5),
    after_shift(6, 7),
    AFTER[:3],
]
"""Days that arrive together: one by one through the shift, a few at a time where nothing depends on it."""

LAST_STEP = [*AFTER[3:], AFTER[-1] + timedelta(days=1), AFTER[-1] + MATURES]


@dataclass
class RunHistory:
    """Events and reports of one project, read after its last day."""

    drift: dict[date, float] = field(default_factory=dict)
    skip_reasons: list[str] = field(default_factory=list)
    requests: list[Event] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    performance: dict[date, PerformanceReport] = field(default_factory=dict)
    decay: list[EventKind] = field(default_factory=list)
    verified: bool = False

    def mean(self, days: Sequence[date]) -> float:
        """Mean average precision of the days: each is that of who served it, however late it was scored."""
        found = [one.today.average_precision for day, one in self.performance.items() if day in days]
        assert len(found) == len(days), f"of {days} only {sorted(self.performance)} were served and judged"
        return fmean(one.value for one in found if one is not None)

    def requested_by(self, trigger: Trigger) -> list[Event]:
        """The requests in which a trigger has part."""
        return [one for one in self.requests if trigger in one.payload["trigger"].split("+")]


class DaemonRun(Watched):
    """A daemon over a project whose lake grows."""

    def __init__(self, project: ProjectHome, future_lake: Path) -> None:
        super().__init__(project, future_lake)
        self.store = open_store(self.settings)
        self.history = RunHistory()

    def land_all(self, days: Iterable[date]) -> None:
        """Days arrive, one right after the other."""
        for day in days:
            self.land(day)

    def watched(self, day: date) -> bool:
        """Whether the champion has scored a day, and how far it is from what was learnt is known."""
        record = self.store.partition(DRIFT, day)
        if record is not None:
            self.history.drift.setdefault(day, report_of(record, DriftReport).value)
        return record is not None

    def settled(self, day: date) -> bool:
        """Whether a day is watched and the retrain of the grid, if one is due by then, has come to an answer."""
        answered = self.answered()
        return self.watched(day) and answered is not None and day - answered < EVERY

    def at_rest(self, day: date) -> bool:
        """Whether the present champion has been held against a day, so that the next is watched as it comes."""
        champion, record = open_ledger(self.settings).champion(), self.store.partition(DRIFT, day)
        return bool(champion and record and record.facts[FINGERPRINT] == champion.fingerprint)

    def judged(self, days: Sequence[date]) -> bool:
        """Whether the days are scored, and those that were scored while they were live are judged."""
        scored = self.store.partitions(SCORED, days)
        live = {day for day, record in scored.items() if not record.facts[HINDSIGHT]}
        return set(scored) == set(days) and live <= set(self.store.partitions(PERFORMANCE, days))

    def has_skipped_with(self, words: str) -> bool:
        """Whether the sensor lately gave such a skip reason; the reason is kept."""
        state = next((one for one in self.instance.all_instigator_state() if one.name == RETRAIN_SENSOR), None)
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5) if state else []
        found = [tick.skip_reason for tick in ticks if tick.skip_reason and words in tick.skip_reason]
        self.history.skip_reasons.extend(found[:1])
        return bool(found)

    def read_history(self) -> RunHistory:
        """Read requests, runs and performance."""
        ledger = open_ledger(self.settings)
        self.history.requests = list(ledger.events(EventKind.RETRAIN_REQUESTED))
        self.history.tags = {run.run_id: dict(run.tags) for run in self.runs(RETRAIN)}
        records = self.store.partitions(PERFORMANCE, [*BEFORE, *AFTER])
        self.history.performance = {day: report_of(record, PerformanceReport) for day, record in records.items()}
        self.history.decay = [one.kind for one in ledger.events() if one.subject == Topic.PERFORMANCE_DECAYED]
        self.history.verified = ledger.verify().ok
        return self.history


@contextmanager
def running(project: ProjectHome, future_lake: Path, **settings: Any) -> Iterator[tuple[DaemonRun, Daemon]]:
    """A project with these settings, a daemon over it, and the process as its user."""
    project.configure(**merged(SETTINGS, settings))
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        run = DaemonRun(project, future_lake)
        with daemon_over(project) as daemon:
            yield run, daemon
        run.instance.dispose()


@pytest.fixture(scope="module")
def future_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every day of the lake, also those that have not arrived."""
    project = ProjectHome(tmp_path_factory.mktemp("future"))
    for one, table in Simulator(LAKE):
        project.write_day(one, table)
    return project.lake


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, future_lake: Path) -> ProjectHome:
    """A project whose champion has learnt from the time before, as of `FIRST_AS_OF`."""
    project = ProjectHome(tmp_path_factory.mktemp("served"))
    project.configure(**SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        for number in range((FIRST_AS_OF - START).days + 1):
            one = START + timedelta(days=number)
            project.write_day(one, pq.ParquetFile(future_lake / lake_path(one)).read())
        code, answer, _ = retrain(FIRST_AS_OF)
    assert (code, answer["status"]) == (0, "promoted"), answer
    return project


@pytest.fixture(scope="module")
def without_triggers(served: ProjectHome, future_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> RunHistory:
    """The champion without any retrain: every trigger is off."""
    project = ProjectHome(tmp_path_factory.mktemp("alone") / "project")
    shutil.copytree(served.folder, project.folder)
    off = {"poll_seconds": 5, "schedule": None, "drift": None}
    with running(project, future_lake, triggers=off) as (run, daemon):
        wait_until(partial(run.at_rest, FIRST_AS_OF), daemon)
        run.land_all([*chain.from_iterable(STEPS), *LAST_STEP])
        wait_until(lambda: run.judged(AFTER), daemon, PATIENCE)
        wait_until(lambda: run.has_skipped_with("every trigger is off"), daemon)
        return run.read_history()


@pytest.fixture(scope="module")
def unattended(served: ProjectHome, future_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> RunHistory:
    """The history with the triggers as they are shipped; days arrive when those before are done with."""
    project = ProjectHome(tmp_path_factory.mktemp("unattended") / "project")
    shutil.copytree(served.folder, project.folder)
    with running(project, future_lake, triggers={"poll_seconds": 5}) as (run, daemon):
        wait_until(partial(run.at_rest, FIRST_AS_OF), daemon)
        for step in STEPS:
            run.land_all(step)
            wait_until(partial(run.settled, step[-1]), daemon, PATIENCE)
            if step[-1] == SECOND_DAY:
                wait_until(lambda: run.answered() == SECOND_DAY, daemon)
            if step[-1] == THIRD_DAY:
                wait_until(lambda: run.has_skipped_with("answered by the retrain as of"), daemon)
            if step[-1] >= LEARNT:
                wait_until(partial(run.at_rest, step[-1]), daemon, PATIENCE)
        run.land_all(LAST_STEP)
        wait_until(lambda: run.judged(AFTER), daemon, PATIENCE)
        return run.read_history()


def test_the_change_is_seen_within_two_days_and_requests_a_retrain(unattended: RunHistory) -> None:
    assert unattended.drift[BEFORE[-1]] <= THRESHOLD < unattended.drift[SHIFT]
    first = unattended.requested_by(Trigger.DRIFT)[0]
    assert first.as_of == SECOND_DAY
    assert (first.actor, first.payload["drift_since"]) == ("automation", str(SHIFT))
    tags = unattended.tags[first.payload["dagster_run_id"]]
    assert Trigger.DRIFT in tags["trigger"].split("+")
    assert tags["as_of"] == str(first.as_of)


def test_it_says_when_the_labels_can_be_learnt_and_does_not_retrain_in_a_circle_before(unattended: RunHistory) -> None:
    reported = f"days since {SHIFT} are in the training window from as-of day {HELPS} on"
    first, *again = unattended.requested_by(Trigger.DRIFT)
    assert reported in first.payload["reason"]
    assert any(
        f"answered by the retrain as of {first.as_of}; {reported}" in reason for reason in unattended.skip_reasons
    )
    assert [one.as_of for one in again if one.as_of and one.as_of < HELPS] == []


def test_once_shifted_days_have_matured_it_is_as_good_as_before_and_without_triggers_it_is_not(
    unattended: RunHistory, without_triggers: RunHistory
) -> None:
    assert without_triggers.requests[0].payload["trigger"] == Trigger.MANUAL
    assert len(without_triggers.requests) == 1
    before, after, alone = unattended.mean(BEFORE), unattended.mean(AFTER), without_triggers.mean(AFTER)
    print(f"before {before:.3f}, after {after:.3f}, with every trigger off {alone:.3f}")
    assert after >= before - TOLERANCE
    assert alone < before - FAR_BELOW


def test_decay_is_reported_once_though_its_champion_has_been_followed_by_then(unattended: RunHistory) -> None:
    """Every other day brings another champion: what is mature was always served by an earlier one."""
    assert unattended.decay[:1] == [EventKind.NOTICE_OPENED]
    assert all(before != after for before, after in pairwise(unattended.decay)), unattended.decay


def test_every_step_of_it_is_in_the_ledger(unattended: RunHistory, without_triggers: RunHistory) -> None:
    assert unattended.verified
    assert without_triggers.verified
    for requested in unattended.requests[1:]:
        assert unattended.tags[requested.payload["dagster_run_id"]]["trigger"] == requested.payload["trigger"]
        assert requested.payload["reason"]
