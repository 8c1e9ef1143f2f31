"""The cheapest score of a decision is the one that trying all of them finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.evaluation.cost_curve import cost_curve
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.serving.policy import CostPolicy
from fraud_retraining_tests.support.judged_rows import awkward_rows, judged

COSTS = CostPolicy(alert=0.3, disturbed=0.4)


def tried(costs: CostPolicy, rows: Judged, at: float) -> tuple[float, float]:
    """Alerts and costs a day of taking the decision from a score on."""
    days, alerted, fraud = len(np.unique(rows.days)), rows.scores >= at, rows.labels == 1
    genuine = alerted & ~fraud
    disturbed = len({(c, d) for c, d in zip(rows.customers[genuine], rows.days[genuine], strict=True)})
    total = costs.missed * rows.amounts[fraud & ~alerted].sum() + costs.alert * alerted.sum()
    return alerted.sum() / days, (total + costs.disturbed * disturbed) / days


@given(awkward_rows(), st.sampled_from([None, 1, 5]))
@settings(deadline=None, max_examples=60)
def test_no_score_within_the_budget_is_cheaper(rows: Judged, budget: int | None) -> None:
    costs = COSTS.model_copy(update={"alerts_per_day": budget})
    found = cost_curve("review", costs, rows)
    if not rows.frauds:
        assert found is None
        return
    assert found is not None and found.at == found.chosen.at
    for point in (*found.points, found.chosen):
        assert (point.alerts, point.total) == pytest.approx(tried(costs, rows, point.at))
    others = [tried(costs, rows, at) for at in {*rows.scores.tolist(), 1.0}]
    within = [total for alerts, total in others if budget is None or alerts <= budget]
    assert not within or found.chosen.total == pytest.approx(min(within))


def test_dear_alerts_are_not_given_and_free_ones_are() -> None:
    rows = judged([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.2], amounts=[100.0, 1.0, 20.0, 1.0])
    dear, free = (cost_curve("review", CostPolicy(alert=cost), rows) for cost in (1000.0, 0.0))
    assert dear is not None and (dear.at, dear.chosen.alerts, dear.chosen.missed) == (1.0, 0, 120)
    assert free is not None and (free.at, free.chosen.alerts, free.chosen.missed) == (0.4, 3, 0)
    between = cost_curve("review", CostPolicy(alert=15.0), rows)
    assert between is not None and (between.at, between.chosen.total) == (0.9, 35.0)


def test_more_alerts_than_allowed_are_never_chosen_but_for_the_highest_score() -> None:
    rows = judged([1, 1, 0], [1.0, 1.0, 0.5], amounts=[5.0, 5.0, 5.0])
    found = cost_curve("block", CostPolicy(alerts_per_day=1), rows)
    assert found is not None and (found.at, found.chosen.alerts) == (1.0, 2)
