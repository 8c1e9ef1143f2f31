"""Which promotions are watched, and what a look says where rows cannot decide."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.live_rows import RowLabels
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.evaluation.gates import GatePolicy, NotCompared
from fraud_retraining.domain.evaluation.matured import MaturedOutcome
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.monitoring.promotion_watch import WatchedPromotion, watched_days
from fraud_retraining.services.promotion_watches import Look, PromotionWatches, watched_promotions
from fraud_retraining_tests.support.approvals_fixture import FIRST_DAY, Backend

AS_OF = date(2026, 11, 5)
LATER = AS_OF + timedelta(days=9)


class TestWatchedPromotions:
    """Version 1 serves; each further one takes the place of the one before."""

    @pytest.fixture
    def served(self, backend: Backend) -> Iterator[Backend]:
        backend.champion(0)
        yield backend

    def found(self, backend: Backend, first: date = date.min, count: int = 14) -> list[tuple[int, int, bool]]:
        watched = watched_promotions(backend.ledger, count, first)
        return [(one.version, one.predecessor_version, one.serves) for one in watched]

    def test_are_those_that_took_the_place_of_another_one(self, served: Backend):
        assert self.found(served) == [], "the first champion took nobody's place"
        served.champion(1)
        served.champion(2)
        assert self.found(served) == [(2, 1, False), (3, 2, True)]
        assert self.found(served, first=FIRST_DAY + timedelta(days=2)) == [(3, 2, True)]
        assert self.found(served, count=0) == []
        (last,) = watched_promotions(served.ledger, 14, FIRST_DAY + timedelta(days=2))
        assert last.obstacle == "the ledger does not say what version 3 and version 2 learnt from"
        assert last.live_days(date.max) == (), "this ledger has no training"

    def test_are_not_those_that_were_rolled_back_or_moved_by_hand(self, served: Backend):
        served.champion(1)
        served.promoter.promote(1, actor="alice", channel="cli", reason="she knows", rollback=True)
        assert self.found(served) == []
        served.move_by_hand(2)
        served.watch.check_champion()
        assert (served.serving(), self.found(served)) == (2, [])


def rows(folder: Path, frauds: int, scores: Sequence[float] | None = None) -> tuple[date, Path, Path, Path]:
    """A mature day of 400 rows; its first ones are frauds, which `scores` rank and the second model finds."""
    count, day = 400, AS_OF + timedelta(days=1)
    labels = (np.arange(count) < frauds).astype(np.int8)
    ids = pa.array(range(count), pa.int64())
    table = {
        "transaction_id": ids,
        "timestamp": pa.array([datetime(day.year, day.month, day.day, 1)] * count, pa.timestamp("us")),
        "customer": ids,
        "amount": np.ones(count),
        "is_fraud": labels,
    }
    draw = np.random.default_rng(1).random(count)
    own, other = (draw if scores is None else np.asarray(scores)), labels + draw / 10
    paths = tuple(folder / f"{name}.parquet" for name in ("rows", "own", "other"))
    pq.write_table(pa.table(table), paths[0])
    for path, score in zip(paths[1:], (own, other), strict=True):
        pq.write_table(pa.table({"transaction_id": ids, "score": score}), path)
    return (day, *paths)  # type: ignore[return-value]


@pytest.fixture
def watches(tmp_path: Path) -> PromotionWatches:
    return PromotionWatches(Ledger(f"sqlite:///{tmp_path}/ledger.db"), GatePolicy(resamples=100), 14)


LABELS = RowLabels("customer", 2, None, LATER)
PROMOTION = WatchedPromotion(
    version=2, as_of=AS_OF, fingerprint="f", predecessor_version=1, serves=True, days=watched_days(AS_OF, 14)
)


def test_a_look_at_a_model_that_finds_nothing_refutes_it_and_is_the_last(watches: PromotionWatches, tmp_path: Path):
    found = watches.take(Look(PROMOTION, (rows(tmp_path, 40),), "", ends=False), LABELS, LATER)
    assert (found.outcome, found.ends) == (MaturedOutcome.REFUTED, True)
    same = Look(
        PROMOTION, (rows(tmp_path, 40, np.random.default_rng(1).random(400) + (np.arange(400) < 40)),), "", False
    )
    found = watches.take(same, LABELS, LATER)
    assert (found.outcome is MaturedOutcome.REFUTED, found.ends) == (False, False)


def test_too_few_known_frauds_are_undecided(watches: PromotionWatches, tmp_path: Path):
    found = watches.take(Look(PROMOTION, (rows(tmp_path, 5),), "", ends=True), LABELS, LATER)
    assert (found.outcome, found.ends) == (MaturedOutcome.UNDECIDED, True)
    assert "gates.min_compared_frauds requires 20" in found.summary


def test_labels_that_cannot_be_told_decide_nothing(watches: PromotionWatches, tmp_path: Path):
    look = Look(PROMOTION, (rows(tmp_path, 40),), "", ends=False)
    found = watches.take(look, NotCompared(reason="no delay is known"), LATER)
    assert (found.outcome, found.ends, found.reason) == (MaturedOutcome.UNDECIDED, False, "no delay is known")


def test_without_scores_the_reason_ends_the_watch(watches: PromotionWatches):
    found = watches.take(Look(PROMOTION, (), "version 1 is gone", ends=False), LABELS, LATER)
    assert (found.outcome, found.ends) == (MaturedOutcome.NOT_MEASURED, True)
    unscored = watches.take(Look(PROMOTION, (), "", ends=True), LABELS, LATER)
    assert (unscored.outcome, unscored.reason) == (MaturedOutcome.UNDECIDED, "no watched day was scored by both")


def test_only_a_look_that_ends_a_watch_is_recorded_and_once(watches: PromotionWatches, tmp_path: Path):
    ledger = watches._ledger
    going = watches.take(Look(PROMOTION, (rows(tmp_path, 5),), "", ends=False), LABELS, LATER)
    watches.record(going, "f")
    assert list(ledger.events(EventKind.PROMOTION_WATCHED)) == []
    last = going.model_copy(update={"ends": True})
    for _ in range(2):
        watches.record(last, "f")
    (event,) = ledger.events(EventKind.PROMOTION_WATCHED)
    assert event.payload == last.model_dump(mode="json") and event.at <= datetime.now(UTC)
