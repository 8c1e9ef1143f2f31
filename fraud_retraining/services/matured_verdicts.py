"""Fresh verdicts measured once more, when the labels of their holdout are mature.

Here: which releases were judged on labels as known, the comparison again with the models that the record names, and its
event. Not here: what the comparison says (`domain/evaluation/matured.py`), whether the days are ingested
(`orchestration/state/fresh_verdicts.py`), and what follows from a refuted promotion (`services/release_watch.py`).

The event of a version is written once. What is gone (a model, a day, a feature) is no failure of the pipeline: the
event then says that the verdict cannot be measured, and why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from fraud_retraining.adapters.days.known_labels import mature_frauds, mature_reviews
from fraud_retraining.adapters.days.live_rows import RowLabels, rows_of_two
from fraud_retraining.adapters.days.stored_days import stored_day
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.evaluation.comparison import Comparison, compare
from fraud_retraining.domain.evaluation.gates import GatePolicy, NotCompared, comparable
from fraud_retraining.domain.evaluation.matured import (
    Difference,
    MaturedOutcome,
    MaturedVerdict,
    is_fresh,
    mature_on,
    outcome_of,
)
from fraud_retraining.domain.features.column_lineage import FEATURES, TRANSACTIONS
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.services.recorded_versions import clause_of, recorded_model, require_columns, trained_days

ROWS = "rows"
CATCH_UP_DAYS = 90
"""Days after which a mature verdict is not looked at any more: a daemon that stood still for longer leaves it out."""


@dataclass(frozen=True)
class FreshVerdict:
    """A promotion on labels as known: its champion then, and the days that neither model learnt from."""

    release: Release
    champion: Release
    days: tuple[WindowDay, ...]
    window: TrainingWindow
    then: Comparison | NotCompared | None

    def mature_on(self, delay_days: int) -> date:
        """The day that has to have arrived for the labels of all days to be mature."""
        return mature_on((day.day for day in self.days), delay_days)


def fresh_verdicts(ledger: Ledger, latest: date, delay_days: int) -> Iterator[FreshVerdict]:
    """Promoted releases whose fresh verdict was not measured again, oldest as-of day first.

    `latest` is the last day that has arrived, `delay_days` is how long labels take to be mature.
    """
    done = {event.version for event in ledger.events(EventKind.MATURED_VERDICT)}
    first = latest - timedelta(days=delay_days + CATCH_UP_DAYS)
    served = [one for one in ledger.releases() if one.was_promoted and one.as_of >= first]
    for release in sorted(served, key=lambda one: (one.as_of, one.version)):
        if release.version not in done:
            found = _fresh(ledger, release)
            if found is not None:
                yield found


def _fresh(ledger: Ledger, release: Release) -> FreshVerdict | None:
    """The fresh verdict of a release; None where it was compared with no champion, or on mature labels."""
    evaluation, trained = ledger.verdict(release), _trained(ledger, release)
    if evaluation is None or evaluation.champion_version is None or trained is None:
        return None
    champion = ledger.release_by_version(evaluation.champion_version)
    window = _window(ledger, release, trained)
    if window is None or champion is None or not is_fresh(window):
        return None
    taught = [trained_days(ledger, one.fingerprint) for one in (release, champion)]
    learnt = [days for days in taught if days is not None]
    if len(learnt) < len(taught):
        return None
    days = tuple(day for day in window.holdout if not any(day.day in training for training in learnt))
    return FreshVerdict(release, champion, days, window, evaluation.evidence.comparison) if days else None


def _trained(ledger: Ledger, release: Release) -> Event | None:
    return ledger.last(EventKind.MODEL_TRAINED, fingerprint=release.fingerprint)


def _window(ledger: Ledger, release: Release, trained: Event) -> TrainingWindow | None:
    """The manifest that a release was trained from: the last one of its as-of day before."""
    built = [one for one in ledger.events(EventKind.WINDOW_BUILT, as_of=release.as_of) if one.seq < trained.seq]
    return TrainingWindow.model_validate(built[-1].payload) if built else None


class MaturedVerdicts:
    """Measures fresh verdicts again, and records what comes of it.

    Args:
        ledger: the record.
        registry: where the models are.
        store: where the days are.
        gates: how models are compared, and how much a candidate may lose.
        delay_days: days until a label is mature.
        feed: whether labels come from a feed; otherwise transactions carry them.
    """

    def __init__(
        self, ledger: Ledger, registry: Registry, store: Store, gates: GatePolicy, *, delay_days: int, feed: bool
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._store = store
        self._gates = gates
        self._delay_days = delay_days
        self._feed = feed

    def measure(self, fresh: FreshVerdict) -> MaturedVerdict:
        """The comparison of a fresh verdict with the labels that are mature now; nothing is recorded.

        Raises:
            DependencyUnreachable: MLflow or the store did not answer, which says nothing about the verdict.
            RecordAltered: MLflow says something else of a version than the record.
        """
        try:
            found = self._compared(fresh)
        except DataInvalid as error:
            return self._verdict(fresh, MaturedOutcome.NOT_MEASURED, reason=clause_of(error))
        if isinstance(found, NotCompared):
            return self._verdict(fresh, MaturedOutcome.UNDECIDED, reason=found.reason)
        now = Difference.of(found)
        return self._verdict(fresh, outcome_of(now.difference if now else None, self._gates.max_regression), now)

    def record(self, verdict: MaturedVerdict, release: Release) -> None:
        """Records a matured verdict; the first one of a version stays."""
        self._ledger.append_once(
            EventKind.MATURED_VERDICT,
            keys=EventKeys(
                subject=f"version {verdict.version}",
                as_of=verdict.as_of,
                version=verdict.version,
                fingerprint=release.fingerprint,
            ),
            payload=verdict.model_dump(mode="json"),
            actor="pipeline",
            channel="dagster",
        )

    def _verdict(
        self, fresh: FreshVerdict, outcome: MaturedOutcome, now: Difference | None = None, reason: str = ""
    ) -> MaturedVerdict:
        return MaturedVerdict(
            version=fresh.release.version,
            as_of=fresh.release.as_of,
            champion_version=fresh.champion.version,
            days=tuple(day.day for day in fresh.days),
            mature_on=fresh.mature_on(self._delay_days),
            then=Difference.of(fresh.then),
            now=now,
            allowed_loss=self._gates.max_regression,
            outcome=outcome,
            reason=reason,
        )

    def _compared(self, fresh: FreshVerdict) -> Comparison | NotCompared:
        features, transactions = self._records(fresh)
        releases = fresh.release, fresh.champion
        first, second = (recorded_model(one, self._registry, self._ledger) for one in releases)
        models = first, second
        for record in features:
            require_columns(record, models)
        days = [day.day for day in fresh.days]
        paths = zip(days, self._store.paths(transactions, ROWS), self._store.paths(features, ROWS), strict=True)
        frauds = mature_frauds(self._store, days, self._delay_days) if self._feed else None
        reviews = mature_reviews(self._store, days, self._delay_days) if self._feed else {}
        labels = RowLabels(self._gates.alert_column, self._delay_days, frauds, reviewed=reviews)
        candidate, rival = rows_of_two(list(paths), models, labels)
        if not candidate.rankable:
            return NotCompared(reason=f"version {fresh.release.version} gives scores that are not numbers")
        every = np.ones(len(candidate), dtype=np.bool_)
        named, least = f"version {fresh.champion.version}", self._gates.min_compared_frauds
        pair = comparable(candidate, rival, every, named=named, min_frauds=least)
        if isinstance(pair, NotCompared):
            return pair
        return compare(pair, self._gates) or NotCompared(reason="none of the rows is known as fraud")

    def _records(self, fresh: FreshVerdict) -> tuple[list[Partition], list[Partition]]:
        """Features and transactions of the days, which have the rows that were judged.

        Raises:
            DataInvalid: a day is gone, or its rows are others now.
        """
        days = [day.day for day in fresh.days]
        features, transactions = (self._store.readable(asset, days) for asset in (FEATURES, TRANSACTIONS))
        gone = [str(day) for day in days if day not in features or day not in transactions]
        if gone:
            raise DataInvalid(f"the store no longer has {', '.join(gone)}")
        others = [str(day.day) for day in fresh.days if self._is_other(day, transactions[day.day], fresh.window)]
        if others:
            raise DataInvalid(f"{', '.join(others)} hold other transactions now")
        return [features[day] for day in days], [transactions[day] for day in days]

    def _is_other(self, judged: WindowDay, stored: Partition, window: TrainingWindow) -> bool:
        """Whether a day holds other transactions than those that were judged.

        With a feed the digests of the day say so. Where transactions carry labels it changes with each label that
        arrives, so the number of rows has to do; of a young day all of them were judged.
        """
        if self._feed:
            return not stored_day(stored).still_holds(judged.digest, same_rules=True)
        age = (window.days.as_of - judged.day).days
        if age >= window.label_delay_days:
            return False
        blocked = stored.facts.get("blocked") or {"blocked": 0, "unseen": 0}
        # How many of the blocked rows were reviewed by then is not kept: any number of them is possible.
        most = stored.facts["rows"] - blocked["blocked"]
        return not most - blocked["unseen"] <= judged.rows <= most
