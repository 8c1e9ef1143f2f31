"""Answers to the questions of a replay's timelines, by the functions of the pipeline on the days of the store.

Here: what was known as of a day, the model of a day, and the verdict on it, under the settings of one policy. Not here:
in which order questions are asked (`domain/replay/timeline.py`) and by which process they are answered
(`replay_run.py`). Nothing is written but what a replay keeps (`replay_files.py`).
"""

import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraud_retraining.adapters.days.judged_days import DaysToJudge, Rival, judged_days, label_columns, labelled_rows
from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.live_rows import scored_rows
from fraud_retraining.adapters.days.window_rows import TABLE, WindowRows
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.commands.implementation.replay_decisions import Releases
from fraud_retraining.commands.implementation.replay_drift import (
    ChampionDrift,
    DriftSources,
    days_to_compare,
    monitoring_of,
    reference_of,
)
from fraud_retraining.commands.implementation.replay_features import past_store
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.commands.implementation.replay_served import ServedDays
from fraud_retraining.domain.evaluation.agreement import Agreement, agreement
from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.gates import (
    NO_CHAMPION,
    NO_FIXED_SET,
    EvaluatedRows,
    Evidence,
    collect_evidence,
    judge,
)
from fraud_retraining.domain.evaluation.judged import REPORT_WEIGHT, Judged
from fraud_retraining.domain.monitoring.drift import SCORE, HoldoutProfile
from fraud_retraining.domain.monitoring.live_performance import measure
from fraud_retraining.domain.releases.candidate import Evaluation, ModelFit, Refit, ServingFit
from fraud_retraining.domain.releases.verdict_checks import floors_missed, why_human
from fraud_retraining.domain.replay.decisions import ReplayedDecision
from fraud_retraining.domain.replay.timeline import (
    Answer,
    FitAgain,
    Judge,
    Judgement,
    Look,
    NotTrained,
    PolicyHistory,
    Question,
    ReplayedModel,
    SecondFit,
    Seen,
    Train,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.training.fitting import FittedModel, fit
from fraud_retraining.domain.training.refit import refit_fingerprint, refit_window, unjudged_days
from fraud_retraining.domain.training.windows import (
    RefitPolicy,
    TrainingWindow,
    WindowDay,
    WindowDays,
    WindowFeatures,
    build_manifest,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import AMOUNT, TIMESTAMP, TRANSACTION_ID
from fraud_retraining.orchestration.names import FEATURES, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_engine, open_lake
from fraud_retraining.orchestration.state.check_reports import refuse_failed
from fraud_retraining.orchestration.state.readiness import days_of_window
from fraud_retraining.orchestration.state.trigger_inputs import watched_days
from fraud_retraining.orchestration.state.window_assembly import build_window, model_fingerprint, window_report
from fraud_retraining.orchestration.state.window_labels import WindowLabels
from fraud_retraining.settings import Settings

CANDIDATE, CHAMPION = 2, 1
"""Numbers that stand for the versions of candidate and champion where the record would have theirs."""


class PastDays:
    """The days of the store, as one policy's settings see them."""

    def __init__(self, settings: Settings, days: DayRange, kept: KeptFiles, features: Path | None = None) -> None:
        """Nothing is read yet; `features` is the folder of features that the store does not hold."""
        self._settings = settings
        self._features = features
        self._days = days
        self._kept = kept
        self._promises: dict[str, HoldoutProfile | None] = {}
        self._last_drift: tuple[ReplayedModel, ChampionDrift] | None = None

    @cached_property
    def lake(self) -> Lake:
        """The lake of raw days."""
        return open_lake(self._settings)

    @cached_property
    def store(self) -> Store:
        """The store of partitions, with the features that the settings mean."""
        return past_store(self._settings, self._features)

    def answer(self, question: Question) -> Answer:
        """The answer to a question about a day, from nothing that was not known at its end."""
        if isinstance(question, Look):
            return self._seen(question)
        if isinstance(question, Train):
            return self._trained(question.as_of)
        if isinstance(question, FitAgain):
            return self._second_fit(question)
        return self._judgement(question)

    def _seen(self, look: Look) -> Seen:
        triggers = self._settings.triggers
        recent = set(watched_days(self._settings, look.as_of))
        watched = [one for one in look.served if one[0] in recent]
        served = self._served_days
        performance, matured = served.performance(look.served, look.as_of) if triggers.performance else (None, None)
        return Seen(
            unready=self._unready(look.as_of),
            new_rows=self._rows_between(look.last_as_of, look.as_of),
            drift=self._drift(look) if look.drift_days is not None else (),
            performance=performance,
            matured=matured,
            served=served.missed(watched, look.as_of) if self._settings.watches_missed_frauds else (),
            label_times=self._settings.label_times,
        )

    @cached_property
    def _served_days(self) -> ServedDays:
        return ServedDays(self._settings, self.store, self._kept, self._featured.__getitem__, self._promise)

    def _promise(self, fingerprint: str) -> HoldoutProfile | None:
        """What a model promised on its holdout; None where its scores cannot be ranked."""
        if fingerprint not in self._promises:
            model = self._kept.fit(fingerprint)
            assert model is not None
            self._promises[fingerprint] = self._holdout(self.window(model.as_of), model.judged or fingerprint)
        return self._promises[fingerprint]

    def _drift(self, look: Look) -> tuple[DriftDay, ...]:
        champion = look.champion
        days = days_to_compare(self._settings, look.as_of, champion, min(self._featured))
        asked = days[-look.drift_days :] if look.drift_days else days
        served = [day for day, fingerprint in look.served if fingerprint == champion.fingerprint]
        state = monitoring_of(self._drift_sources, self.lake, champion, asked)
        return self._champion_drift(champion).days(state, asked, served)

    @cached_property
    def _drift_sources(self) -> DriftSources:
        return DriftSources(self._settings, self.store, open_engine(self._settings), self._kept)

    def _champion_drift(self, champion: ReplayedModel) -> ChampionDrift:
        """Drift under a champion; that of the last one is held, as days follow one another."""
        if self._last_drift is None or self._last_drift[0] != champion:
            window = self.window(champion.as_of)
            model = self._kept.model(champion.fingerprint)
            promise = self._holdout(window, champion.judged or champion.fingerprint)
            learnt = refit_window(window) if champion.judged else window
            profiles = reference_of(self._drift_sources, learnt, champion.fingerprint), promise
            self._last_drift = champion, ChampionDrift(self._drift_sources, champion, model, profiles)
        return self._last_drift[1]

    def _holdout(self, window: TrainingWindow, fingerprint: str) -> HoldoutProfile | None:
        """The scores of a judged fit on its holdout; None where they cannot be ranked."""

        def judged() -> Judged:
            days, model = DaysToJudge(window.holdout, window, self.store), self._kept.model(fingerprint)
            return judged_days(days, model, NO_CHAMPION, self._settings.gates).candidate

        return self._keep_holdout(fingerprint, judged)

    def _keep_holdout(self, fingerprint: str, judged: Callable[[], Judged]) -> HoldoutProfile | None:
        settings, key = self._settings, [fingerprint, self._settings.drift.bins, self._settings.gates]
        try:
            return self._kept.document(
                "holdouts", key, HoldoutProfile, lambda: _profile(fingerprint, judged(), settings)
            )
        except UnrankableError:
            return None

    def _unready(self, as_of: date) -> str:
        needed = days_of_window(self._settings, as_of).needed
        missing = [day for day in needed if day not in self._featured]
        most = self._settings.validation.max_missing_days
        return f"{len(missing)} days of its window are not in the store" if len(missing) > most else ""

    @cached_property
    def _featured(self) -> dict[date, Partition]:
        """Records of the features of every day that a window of the replay may have."""
        first = days_of_window(self._settings, self._days.start - timedelta(days=1)).needed[0]
        return self.store.partitions(FEATURES, DayRange(start=first, end=self._days.end))

    @cached_property
    def _rows(self) -> dict[date, int]:
        records = self.store.partitions(TRANSACTIONS, self._days)
        return {day: record.facts["rows"] for day, record in records.items()}

    def _rows_between(self, after: date, until: date) -> int:
        return sum(rows for day, rows in self._rows.items() if after < day <= until)

    def _trained(self, as_of: date) -> ReplayedModel | NotTrained:
        try:
            window = self.window(as_of)
        except DataInvalid as error:
            return NotTrained(reason=str(error))
        fingerprint = self._determined_by(window).digest
        known = self._kept.fit(fingerprint)
        return known or self._fitted(window, fingerprint)

    def _determined_by(self, window: TrainingWindow) -> Fingerprint:
        """What determines the judged fit; policies that differ in `window.refit` alone share it."""
        policy = self._settings.window.model_copy(update={"refit": RefitPolicy()})
        return model_fingerprint(window, self._settings.model_copy(update={"window": policy}))

    def _second_fit(self, asked: FitAgain) -> SecondFit:
        settings = self._settings
        window = self.window(asked.judged.as_of)
        after = [day for days in unjudged_days(window.days) for day in days]
        days = [self._featured[day] for day in after if day in self._featured]
        champion = asked.champion.fingerprint if asked.champion and asked.champion.judged else None
        rules = [settings.window.refit, settings.gates.alert_budget]
        key = [asked.judged.fingerprint, champion, rules, [day.digest for day in days]]
        return self._kept.document("second_fits", key, SecondFit, lambda: self._fitted_again(asked, window, days))

    def _fitted_again(self, asked: FitAgain, window: TrainingWindow, days: Sequence[Partition]) -> SecondFit:
        """The second fit of a candidate that passed, held against the judged one and what serves as a retrain does."""
        judged, serving = asked.judged, asked.champion if asked.champion and asked.champion.judged else None
        if not days:
            beside = ServingFit(training=serving.training, agreement=None) if serving else None
            refit = Refit(fit=None, agreement=None, serves=False, judged=judged.training, serving=beside)
            return _released(refit, None, 0.0)
        own = refit_window(window)
        fingerprint = refit_fingerprint(self._determined_by(window), own).digest
        second = self._kept.fit(fingerprint) or self._fitted(own, fingerprint, judged=judged.fingerprint)
        began = time.monotonic()
        found, beside = self._agreement(judged.fingerprint, fingerprint, days), None
        if serving is not None:
            other = None if found.agrees else self._agreement(serving.fingerprint, fingerprint, days)
            beside = ServingFit(training=serving.training, agreement=other)
        fit = ModelFit(fingerprint=fingerprint, run_id="", artifact_digest="", training=second.training)
        refit = Refit.decided(fit, found, judged.training, beside)
        return _released(refit, second, second.seconds + time.monotonic() - began)

    def _agreement(self, first: str, second: str, days: Sequence[Partition]) -> Agreement:
        settings = self._settings
        scores = self._scores(first, days), self._scores(second, days)
        alerts = settings.gates.alert_budget * len(days)
        return agreement(*scores, settings.window.refit, (days[0].day, days[-1].day), alerts)

    def _scores(self, fingerprint: str, days: Sequence[Partition]) -> NDArray[np.floating[Any]]:
        model = self._kept.model(fingerprint)
        return np.concatenate([scored_rows(model, path)[SCORE].to_numpy() for path in self.store.paths(days, TABLE)])

    def window(self, as_of: date) -> TrainingWindow:
        """The window of an as-of day; refuses one whose checks failed, as a retrain does.

        Raises:
            DataInvalid: the window cannot be used.
        """
        window = build_window(as_of, self._settings, self.lake, self.store)
        report = window_report(window, self._settings, self.store)
        refuse_failed(f"the training window as of {as_of} is not fit to be trained on", report)
        return window

    def _fitted(self, window: TrainingWindow, fingerprint: str, judged: str | None = None) -> ReplayedModel:
        began = time.monotonic()
        columns = [TRANSACTION_ID, *window.features]
        known = KnownLabels.of(window, self.store)
        rows = WindowRows(self.store, window.training, window.days.as_of, columns, known)
        model = fit(self._settings.model, window.features, window.categorical, rows)
        facts = ReplayedModel(
            fingerprint=fingerprint,
            as_of=window.days.as_of,
            training=window.days.training,
            seconds=time.monotonic() - began,
            judged=judged,
        )
        self._kept.keep_fit(facts, model)
        return facts

    def _judgement(self, asked: Judge) -> Judgement:
        champion = (asked.champion.judged or asked.champion.fingerprint) if asked.champion else None
        settings = self._settings
        kept_alerts = [asked.releases, settings.scores, list(settings.serving.decisions)] if asked.releases else []
        key = [asked.candidate.fingerprint, champion, settings.gates, kept_alerts]
        return self._kept.document("judgements", key, Judgement, lambda: self._judged(asked))

    def _judged(self, asked: Judge) -> Judgement:
        began = time.monotonic()
        try:
            evaluation = self.evaluation(asked)
        except DataInvalid as error:
            return Judgement(outcome="refused", reason=str(error), seconds=time.monotonic() - began)
        outcome, reason = verdict_of(evaluation)
        return Judgement(outcome=outcome, reason=reason, seconds=time.monotonic() - began)

    def evaluation(self, asked: Judge) -> Evaluation:
        """A candidate held against its gates, with the evidence.

        Raises:
            DataInvalid: a window of its or of a release cannot be used, or has no labelled row that judges.
        """
        window = self.window(asked.candidate.as_of)
        evidence = self._evidence(window, asked)
        return Evaluation(
            as_of=asked.candidate.as_of,
            fingerprint=asked.candidate.fingerprint,
            champion_version=CHAMPION if asked.champion else None,
            compared_days=(),
            evidence=evidence,
            verdict=judge(self._settings.gates, evidence),
        )

    def _evidence(self, window: TrainingWindow, asked: Judge) -> Evidence:
        gates, features = self._settings.gates, self._settings.features
        candidate = self._kept.model(asked.candidate.fingerprint)
        opponent = self._rival(asked.champion) if asked.champion else NO_CHAMPION

        def rows(days: Sequence[WindowDay]) -> EvaluatedRows:
            judged = judged_days(DaysToJudge(days, window, self.store), candidate, opponent, gates)
            return EvaluatedRows(judged.candidate, judged.comparison)

        holdout = rows(window.holdout)
        triggers = self._settings.triggers
        if triggers.drift or triggers.performance or self._settings.watches_missed_frauds:
            self._keep_holdout(asked.candidate.fingerprint, lambda: holdout.candidate)

        return collect_evidence(
            gates,
            holdout=holdout,
            importance=candidate.importance(),
            columns=[*features.numeric, *features.categorical],
            fixed=rows(window.fixed) if window.fixed else NO_FIXED_SET,
            alerts=self._releases.alerts(asked.candidate, asked.releases, holdout.candidate),
        )

    def _rival(self, champion: ReplayedModel) -> Rival:
        """The champion by the fit of it that was judged, as a retrain compares it."""
        judged = self._kept.fit(champion.judged) if champion.judged else champion
        assert judged is not None
        return Rival(f"champion as of {champion.as_of}", self._kept.model(judged.fingerprint), judged.training)

    def decisions(self, history: PolicyHistory) -> tuple[ReplayedDecision, ...]:
        """What the decisions of the settings came to on the days of a policy."""
        return self._releases.decisions(history)

    @cached_property
    def _releases(self) -> Releases:
        return Releases(self._settings, self.store, self._kept, self._featured, self.window)

    def scored(self, fingerprint: str, days: Sequence[date]) -> list[pa.Table]:
        """Days under a model: time, entity, amount, label as known today, and score of each labelled row."""
        return [self._scored_day(fingerprint, day) for day in days]

    def _scored_day(self, fingerprint: str, day: date) -> pa.Table:
        truth = self.truth
        (found,) = [one for one in truth.holdout if one.day == day]
        key = [fingerprint, found, truth.labels, self._settings.gates.alert_column]
        return self._kept.table("scores", key, lambda: self._score(self._kept.model(fingerprint), found))

    def _score(self, model: FittedModel, day: WindowDay) -> pa.Table:
        kept = [TIMESTAMP, self._settings.gates.alert_column, AMOUNT]
        rows = labelled_rows(DaysToJudge([day], self.truth, self.store), [TRANSACTION_ID, *kept, *model.features])
        parts = [
            pa.Table.from_batches([batch])
            .select([*kept, *(name for name in label_columns(batch) if name != REPORT_WEIGHT)])
            .append_column(SCORE, pa.array(model.predict(batch)))
            for batch in rows()
        ]
        if not parts:
            raise DataInvalid(f"no transaction of {day.day} has a label, so nothing can be said about the day")
        return pa.concat_tables(parts)

    def missing(self) -> list[date]:
        """Served days whose features are not in the store."""
        return [day for day in self._days if day not in self._featured]

    @cached_property
    def truth(self) -> TrainingWindow:
        """The served days with every label that is known today, as a manifest whose holdout they are."""
        settings, latest = self._settings, max(self.lake.days())
        features = {day: one for day, one in self._featured.items() if day in self._days}
        labels = WindowLabels.of(
            DayRange(start=self._days.start, end=latest), features, settings, self.lake, self.store
        )
        if labels.needs_mature_days:
            raise DataInvalid(
                f"too few frauds are known as of {latest} to say what the last days were worth",
                remedy="end the replay on an earlier day, or lower labels.min_delay_frauds.",
            )
        digests = self.store.partitions(TRANSACTIONS, self._days)
        return build_manifest(
            WindowDays(strategy="rolling", as_of=latest, training=self._days, holdout=self._days),
            {day: labels.feature_day(one, digests[day].digest) for day, one in features.items()},
            {},
            label_delay_days=settings.labels.delay_days,
            features=WindowFeatures(settings.learnt_features, (), digest(settings.feature_plan)),
            labels=labels.used,
        )


class UnrankableError(Exception):
    """Scores that are not numbers have no profile."""


def _profile(fingerprint: str, judged: Judged, settings: Settings) -> HoldoutProfile:
    if not judged.rankable:
        raise UnrankableError
    # A bootstrap of its own, which only the trigger `performance` reads.
    reached = measure(judged, (date.min,), settings.gates).average_precision if settings.triggers.performance else None
    return HoldoutProfile.of(
        fingerprint,
        judged,
        bins=settings.drift.bins,
        average_precision=reached,
        alerts=alert_recall(judged, settings.gates),
    )


def _released(refit: Refit, second: ReplayedModel | None, seconds: float) -> SecondFit:
    asks = "the judged fit has not learnt as late days as the fit that serves" if refit.falls_behind else ""
    return SecondFit(serves=second if refit.serves else None, reason=refit.summary, asks=asks, seconds=seconds)


def verdict_of(evaluation: Evaluation) -> tuple[Literal["promoted", "refused", "asked"], str]:
    """What becomes of a candidate without a person: promoted, refused, or asked about, with the reason."""
    why = why_human(evaluation, evaluation.champion_version)
    if why is not None and (evaluation.verdict.passed or floors_missed(evaluation.verdict)):
        return "asked", why
    if evaluation.verdict.passed:
        return "promoted", ""
    return "refused", "; ".join(f"{gate.name}: {gate.message}" for gate in evaluation.verdict.failed)
