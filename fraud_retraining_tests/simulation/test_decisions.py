"""Production blocks what its rule finds most suspicious, but for a control group; and nothing is known of it."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining.simulation.decisions import (
    BLOCK,
    CONTROL,
    Blocking,
    BlockingPolicy,
    production_score,
)
from fraud_retraining.simulation.reports import ReportPolicy, Reports

DAY = date(2026, 1, 20)


@pytest.fixture(scope="module")
def transactions() -> pa.Table:
    policy = SimulationPolicy(start=date(2026, 1, 1), days=30, transactions_per_day=4000, seed=7)
    return Simulator(policy).table(DAY)


def test_the_most_suspicious_share_is_blocked_and_holds_many_frauds(transactions: pa.Table) -> None:
    found = Blocking(BlockingPolicy(block_share=0.01), seed=7).of(DAY, transactions)
    score, fraud = production_score(transactions), transactions["TX_FRAUD"].to_numpy() == 1
    assert found.blocked.sum() == round(0.01 * len(score))
    assert score[found.blocked].min() >= score[~found.blocked].max()
    assert fraud[found.blocked].mean() > 10 * fraud.mean()


def test_a_customer_is_in_the_control_group_of_a_day_or_not(transactions: pa.Table) -> None:
    found = Blocking(BlockingPolicy(block_share=0.3, control_share=0.3), seed=7).of(DAY, transactions)
    customers = transactions["CUSTOMER_ID"].to_numpy()
    spared, stopped = (set(customers[found.names == name].tolist()) for name in (CONTROL, BLOCK))
    assert not spared & stopped
    assert len(spared) / len(spared | stopped) == pytest.approx(0.3, abs=0.06)
    other = Blocking(BlockingPolicy(block_share=0.3, control_share=0.3), seed=8).of(DAY, transactions)
    assert (other.names != found.names).any()


def test_nothing_is_known_of_what_was_blocked_and_the_truth_stays_beside(transactions: pa.Table) -> None:
    blocking = Blocking(BlockingPolicy(block_share=0.02, control_share=0.25), seed=7)
    decisions = blocking.of(DAY, transactions)
    table = blocking.decided(decisions, transactions)
    assert (table["TX_FRAUD"].is_null().to_numpy() == decisions.blocked).all()
    assert table["TX_FRAUD_SCENARIO"].equals(transactions["TX_FRAUD_SCENARIO"])
    chances = dict(zip(table["DECISION"].to_pylist(), table["PROPENSITY"].to_pylist(), strict=True))
    assert chances == {"approve": 1.0, "block": 0.25, "control": 0.25}
    known = ~decisions.blocked
    assert np.array_equal(table.filter(pa.array(known))["TX_FRAUD"], transactions.filter(pa.array(known))["TX_FRAUD"])


def test_a_review_of_a_blocked_transaction_finds_the_truth_within_days(transactions: pa.Table) -> None:
    blocking = Blocking(BlockingPolicy(block_share=0.2, review_share=0.25, review_days=2), seed=7)
    decisions = blocking.of(DAY, transactions)
    assert not (decisions.reviewed & ~decisions.blocked).any()
    assert decisions.reviewed.sum() / decisions.blocked.sum() == pytest.approx(0.25, abs=0.05)
    told = Reports(ReportPolicy(never_share=1.0), seed=7, start=date(2026, 1, 1)).labelled(DAY, transactions)
    table = blocking.decided(decisions, told)
    assert (table["TX_FRAUD"].is_null().to_numpy() == decisions.unknown).all()
    assert (table["LABELLED_AT"].is_null().to_numpy() == decisions.unknown).all()
    truth = transactions["TX_FRAUD"].filter(pa.array(decisions.reviewed)).to_numpy()
    reviewed = table.filter(pa.array(decisions.reviewed))
    assert truth.sum() > 0 and (reviewed["TX_FRAUD"].to_numpy() == truth).all(), "though nobody reported it"
    delays = (reviewed["LABELLED_AT"].to_numpy() - reviewed["TX_DATETIME"].to_numpy()) / np.timedelta64(1, "D")
    assert delays.min() >= 1 and delays.max() <= 3 and delays.mean() == pytest.approx(2, abs=0.2)
    events = blocking.reviews(decisions, transactions)
    assert (events["is_fraud"].to_numpy() == truth).all() and set(events["source"].to_pylist()) == {"analyst"}
    assert (events["known_at"].to_numpy() == reviewed["LABELLED_AT"].to_numpy()).all()


def test_without_a_control_group_there_is_no_propensity(transactions: pa.Table) -> None:
    blocking = Blocking(BlockingPolicy(block_share=0.02), seed=7)
    assert "PROPENSITY" not in blocking.decided(blocking.of(DAY, transactions), transactions).column_names
