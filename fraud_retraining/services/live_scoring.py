"""Scores of live transactions by the champion of the moment, with the features that the batch will find for them.

Here: raw rows become canonical, get their features, a score, a decision and reasons, and are written to the serving
log; the champion and the online state are followed. Not here: HTTP (`serving/score_app.py`), how features are computed
(`domain/features/live.py`) and where states are kept (`domain/features/local_states.py`, `adapters/online/`).

A version is loaded after its digest was held against the ledger; nothing of its artifact is executed. What cannot be
loaded leaves the former version, or state, in service, and is told by `problems`. Where states are shared and do not
answer, nothing is scored, or, where the settings say so, with nothing known; what was scored so is added to them later.
"""

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.online.published_state import CurrentState, PublishedState
from fraud_retraining.adapters.online.serving_log import ServingLog
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.request_rows import CanonicalRows, RequestReader, RowProblem
from fraud_retraining.domain.features.live import (
    DAY,
    LiveFeatures,
    LiveRows,
    LiveStates,
    OnlineState,
    StateAge,
    StatesMoved,
    joined,
    part,
)
from fraud_retraining.domain.features.local_states import LocalStates
from fraud_retraining.domain.features.online import Batch, numeric_features
from fraud_retraining.domain.features.partition_inputs import lookback
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.serving.log_parts import RANGES, ranges_of
from fraud_retraining.domain.serving.policy import ServingPolicy
from fraud_retraining.domain.serving.segment_rows import ServedSegment, foreign_rows
from fraud_retraining.domain.serving.served_rows import Sampler, ServedRows
from fraud_retraining.domain.training.estimators.model_input import FloatColumn, category_codes
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.errors import Conflict, DataInvalid, DependencyUnreachable, RetrainingError
from fraud_retraining.domain.values.schemas import AMOUNT
from fraud_retraining.services.recorded_versions import recorded_champion, recorded_thresholds

LOG = logging.getLogger("fraud_retraining.scores")
MODEL, STATE, SERVING_LOG, SHARED, LEDGER = "model", "state", "serving log", "shared state", "ledger"
RECORD_SECONDS = 3600
PROBLEMS = (MODEL, STATE, SERVING_LOG, SHARED, LEDGER)
FILLED_AT_ONCE = 1000
"""Transactions of the serving log that are added while nothing is scored."""
TOO_LATE = "the day is over, and its state is no longer kept"
NOT_LOADED = "not loaded yet; try again in a moment"
AHEAD = "is in the future: a wrong clock, or a local time without its zone"
INFINITE = "is too large for a model"


class Reason(NamedTuple):
    """A feature that raised the score: its name, what it is in words, its value, and by how much (log-odds)."""

    feature: str
    meaning: str
    value: float | str | None
    contribution: float


class Answer(NamedTuple):
    """What is said of one transaction. `score` is the model's, through its score mapping where it has one."""

    transaction_id: int | str
    score: float
    decision: str
    state: StateAge
    features_digest: str
    reasons: list[Reason] | None


class Answers(NamedTuple):
    """The answers to a request, in its order; or the problems of its rows, and then no answer."""

    model_version: int
    feature_version: str
    answers: list[Answer]
    problems: list[RowProblem]


class NotReady(Exception):
    """Nothing can be scored now; the message says why."""


@dataclass(frozen=True)
class ServedModel:
    """The version that scores."""

    version: int
    fitted: FittedModel
    thresholds: Mapping[str, float]
    """The least score of each decision."""


class ScoredColumns(NamedTuple):
    """Features of the rows of a request, as columns by name: float32, text for categories, float64 for the amount."""

    amounts: NDArray[np.float64]
    own: Mapping[str, NDArray[np.float32]]
    numeric: Mapping[str, NDArray[np.float32]]
    categories: Mapping[str, Sequence[str | None]]

    def value(self, name: str, row: int) -> float | str | None:
        """One feature of one row; None where it is missing."""
        if name in self.categories:
            return self.categories[name][row]
        number = float(self.amounts[row] if name == AMOUNT else self._numbers(name)[row])
        return None if np.isnan(number) else number

    def columns(self, model: FittedModel) -> list[FloatColumn]:
        """The columns that a model reads, as `model_input.float_columns` makes them."""
        return [
            category_codes(pa.chunked_array([pa.array(self.categories[name], pa.string())]), model.vocabularies[name])
            if name in model.vocabularies
            else self._numbers(name)
            for name in model.features
        ]

    def _numbers(self, name: str) -> FloatColumn:
        if name == AMOUNT:
            with np.errstate(over="ignore"):
                return self.amounts.astype(np.float32)
        return self.own[name] if name in self.own else self.numeric[name]


