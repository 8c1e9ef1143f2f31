"""Known frauds that alerts miss ask for a retrain when there are too many, and when a retrain can learn them."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.labels import (
    LabelsTriggerPolicy,
    ServedFrauds,
    chance_of_missing,
    labels,
    rise_began,
)
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import Fired, Retrain
from fraud_retraining_tests.support.trigger_inputs import known as inputs

READY = date(2024, 2, 28)
POLICY = LabelsTriggerPolicy()


def served(*missed: int, last: date = READY, known: int = 20, **more: object) -> tuple[ServedFrauds, ...]:
    """Days up to `last`, each with so many missed of `known` frauds; a fifth of 200 was missed on the holdout."""
    promise = {"promised_missed": 0.2, "promised_frauds": 200, **more}
    first = last - timedelta(days=len(missed) - 1)
    return tuple(
        ServedFrauds(day=first + timedelta(days=n), version=1, known=known, missed=one, **promise)
        for n, one in enumerate(missed)
    )


def answer(days: tuple[ServedFrauds, ...], **changes: object) -> Fired | str:
    return labels(POLICY, inputs(**{"served": days, "learns_after_days": 3, **changes}))


def test_missed_frauds_beyond_the_promise_ask_for_a_retrain_with_the_figures() -> None:
    policy = TriggerPolicy(schedule=None, drift=None, labels=POLICY)
    decision = decide(policy, inputs(served=served(4, 12, 13, 12, 13), learns_after_days=3))
    assert isinstance(decision, Retrain)
    assert (decision.as_of, decision.triggers) == (READY, ("labels",))
    assert decision.reason.startswith(
        "labels: 54 of 100 known frauds of 2024-02-24 to 2024-02-28 were outside of the alert budget, "
        "20.0 were to be expected (p = "
    )


@pytest.mark.parametrize(
    ("days", "changes", "why"),
    [
        (served(4, 4, 4, 4), {"label_times": False}, "cannot be known"),
        ((), {}, "no day has been served yet"),
        (served(4, 4, 5, 3), {}, "16 of 80 known frauds"),
        (served(19, known=19), {}, "19 frauds of 2024-02-28 to 2024-02-28 are known, 20 are needed"),
        (served(9, 9, 9, 9, promised_missed=None), {}, "do not say how many frauds alerts miss"),
        (served(4, 4, 20, 20), {}, "days since 2024-02-27 are in the training window from as-of day 2024-03-01 on"),
        (served(20, 20, 20, 20), {"learns_after_days": 14}, "before that none can help"),
        (served(20, 20, 20, 20), {"learnt_until": READY}, "no day has been served yet"),
        (served(20, 20, 20, 20), {"last_labels": READY}, "no day has been served yet"),
        (served(20, last=date(2024, 2, 24)), {"last_labels": date(2024, 2, 22), "ready": {}}, "but no day after"),
        (
            served(20, 20, last=date(2024, 2, 26)),
            {"last_labels": date(2024, 2, 24), "ready": {date(2024, 2, 27): "abc"}, "learns_after_days": 1},
            "cooling down since the retrain as of 2024-02-24",
        ),
    ],
)
def test_without_a_reason_that_a_retrain_can_answer_it_says_why_none_is_asked_for(
    days: tuple[ServedFrauds, ...], changes: dict[str, object], why: str
) -> None:
    found = answer(days, **changes)
    assert isinstance(found, str) and why in found, found


def test_only_the_latest_served_days_are_looked_at() -> None:
    assert isinstance(answer(served(*[20] * 3, *[4] * 7)), str)
    assert isinstance(answer(served(*[4] * 7, *[20] * 4)), Fired)


def test_after_an_answer_only_later_days_count_and_only_once_they_can_be_learnt() -> None:
    """A retrain that does not help is not asked for again and again."""
    asked: list[date] = []
    for n in range(28):
        today = READY + timedelta(days=n)
        days = served(*[20] * (n + 4), last=today)
        found = answer(days, ready={today: "abc"}, last_as_of=None, last_labels=asked[-1] if asked else None)
        if isinstance(found, Fired):
            asked.append(found.as_of)
    assert asked == [READY + timedelta(days=4 * n) for n in range(7)], "the window has learnt a further day each time"


def test_the_rise_began_where_the_excess_did() -> None:
    days = served(4, 5, 3, 3, 15, 16, 15)
    assert rise_began(days) == days[4].day


@given(st.integers(1, 60), st.integers(0, 59), st.floats(0.01, 0.99), st.integers(0, 500))
def test_a_further_missed_fraud_is_never_less_improbable(known: int, missed: int, share: float, frauds: int) -> None:
    missed = min(missed, known - 1)
    fewer, more = (
        chance_of_missing(served(n, known=known, promised_missed=share, promised_frauds=frauds))
        for n in (missed, missed + 1)
    )
    assert 0 <= more <= fewer <= 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7), st.floats(0, 1))
def test_with_fewer_known_frauds_than_needed_nothing_is_asked_for(missed: list[int], share: float) -> None:
    few = POLICY.model_copy(update={"min_frauds": 5 * len(missed) + 1})
    days = served(*missed, known=5, promised_missed=share)
    assert isinstance(labels(few, inputs(served=days, learns_after_days=1)), str)


@pytest.mark.parametrize("promised_frauds", [30, 300])
def test_false_alarms_are_as_rare_as_the_significance_also_with_a_small_holdout(promised_frauds: int) -> None:
    """Holdout and service miss equally often; both counts are Poisson."""
    random, share, known, draws = np.random.default_rng(7), 0.3, 60, 4000
    alarms = 0
    for holdout, live in zip(
        random.poisson(share * promised_frauds, draws), random.poisson(share * known, draws), strict=True
    ):
        promise = {"promised_missed": min(holdout / promised_frauds, 1.0), "promised_frauds": promised_frauds}
        alarms += chance_of_missing(served(int(live), known=known, **promise)) < POLICY.significance
    assert alarms / draws <= POLICY.significance + 3 * (POLICY.significance / draws) ** 0.5
    assert alarms > 0
