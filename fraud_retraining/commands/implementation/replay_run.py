"""A replay: the timelines of all policies, whose questions one or several processes answer, and what they were worth.

Here: the order of the work, and its progress. Not here: the answers (`replay_answers.py`) and the rules
(`domain/replay/`).

The decisions of a policy depend on its champion and follow one another; those of other policies do not. So each policy
waits for one answer at a time, and the processes answer the questions of all of them. Policies that need the same fit
wait for the same answer; across time, fits are found again by fingerprint.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from fraud_retraining.commands.implementation.replay_answers import PastDays
from fraud_retraining.commands.implementation.replay_features import features_folder, make_features
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.commands.implementation.replay_policies import PolicySettings
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.monitoring.drift import SCORE
from fraud_retraining.domain.replay.comparison import compared
from fraud_retraining.domain.replay.conclusion import conclusion, limits, trainer_limit, unknown_limit
from fraud_retraining.domain.replay.decisions import ReplayedDecision
from fraud_retraining.domain.replay.replaceable_settings import PRESENT
from fraud_retraining.domain.replay.results import PolicyResult, Replay, measured_days, policy_result
from fraud_retraining.domain.replay.timeline import (
    Answer,
    FitAgain,
    Judge,
    Look,
    PolicyHistory,
    Question,
    RetrainRules,
    Timeline,
    Train,
    timeline,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.settings import Settings

REPLAYING, SCORING = "replay", "served days"
FOLDER = "replay"


@dataclass(frozen=True)
class Work:
    """What a process needs to answer: the settings of a policy, the served days, the folder of what is kept, and that
    of its features where these are not those of the store."""

    settings: Settings
    days: DayRange
    folder: Path
    features: Path | None = None

    @property
    def past(self) -> PastDays:
        """The past as this process has read it so far."""
        return _past(self.settings.model_dump_json(), self)


_known: dict[str, PastDays] = {}


def _past(key: str, work: Work) -> PastDays:
    key = f"{key} {work.days} {work.folder}"
    if key not in _known:
        _known[key] = PastDays(work.settings, work.days, KeptFiles(work.folder), work.features)
    return _known[key]


def answered(work: Work, question: Question) -> Answer:
    """The answer of whichever process this is."""
    return work.past.answer(question)


def scored(work: Work, fingerprint: str, days: Sequence[date]) -> int:
    """Keeps the scores of some days by a model; gives how many there are."""
    return len(work.past.scored(fingerprint, days))


def decided(work: Work, history: PolicyHistory) -> tuple[ReplayedDecision, ...]:
    """What the decisions of the settings came to on the days of a policy."""
    return work.past.decisions(history)


class ThisProcess(Executor):
    """An executor without processes: what is submitted is done at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The result as a future that is done; an error is raised at once."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def workers(processes: int) -> Iterator[Executor]:
    """So many processes that answer; they end with this one, however it ends."""
    if processes == 1:
        yield ThisProcess()
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # A fit that is under way would keep the command from ending for its whole time.
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    pool.shutdown()


def _end_with_parent() -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass
class Timelines:
    """The timelines of all policies, advanced as answers come in."""

    work: dict[str, Work]
    timelines: dict[str, Timeline]
    pool: Executor
    advance: Callable[[int], None]
    ended: dict[str, PolicyHistory] = field(default_factory=dict)
    _waiting: dict[str, tuple[Future[Any], list[str]]] = field(default_factory=dict)
    _done: dict[str, int] = field(default_factory=dict)

    def histories(self) -> dict[str, PolicyHistory]:
        """The history of every policy."""
        for name, running in self.timelines.items():
            self._ask(name, next(running))
        while self._waiting:
            wait([future for future, _ in self._waiting.values()], return_when=FIRST_COMPLETED)
            for key in [key for key, (future, _) in self._waiting.items() if future.done()]:
                future, names = self._waiting.pop(key)
                for name in names:
                    self._go_on(name, future.result())
        return self.ended

    def _go_on(self, name: str, answer: Answer) -> None:
        try:
            self._ask(name, self.timelines[name].send(answer))
        except StopIteration as ended:
            self.ended[name] = ended.value
            self._count(name, len(ended.value.served))

    def _ask(self, name: str, question: Question) -> None:
        work = self.work[name]
        if isinstance(question, Look):
            self._count(name, (question.as_of - work.days.start).days + 1)
        key = _key(work, question)
        if key in self._waiting:
            self._waiting[key][1].append(name)
        else:
            self._waiting[key] = (self.pool.submit(answered, work, question), [name])

    def _count(self, name: str, days: int) -> None:
        self._done[name] = days
        self.advance(sum(self._done.values()))


def _key(work: Work, question: Question) -> str:
    """What an answer depends on: policies that differ in other settings wait for the same one."""
    return digest(
        [type(question).__name__, question, _settings_digest(work.settings.model_dump_json(), type(question))]
    )


