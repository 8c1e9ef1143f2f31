"""What decisions would have come to in a replay: each release with its score mapping and thresholds, and their alerts.

Here: the releases of a policy in the order in which they served, mapped as a retrain maps them, the alerts of a
candidate beside the champion's, and alerts of each served day. Not here: the mappings and thresholds themselves
(`orchestration/assets/score_contract.py`) and who served which day (`domain/replay/timeline.py`).

A mapping leaves the order of scores as it is, so of a replay nothing rests on it but the gate `score_contract` and the
alerts of decisions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.days.judged_days import DaysToJudge, judged_days
from fraud_retraining.adapters.days.window_rows import TABLE
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.commands.implementation.replay_files import KeptFiles
from fraud_retraining.commands.implementation.replay_served import day_scores
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.cost_curve import CostCurve
from fraud_retraining.domain.evaluation.gates import NO_CHAMPION, NotCompared
from fraud_retraining.domain.evaluation.judged import Floats, Judged, categories, entity_codes
from fraud_retraining.domain.evaluation.score_fits import FittedMapping
from fraud_retraining.domain.monitoring.drift import SCORE
from fraud_retraining.domain.replay.decisions import DecisionDay, ReplayedDecision
from fraud_retraining.domain.replay.timeline import PolicyHistory, ReplayedModel
from fraud_retraining.domain.training.refit import unjudged_days
from fraud_retraining.domain.training.score_mapping import ScoreMapping
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.orchestration.assets.score_contract import (
    NO_CONTRACT,
    Followed,
    RecentScores,
    alerts_beside_champion,
    candidate_mapping,
    chosen_thresholds,
    cost_curves,
    fair_days,
    matched_to_judged,
    served_scores,
)
from fraud_retraining.settings import Settings

NUMBER = 1
"""Stands for the version of the champion that is followed, which decides nothing."""


@dataclass(frozen=True)
class Released:
    """A model as it serves: its mapping, and the least score of each decision."""

    model: ReplayedModel
    mapping: ScoreMapping | None
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Releases:
    """The releases of a policy; `features` are the records of days, `window` gives that of an as-of day."""

    settings: Settings
    store: Store
    kept: KeptFiles
    features: Mapping[date, Partition]
    window: Callable[[date], TrainingWindow]
    _known: dict[tuple[str, ...], Released] = field(default_factory=dict)

    def decisions(self, history: PolicyHistory) -> tuple[ReplayedDecision, ...]:
        """The alerts of each served day at the least score of each decision of the settings; none without any."""
        names = [one.name for one in self.settings.serving.decisions]
        found: dict[str, list[DecisionDay]] = {name: [] for name in names}
        releases: tuple[str, ...] = ()
        for day, fingerprint in history.served if names else ():
            if releases[-1:] != (fingerprint,):
                releases = (*releases, fingerprint)
            released = self.released(releases)
            scores = served_scores(released.mapping, self._raw(fingerprint, self.features[day]))
            for name, at in released.thresholds.items():
                found[name].append(DecisionDay(day=day, at=at, alerts=int((scores >= at).sum()), rows=len(scores)))
        return tuple(ReplayedDecision(name=name, days=tuple(found[name])) for name in names)

    def released(self, fingerprints: tuple[str, ...]) -> Released:
        """The last of models that took over one from the other, mapped and with thresholds as retrains do.

        Args:
            fingerprints: at least one, in the order in which they served.

        Raises:
            DataInvalid: the window of an as-of day cannot be used, or has no labelled row that judges its model.
        """
        if fingerprints not in self._known:
            *earlier, last = fingerprints
            before, model = self.released(tuple(earlier)) if earlier else None, self.kept.fit(last)
            assert model is not None
            self._known[fingerprints] = _Release(self, model, before).made
        return self._known[fingerprints]

    def alerts(self, candidate: ReplayedModel, releases: tuple[str, ...], holdout: Judged) -> AlertChange | NotCompared:
        """What each threshold does under a candidate and under the last of the releases, as a retrain counts it.

        Args:
            candidate: the judged fit.
            releases: what has served so far, in order; none where scores need not keep what they mean.
            holdout: the candidate on its holdout.

        Raises:
            DataInvalid: as `released`.
        """
        if not releases:
            return NO_CONTRACT
        return _Release(self, candidate, self.released(releases), holdout).alerts

    def _raw(self, fingerprint: str, features: Partition) -> Floats:
        (path,) = self.store.paths([features], TABLE)
        kept = pq.ParquetFile(day_scores(self.kept, fingerprint, features, path)).read([SCORE])
        return np.asarray(kept[SCORE].to_numpy(), np.float64)

    def scores(self, fingerprint: str, days: Sequence[Partition]) -> Floats:
        """The scores of a model without a mapping on some days, in the order of the rows."""
        return np.concatenate([np.empty(0), *(self._raw(fingerprint, day) for day in days)])


@dataclass(frozen=True)
class _Release:
    """One model on its way to serving."""

    of: Releases
    model: ReplayedModel
    before: Released | None
    judged: Judged | None = None
    """The judged fit on its holdout, where it is known already."""

    @property
    def made(self) -> Released:
        decisions, found = self.of.settings.serving.decisions, self._found
        mapping = found.mapping if found is not None else None
        chosen = {one.name: one.at for one in chosen_thresholds(self._recent, mapping, self._curves, decisions)}
        earlier = self.before.thresholds if self.before is not None else {}
        known = {**earlier, **chosen, **{one.name: one.at for one in decisions if one.at is not None}}
        if self.model.judged is not None and mapping is not None:
            mapping = self._second_mapping(mapping)
        return Released(self.model, mapping, {one.name: known[one.name] for one in decisions if one.name in known})

    @property
    def alerts(self) -> AlertChange | NotCompared:
        """Alerts beside those of what served before."""
        gates, recent = self.of.settings.gates, self._recent
        if recent.days:
            rows = self._rows
            slices = {name: categories(rows[name]) for name in gates.slices}
            recent = replace(recent, customers=entity_codes(rows[gates.alert_column]), slices=slices)
        # Money and customers are for reviewers, of whom a replay has none.
        return alerts_beside_champion(recent, self._found, None, self._curves, self.of.settings)

    @cached_property
    def _found(self) -> FittedMapping | None:
        contract = self.of.settings.scores.contract
        return candidate_mapping(self._window, self._recent, self._followed, lambda: self._holdout, contract)

    @cached_property
    def _curves(self) -> list[CostCurve]:
        decisions = self.of.settings.serving.decisions
        if not any(one.costs for one in decisions):
            return []
        return cost_curves(self._holdout, self._found.mapping if self._found is not None else None, decisions)

    @property
    def _rows(self) -> pa.Table:
        """Customers and slices of the latest days."""
        gates = self.of.settings.gates
        columns = list(dict.fromkeys([gates.alert_column, *gates.slices]))
        paths = self.of.store.paths(self._recent.days, TABLE)
        return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])

    def _second_mapping(self, judged: ScoreMapping) -> ScoreMapping | None:
        after = self._after
        second, first = (self.of.scores(one, after) for one in (self.model.fingerprint, self._judged))
        return matched_to_judged(after, second, served_scores(judged, first)).mapping

    @cached_property
    def _judged(self) -> str:
        """Fingerprint of the fit that was judged."""
        return self.model.judged or self.model.fingerprint

    @cached_property
    def _window(self) -> TrainingWindow:
        return self.of.window(self.model.as_of)

    @cached_property
    def _after(self) -> list[Partition]:
        """Days after the holdout up to the as-of day."""
        days = [day for span in unjudged_days(self._window.days) for day in span]
        return [self.of.features[day] for day in days if day in self.of.features]

    @cached_property
    def _followed(self) -> Followed | None:
        if self.before is None:
            return None
        model = self.before.model
        served = self.of.kept.model(model.fingerprint).with_mapping(self.before.mapping)
        return Followed(NUMBER, model.fingerprint, served, model.training)

    @cached_property
    def _recent(self) -> RecentScores:
        before = self.before
        learnt = before.model.training if before is not None else None
        days = fair_days(self._window, self._after, learnt, self.of.store)
        theirs = None
        if before is not None:
            theirs = served_scores(before.mapping, self.of.scores(before.model.fingerprint, days))
        return RecentScores(days, self.of.scores(self._judged, days), theirs, np.empty(0, np.int64), {})

    @cached_property
    def _holdout(self) -> Judged:
        if self.judged is not None:
            return self.judged
        days = DaysToJudge(self._window.holdout, self._window, self.of.store)
        return judged_days(days, self.of.kept.model(self._judged), NO_CHAMPION, self.of.settings.gates).candidate
