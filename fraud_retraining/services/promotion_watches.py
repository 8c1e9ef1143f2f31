"""Promotions that are watched: which they are, one look at a promotion, and its event.

Here: reading the record, comparing scores that are in the store, and recording what ends a watch. Not here: when a look
is taken and which scores it needs (`orchestration/state/promotion_watch.py`), what it has to show
(`domain/monitoring/promotion_watch.py`), and the rollback that follows (`services/release_watch.py`).

The event of a version is written once: by the look that shows it clearly worse, by one that cannot compare at all, or
by the last one.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from fraud_retraining.adapters.days.live_rows import RowLabels, judged_rows
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.evaluation.comparison import Comparison, compare
from fraud_retraining.domain.evaluation.gates import GatePolicy, NotCompared, comparable
from fraud_retraining.domain.evaluation.matured import Difference, MaturedOutcome, outcome_of
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.promotion_watch import (
    CATCH_UP_DAYS,
    PromotionWatch,
    WatchedPromotion,
    shared_among,
    watched_days,
)
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.services.promotion import CHAMPION_SET_KINDS
from fraud_retraining.services.recorded_versions import trained_days

SERVED = (ReleaseState.PROMOTED, ReleaseState.SUPERSEDED)


def watched_promotions(ledger: Ledger, watch_days: int, first: date) -> tuple[WatchedPromotion, ...]:
    """Promotions whose watch is not over, the oldest as-of day first.

    `first` is the first as-of day that counts. A rollback is none: the version that came back is not compared with the
    one that was taken away. Nor is a version that a person made champion by moving the alias.
    """
    if not watch_days:
        return ()
    done = {event.version for event in ledger.events(EventKind.PROMOTION_WATCHED)}
    served = [one for one in ledger.releases(*SERVED) if one.was_promoted and one.as_of >= first]
    found = (_watched(ledger, one, watch_days) for one in served if one.version not in done)
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.as_of, one.version)))


def first_watched(latest: date, watch_days: int, age: timedelta) -> date:
    """The first as-of day whose watch may still be going on when `latest` is the last day."""
    return latest - timedelta(days=watch_days + CATCH_UP_DAYS) - age


def _watched(ledger: Ledger, release: Release, watch_days: int) -> WatchedPromotion | None:
    made = ledger.last(CHAMPION_SET_KINDS, version=release.version)
    if made is None or made.kind != EventKind.PROMOTION_DONE or made.payload["intent"]["rollback"]:
        return None
    before = made.payload["intent"]["expected_champion"]
    if before is None:
        return None
    predecessor = ledger.release_by_version(before)
    both = ((release.version, release), (before, predecessor))
    learnt = {version: trained_days(ledger, one.fingerprint) if one else None for version, one in both}
    # A version whose training days nobody knows may have learnt from any day.
    unknown = [f"version {version}" for version, days in learnt.items() if days is None]
    return WatchedPromotion(
        version=release.version,
        as_of=release.as_of,
        fingerprint=release.fingerprint,
        predecessor_version=before,
        serves=release.state is ReleaseState.PROMOTED,
        days=watched_days(release.as_of, watch_days),
        learnt=tuple(days for days in learnt.values() if days is not None),
        obstacle=f"the ledger does not say what {' and '.join(unknown)} learnt from" if unknown else "",
    )


@dataclass(frozen=True)
class Look:
    """The rows that a look compares: by day the transactions, and the scores of the version and of its predecessor.

    `missing` is why scores of other days are not there; `ends` says whether it is the last look.
    """

    promotion: WatchedPromotion
    days: tuple[tuple[date, Path, Path, Path], ...]
    missing: str
    ends: bool


class PromotionWatches:
    """Takes looks at promotions and records what ends a watch.

    Args:
        ledger: the record.
        gates: how models are compared, and how much a version may lose.
        looks: looks among which the chance of error is shared.
    """

    def __init__(self, ledger: Ledger, gates: GatePolicy, looks: int) -> None:
        self._ledger = ledger
        self._gates = gates
        self._looks = looks

    def take(self, look: Look, labels: RowLabels | NotCompared, known_by: date) -> PromotionWatch:
        """One look, with the labels of its rows or why they cannot be told; nothing is recorded.

        Raises:
            IntegrityError: scores are not those of the transactions.
        """
        if not look.days and look.missing:
            return self._watch(look, known_by, MaturedOutcome.NOT_MEASURED, reason=look.missing)
        found = labels if isinstance(labels, NotCompared) else self._compared(look, labels)
        if isinstance(found, NotCompared):
            return self._watch(look, known_by, MaturedOutcome.UNDECIDED, reason=found.reason)
        alone = Difference.of(found)
        assert alone is not None
        wide = shared_among(alone.difference, self._looks, found.confidence)
        difference = alone.model_copy(update={"difference": wide})
        return self._watch(look, known_by, outcome_of(wide, self._gates.max_regression), difference)

    def record(self, watch: PromotionWatch, fingerprint: str) -> None:
        """Records a look that ends its watch; the first such look of a version stays."""
        if watch.ends:
            self._ledger.append_once(
                EventKind.PROMOTION_WATCHED,
                keys=EventKeys(
                    subject=f"version {watch.version}",
                    as_of=watch.as_of,
                    version=watch.version,
                    fingerprint=fingerprint,
                ),
                payload=watch.model_dump(mode="json"),
                actor="pipeline",
                channel="dagster",
            )

    def _watch(
        self,
        look: Look,
        known_by: date,
        outcome: MaturedOutcome,
        difference: Difference | None = None,
        reason: str = "",
    ) -> PromotionWatch:
        decided = outcome in (MaturedOutcome.REFUTED, MaturedOutcome.NOT_MEASURED)
        return PromotionWatch(
            version=look.promotion.version,
            as_of=look.promotion.as_of,
            predecessor_version=look.promotion.predecessor_version,
            known_by=known_by,
            days=tuple(day for day, *_ in look.days),
            difference=difference,
            allowed_loss=self._gates.max_regression,
            looks=self._looks,
            outcome=outcome,
            ends=decided or look.ends,
            reason=reason,
        )

    def _compared(self, look: Look, labels: RowLabels) -> Comparison | NotCompared:
        if not look.days:
            return NotCompared(reason="no watched day was scored by both")
        own = judged_rows([(day, rows, scores) for day, rows, scores, _ in look.days], labels)
        other = judged_rows([(day, rows, scores) for day, rows, _, scores in look.days], labels)
        if not own.rankable:
            return NotCompared(reason=f"version {look.promotion.version} gives scores that are not numbers")
        named = f"version {look.promotion.predecessor_version}"
        every, least = own.labels >= 0, self._gates.min_compared_frauds
        pair = comparable(own, other.scores, every, named=named, min_frauds=least)
        if isinstance(pair, NotCompared):
            return pair
        return compare(pair, self._gates) or NotCompared(reason="none of the rows is known as fraud")