@lru_cache(maxsize=1024)
def _settings_digest(settings: str, kind: type) -> str:
    values = json.loads(settings)
    left_out = ("triggers", "gates") if kind is Train else ("triggers",) if kind in (Judge, FitAgain) else ()
    if kind in (Train, Judge):
        values["window"].pop("refit")
    return digest({key: value for key, value in values.items() if key not in left_out})


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay: the days that are served, the policies, the number of processes, and the price of an hour."""

    days: DayRange
    policies: tuple[PolicySettings, ...]
    processes: int = 1
    cost_per_hour: float | None = None


def replay(request: ReplayRequest, settings: Settings, progress: Progress) -> Replay:
    """Live through the days under every policy.

    Raises:
        DataInvalid: days are not in the store, or their labels are not mature.
    """
    work = {one.policy.name: _work(one.settings, request, settings) for one in request.policies}
    _require_days(work[PRESENT.name], settings)
    _make_features(work, settings, progress)
    with workers(request.processes) as pool:
        histories = _histories(request, work, pool, progress)
        _score(work, histories, pool, progress)
        decisions = _decisions(work, histories, pool)
    results = [
        _result(work[name], history, request.cost_per_hour).model_copy(update={"decisions": decisions[name]})
        for name, history in histories.items()
    ]
    present = next(one for one in results if one.name == PRESENT.name)
    confidence, budget = settings.gates.confidence, settings.gates.alert_budget
    return Replay(
        first=request.days.start,
        last=request.days.end,
        alert_budget=budget,
        alert_entity=settings.gates.alert_entity,
        confidence=confidence,
        policies=tuple(compared(one, present, confidence) for one in results),
        steps={name: history.steps for name, history in histories.items()},
        limits=(
            *limits(settings.labels, settings.window_labels, label_times=settings.label_times, days=len(request.days)),
            *trainer_limit(settings.model.trainer),
            *unknown_limit(present),
        ),
        conclusion=conclusion(results, budget, confidence),
    )


def _work(policy: Settings, request: ReplayRequest, settings: Settings) -> Work:
    folder = settings.home / FOLDER / settings.segment
    stored = digest(policy.feature_plan) == digest(settings.feature_plan)
    features = None if stored else features_folder(folder, policy)
    return Work(_with_threads(policy, request.processes), request.days, folder, features)


def _make_features(work: dict[str, Work], settings: Settings, progress: Progress) -> None:
    """The features that the store does not hold; policies with other windows need other days of them."""
    for name, one in work.items():
        if one.features is not None:
            policy = one.settings.model_copy(update={"engine": settings.engine})
            make_features(name, policy, one.features, one.past.lake, one.days, progress)


def _with_threads(settings: Settings, processes: int) -> Settings:
    """The settings with the cores shared out among the processes; the models are the same."""
    if processes == 1 or settings.model.threads:
        return settings
    threads = max(1, (os.cpu_count() or 1) // processes)
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"threads": threads}),
            "engine": settings.engine.model_copy(update={"threads": settings.engine.threads or threads}),
        }
    )


def _require_days(work: Work, settings: Settings) -> None:
    days, past = work.days, work.past
    latest = max(past.lake.days(), default=days.start)
    mature = latest - timedelta(days=settings.labels.delay_days)
    if days.end > mature:
        raise DataInvalid(
            f"served days up to {days.end} cannot be judged: labels are mature up to {mature}",
            culprits=[f"the last day that has arrived is {latest}; labels.delay_days is {settings.labels.delay_days}"],
            remedy=f"end with --to {mature} or an earlier day.",
        )
    missing = past.missing()
    if missing:
        raise DataInvalid(
            f"{len(missing)} of {len(days)} served days are not in the store",
            culprits=missing[:10],
            remedy=f"a replay ingests nothing: `fraud-retraining ingest --from {missing[0]} --to {missing[-1]}`.",
        )


def _histories(
    request: ReplayRequest, work: dict[str, Work], pool: Executor, progress: Progress
) -> dict[str, PolicyHistory]:
    progress.start(REPLAYING, len(work) * len(request.days))
    timelines = {one.policy.name: timeline(one.policy, _rules(one.settings), request.days) for one in request.policies}
    ended = Timelines(work, timelines, pool, lambda done: progress.advance(REPLAYING, done)).histories()
    return {name: ended[name] for name in work}


def _rules(settings: Settings) -> RetrainRules:
    return RetrainRules(
        triggers=settings.triggers,
        learns_after_days=settings.learns_after_days,
        fits_again=settings.window.refit.enabled,
        keeps_alerts=settings.scores.contract != "none",
    )


def _score(work: dict[str, Work], histories: dict[str, PolicyHistory], pool: Executor, progress: Progress) -> None:
    """Keeps the scores of every served day by every model that served it, each once."""
    wanted: dict[str, tuple[Work, dict[date, None]]] = {}
    for name, history in histories.items():
        for day, fingerprint in history.served:
            wanted.setdefault(fingerprint, (work[name], {}))[1][day] = None
    progress.start(SCORING, sum(len(days) for _, days in wanted.values()))
    done, futures = 0, [pool.submit(scored, of, fingerprint, list(days)) for fingerprint, (of, days) in wanted.items()]
    for future in futures:
        done += future.result()
        progress.advance(SCORING, done)


def _decisions(
    work: dict[str, Work], histories: dict[str, PolicyHistory], pool: Executor
) -> dict[str, tuple[ReplayedDecision, ...]]:
    futures = {name: pool.submit(decided, work[name], history) for name, history in histories.items()}
    return {name: future.result() for name, future in futures.items()}


def _result(work: Work, history: PolicyHistory, cost_per_hour: float | None) -> PolicyResult:
    past, gates = work.past, work.settings.gates
    tables = [past.scored(fingerprint, [day])[0] for day, fingerprint in history.served]
    table = pa.concat_tables(tables)
    served = Judged.from_table(table, table[SCORE].to_numpy(), entity=gates.alert_column)
    return policy_result(history, measured_days(served, gates.alert_budget), cost_per_hour)