class LiveScorer:
    """Scores transactions; one thread at a time scores, and another one may follow champion and state."""

    def __init__(
        self,
        plan: FeaturePlan,
        mapping: LakeMapping,
        policy: ServingPolicy,
        *,
        registry: Registry,
        ledger: Ledger,
        states: PublishedState,
        kept: LiveStates,
        open_log: Callable[[Mapping[str, str]], ServingLog],
        feature_version: str,
        segment: ServedSegment,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.policy = policy
        self.feature_version = feature_version
        self.problems: dict[str, str] = {}
        """What could not be loaded or written, by what it is about; empty while all is well."""
        self._plan, self._mapping, self._segment = plan, mapping, segment
        self._registry, self._ledger, self._states = registry, ledger, states
        # The log has the types of the keys, which the first state tells.
        self._open_log = open_log
        self._log: ServingLog | None = None
        self._followed: CurrentState | None = None
        self._clock = clock
        self._kept = kept
        self._live = LiveFeatures(plan)
        self._unrecorded: dict[date, dict[str, str]] = {}
        self._record_next = time.monotonic()
        self._unsent: list[Batch] = []
        """What was scored while the place for states did not answer."""
        self._digests, self._sampler = RowDigests(plan), Sampler(plan, policy.sample_share)
        self._meanings = plan.meanings
        self._model: ServedModel | None = None
        self._reader: RequestReader | None = None
        self._lock = Lock()

    # ------------------------------------------------------------ following

    @property
    def model_version(self) -> int | None:
        """The version that scores; None before the first is loaded."""
        return self._model.version if self._model else None

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The least score of each decision under the version that scores."""
        return self._model.thresholds if self._model else {}

    @property
    def state_day(self) -> date | None:
        """The last whole day of the newest state; None before the first is loaded."""
        newest = self._kept.newest
        return newest.day if newest else None

    @property
    def missing(self) -> dict[str, str]:
        """The problems, and what is not loaded yet, by what they are about."""
        lacking = {MODEL: self._model is None, STATE: self.state_day is None}
        return {**{what: NOT_LOADED for what, lacks in lacking.items() if lacks}, **self.problems}

    @property
    def ready(self) -> bool:
        """Whether transactions can be scored, or could a moment ago."""
        if self._model is None or self.state_day is None:
            return False
        return SHARED not in self.problems or self.policy.without_state == "score"

    @property
    def waiting_rows(self) -> int:
        """Answers that are in the journal of this machine and not yet in the store."""
        return self._log.waiting.rows if self._log else 0

    def follow(self) -> None:
        """Load the champion and the published state if they changed since the last time."""
        self._attempt(MODEL, self._follow_model)
        self._attempt(STATE, self._follow_state)

    def set_aside(self) -> None:
        """Have the garbage collector never look again at what is there now.

        It would stop scoring for a third of a second, and for longer the more transactions a day has. What a request
        leaves behind in circles would stay for ever, so none is scored meanwhile.
        """
        with self._lock:
            gc.collect()
            gc.freeze()

    def flush(self, *, last: bool = False) -> None:
        """Move the serving log to the store, and name its new parts in the ledger: every hour, and at the `last`."""
        if self._log is None:
            return
        self._attempt(SERVING_LOG, self._log.flush)
        for day, parts in self._log.take_put().items():
            self._unrecorded.setdefault(day, {}).update(parts)
        if last or time.monotonic() >= self._record_next:
            self._attempt(LEDGER, self._record_parts)

    def _record_parts(self) -> None:
        """Let the ledger vouch for what was answered: who writes to the store could otherwise change it."""
        for day, parts in sorted(self._unrecorded.items()):
            self._ledger.append(
                EventKind.ANSWERS_LOGGED,
                actor="scorer",
                channel="serving log",
                keys=EventKeys(subject=day.isoformat()),
                payload={RANGES: ranges_of(parts)},
            )
            del self._unrecorded[day]
            self._record_next = time.monotonic() + RECORD_SECONDS

    def _attempt(self, what: str, load: Callable[[], Any]) -> None:
        try:
            load()
        except RetrainingError as error:
            self._note_problem(what, _sentence(error))
        except Exception as error:
            # Whoever follows goes on: what serves must not stay for ever because of one fault that nobody foresaw.
            if self._note_problem(what, f"{type(error).__name__}: {error}"):
                LOG.exception("%s: not foreseen", what)
        else:
            self._well(what)

    def _well(self, what: str) -> None:
        """Drop a problem that is over."""
        if self.problems.pop(what, None) is not None:
            LOG.info("%s: as it should be again", what)

    def _note_problem(self, what: str, why: str) -> bool:
        """Keep a problem; logged, and True, where it is another one than before."""
        said = " ".join(why.split())
        if self.problems.get(what) == said:
            return False
        LOG.error("%s: %s", what, said)
        self.problems[what] = said
        return True

    def _follow_model(self) -> None:
        number = self._registry.champion_number()
        if number is not None and number == self.model_version:
            return
        recorded = recorded_champion(self._registry, self._ledger)
        if recorded is None:
            raise DataInvalid("there is no champion yet", remedy="promote a version, then it is served.")
        known = self._ledger.champion()
        # Whoever reaches MLflow can move the alias, to a version that was rejected too.
        if known is None or known.version != recorded.version:
            raise Conflict(
                f"MLflow names version {recorded.version} as champion, the ledger "
                f"{f'version {known.version}' if known else 'none'}",
                remedy="the former one stays until champion_sensor has recorded the move, within a minute.",
            )
        fitted = self._registry.load(recorded.run_id, expected_digest=recorded.artifact_digest)
        lacking = [name for name in fitted.features if name not in self._plan.names]
        if lacking:
            raise DataInvalid(
                f"version {recorded.version} reads features that the settings do not make; the former one stays",
                culprits=lacking,
                remedy="run the scorer with the settings that the version was trained with.",
            )
        chosen = recorded_thresholds(self._ledger, recorded.fingerprint) if self.policy.chooses else {}
        self._model = ServedModel(recorded.version, fitted, self.policy.thresholds(chosen))
        LOG.info("version %d serves", recorded.version)

    def _follow_state(self) -> None:
        current = self._states.current()
        if current is None:
            today = self._clock().date()
            days = (today - min(lookback(self._plan, today), default=today - DAY)).days
            raise DataInvalid(
                "no online state is published",
                remedy=f"run fraud-retraining ingest for the last {days} days of the lake: features look back on them.",
            )
        if self._log is None:
            key_types = self._states.key_types(current.day)
            self._reader, self._log = RequestReader(self._mapping, key_types), self._open_log(key_types)
        self._attempt(SHARED, partial(self._follow_kept, current.day, self._log))
        newest = self._kept.newest
        if SHARED in self.problems or (newest and newest.day >= current.day and current == self._followed):
            return
        if newest is not None and current.day < newest.day:
            raise DataInvalid(
                f"the store names the state after {current.day} as current; that after {newest.day} still serves",
                remedy="ingest the latest day of the lake, or start the scorer again if the lake was set back.",
            )
        if newest != (current.day, current.digest) and not self._take_over(self._states.open(current.day)):
            return
        if not self._kept.age_on(current.day).exact and (earlier := self._state_before(current.day)) is not None:
            self._take_over(earlier)
        self._reader = RequestReader(self._mapping, self._states.key_types(current.day))
        self._followed = current
        LOG.info("the state after %s serves", current.day)

    def _take_over(self, state: OnlineState) -> bool:
        """Publish a state where states are kept; False where another process is about to."""
        if self._kept.newest == (state.day, state.digest):
            return True
        # Transactions are scored with the former state in the meantime.
        if not self._kept.prepare(state):
            return False
        with self._lock:
            self._kept.publish(state)
        return True

    def _follow_kept(self, day: date, log: ServingLog) -> None:
        """Take note of what others have published, and add what is lacking of the days after a day."""
        self._kept.follow()
        if not self._kept.lacks_transactions:
            return
        # What was scored before this process began, or before a shared place lost it, is the past of what comes.
        found = log.recent([day + DAY * after for after in range(1, self.policy.max_late_days + 2)])
        for _, batch in sorted(found.items()):
            for first in range(0, len(batch.ids), FILLED_AT_ONCE):
                some = part(batch, range(first, min(first + FILLED_AT_ONCE, len(batch.ids))))
                with self._lock:
                    self._kept.add(some)
        self._kept.filled()

    def _state_before(self, day: date) -> OnlineState | None:
        """The state that transactions of a day itself are scored with, which come after it was ingested."""
        try:
            return self._states.open(day - DAY)
        except RetrainingError as error:
            LOG.info("transactions of %s are not scored: %s", day, _sentence(error))
            return None

    # ------------------------------------------------------------ scoring

    def score(self, rows: Sequence[Any], *, reasons: bool | None = None) -> Answers:
        """Score raw transactions, in the lake's own column names.

        `reasons` says whether answers name the features behind their score; None: where the decision is not the one
        below every threshold. Rows with a problem are named, and then none of the request is scored.

        Raises:
            NotReady: no version or no state is there, or none that is good enough.
        """
        with self._lock:
            if self._model is None or self._reader is None or self._log is None:
                raise self._not_ready()
            return self._score(rows, self._model, self._reader, self._log, reasons)

    def add(self, rows: Sequence[Any]) -> list[RowProblem]:
        """Take note of transactions that are not scored here; returns the problems of rows, and then none was taken.

        Raises:
            NotReady: nothing can be taken note of now.
        """
        with self._lock:
            if self._reader is None:
                raise self._not_ready()
            transactions, problems = self._reader.read(rows)
            found = [*problems, *self._ahead(transactions)]
            if not found and transactions.ids:
                try:
                    self._kept.add(_batch(transactions))
                except DependencyUnreachable as error:
                    self._note_problem(SHARED, _sentence(error))
                    raise NotReady(_sentence(error)) from None
            return found

    def _score(
        self, rows: Sequence[Any], model: ServedModel, reader: RequestReader, log: ServingLog, reasons: bool | None
    ) -> Answers:
        transactions, unread = reader.read(rows)
        problems = [*unread, *self._ahead(transactions)]
        if problems or not transactions.ids:
            return Answers(model.version, self.feature_version, [], problems)
        if infinite := [row for row, amount in enumerate(transactions.amounts) if np.isinf(np.float32(amount))]:
            field = self._mapping.columns.amount
            problems = [RowProblem(transactions.places[row], field, INFINITE) for row in infinite]
            return Answers(model.version, self.feature_version, [], problems)
        # A model has learnt nothing of other segments, and its monitoring never sees them.
        if foreign := foreign_rows(transactions, self._mapping, self._segment):
            return Answers(model.version, self.feature_version, [], foreign)
        # From here on the transactions count as the past of others.
        live = self._features(transactions)
        if not isinstance(live, LiveRows):
            return Answers(model.version, self.feature_version, [], live)
        numeric = numeric_features(self._plan, transactions.numeric)
        found = ScoredColumns(transactions.amounts, live.features, numeric, transactions.categories)
        columns = found.columns(model.fitted)
        scores = model.fitted.scores_of(columns)
        digests = self._digests.of(*found)
        decisions = [self.policy.decision(score, model.thresholds) for score in scores.tolist()]
        self._keep(
            log,
            ServedRows(
                ids=transactions.ids,
                timestamps=transactions.timestamps,
                amounts=transactions.amounts,
                keys=transactions.keys,
                scored_at=self._clock(),
                version=model.version,
                feature_version=self.feature_version,
                scores=scores,
                decisions=decisions,
                state_days=[age.day for age in live.ages],
                digests=digests,
                samples=self._sampler.of(transactions.ids, *found),
            ),
        )
        wanted = [
            row for row, one in enumerate(decisions) if (one != self.policy.otherwise if reasons is None else reasons)
        ]
        named = dict(zip(wanted, self._reasons(model.fitted, columns, found, wanted), strict=True))
        answers = [
            Answer(number, score, decision, age, name, named.get(row))
            for row, (number, score, decision, age, name) in enumerate(
                zip(transactions.ids, scores.tolist(), decisions, live.ages, digests, strict=True)
            )
        ]
        return Answers(model.version, self.feature_version, answers, [])

    def _not_ready(self) -> NotReady:
        return NotReady("; ".join(f"{what}: {why}" for what, why in self.missing.items()) or "starting")

    def _keep(self, log: ServingLog, rows: ServedRows) -> None:
        """Write answers to the log.

        Raises:
            NotReady: the journal cannot be written.
        """
        try:
            log.append(rows)
        except RetrainingError as error:
            self._note_problem(SERVING_LOG, _sentence(error))
            raise NotReady("the serving log cannot be written, and nothing is answered that is not in it") from error

    def _features(self, rows: CanonicalRows) -> LiveRows | list[RowProblem]:
        """The features of rows, or the problems of rows of days whose state is no longer kept.

        Raises:
            NotReady: the state of a day is missing, too late or does not answer, and the settings refuse such rows.
        """
        batch = _batch(rows)
        while True:
            if problems := self._days(rows):
                return problems
            try:
                self._send()
                found = self._live.of(batch, self._kept)
            except StatesMoved:
                continue
            except DependencyUnreachable as error:
                self._note_problem(SHARED, _sentence(error))
                if self.policy.without_state == "refuse":
                    raise NotReady(_sentence(error)) from None
                self._unsent.append(batch)
                return self._live.of(batch, LocalStates(self._plan))
            self._well(SHARED)
            return found

    def _send(self) -> None:
        """Add what was scored while the place for states did not answer, in few calls: a request waits for them.

        Raises:
            DependencyUnreachable: it does not answer yet; what was not added is kept.
        """
        while self._unsent:
            rows = np.cumsum([len(one.ids) for one in self._unsent[:FILLED_AT_ONCE]])
            count = max(1, int(np.searchsorted(rows, FILLED_AT_ONCE, "right")))
            self._kept.add(joined(self._unsent[:count]))
            del self._unsent[:count]

    def _ahead(self, rows: CanonicalRows) -> list[RowProblem]:
        """Rows from the future."""
        latest = np.datetime64(self._clock().replace(tzinfo=None), "us") + np.timedelta64(
            self.policy.max_ahead_seconds, "s"
        )
        field = self._mapping.columns.timestamp
        return [RowProblem(rows.places[row], field, AHEAD) for row in np.flatnonzero(rows.timestamps > latest).tolist()]

    def _days(self, rows: CanonicalRows) -> list[RowProblem]:
        """Rows of days whose state is no longer kept.

        Raises:
            NotReady: the state of a day is missing or too late, and the settings say that such rows are refused.
        """
        newest = self._kept.newest
        days = rows.timestamps.astype("datetime64[D]").tolist()
        ages = {day: self._kept.age_on(day) for day in set(days)}
        late = {day for day, age in ages.items() if age.day is None and newest is not None and day <= newest.day}
        if late:
            field = self._mapping.columns.timestamp
            return [
                RowProblem(place, field, TOO_LATE) for place, day in zip(rows.places, days, strict=True) if day in late
            ]
        for day, age in sorted(ages.items()):
            lacking = age.day is None or age.days_late > self.policy.max_late_days
            if lacking and self.policy.without_state == "refuse":
                if age.day is None:
                    raise self._not_ready()
                raise NotReady(
                    f"transactions of {day} need the state after the day before; the newest is after {age.day}"
                )
        return []

    def _reasons(
        self, model: FittedModel, columns: Sequence[FloatColumn], found: ScoredColumns, rows: Sequence[int]
    ) -> list[list[Reason]]:
        """The features that raised the scores of some rows the most."""
        if not rows or not self.policy.reasons:
            return [[] for _ in rows]
        effects = model.core.contributions([column[list(rows)] for column in columns], model.seed)
        best = np.argsort(-effects, axis=1, kind="stable")[:, : self.policy.reasons]
        return [
            [
                Reason(
                    model.features[place],
                    self._meanings[model.features[place]],
                    found.value(model.features[place], row),
                    effect,
                )
                for place in order.tolist()
                if (effect := float(effects[number, place])) > 0
            ]
            for number, (row, order) in enumerate(zip(rows, best, strict=True))
        ]


def _batch(rows: CanonicalRows) -> Batch:
    return Batch(rows.ids, rows.timestamps, rows.amounts, rows.keys)


def _sentence(error: RetrainingError) -> str:
    """What is wrong, its culprits and the remedy, in a line."""
    return "; ".join(filter(None, [error.what, *error.culprits, error.remedy]))
