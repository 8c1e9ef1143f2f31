"""The candidate is measured on all rows, and compared on the rows that neither model learned from."""

from dataclasses import replace

import numpy as np
import pytest

from fraud_retraining.domain.evaluation.gates import (
    NO_FIXED_SET,
    EvaluatedRows,
    GatePolicy,
    NotCompared,
    collect_evidence,
    comparable,
    judge,
)
from fraud_retraining.domain.evaluation.judged import Judged, Pair
from fraud_retraining_tests.support.gate_evidence import POLICY


def test_evidence_is_gathered_on_the_whole_holdout_and_compared_on_the_shared_days():
    random = np.random.default_rng(2)
    labels = (random.random(3000) < 0.05).astype(np.int8)
    scores = 1 / (1 + np.exp(-(random.normal(size=3000) + 3 * labels - 4)))
    labels = (random.random(3000) < scores).astype(np.int8)
    days = np.repeat(np.arange(3, dtype=np.int32), 1000)
    holdout = Judged(labels, scores, random.integers(0, 300, 3000), days, np.ones(3000))
    shared = holdout.where(days > 0)
    pair = Pair(shared, shared.with_scores(random.random(2000)))
    policy = GatePolicy(resamples=100)
    found = collect_evidence(
        policy,
        holdout=EvaluatedRows(holdout, pair),
        importance={"a": 1, "b": 1},
        fixed=EvaluatedRows(holdout, NO_FIXED_SET),
        alerts=NotCompared(reason="scores.contract is none"),
    )
    assert (found.candidate.rows, found.candidate_compared.rows) == (3000, 2000)
    assert (found.champion.rows, found.comparison.rows) == (2000, 2000)
    assert found.fixed_candidate == found.candidate
    assert (found.fixed, found.fixed_champion) == (NO_FIXED_SET, None)
    assert found.scores.distinct == len(np.unique(scores))
    assert [one.name for one in judge(policy, found).gates if one.applicable and not one.passed] == []


@pytest.mark.parametrize("scores", [np.full(100, 0.05), np.full(100, np.nan)], ids=["constant", "not numbers"])
def test_a_candidate_with_degenerate_scores_is_judged_and_refused_without_an_error(scores):
    labels = np.r_[np.ones(10, np.int8), np.zeros(90, np.int8)]
    champion = Judged(labels, np.linspace(0.9, 0.1, 100), np.arange(100), np.zeros(100, np.int32), np.ones(100))
    candidate = champion.with_scores(scores)
    found = collect_evidence(
        POLICY, holdout=EvaluatedRows(candidate, Pair(candidate, champion)), importance={"a": 1, "b": 1}
    )
    assert {"average_precision_floor", "no_regression", "score_variety"} <= {
        g.name for g in judge(POLICY, found).failed
    }


def scored(labels, scores, days=None):
    from fraud_retraining_tests.support.judged_rows import judged

    return judged(labels, scores, days=days)


FRAUDS = np.array([1] * 25 + [0] * 75)


@pytest.mark.parametrize(
    ("fair", "champion", "clause"),
    [
        (np.zeros(100, dtype=bool), np.full(100, 0.2), "has learnt from every day"),
        (np.ones(100, dtype=bool), np.r_[np.full(99, 0.2), np.nan], "scores that are not numbers for 1 of 100 rows"),
        (np.arange(100) >= 6, np.full(100, 0.2), "hold 19 frauds, and gates.min_compared_frauds requires 20"),
        (np.arange(100) >= 25, np.full(100, 0.2), "hold 0 frauds"),
    ],
)
def test_rows_that_cannot_compare_say_why(fair, champion, clause):
    found = comparable(scored(FRAUDS, np.linspace(0.9, 0.1, 100)), champion, fair, named="version 3", min_frauds=20)
    assert isinstance(found, NotCompared)
    assert "version 3" in found.reason and clause in found.reason


def test_both_are_compared_on_the_rows_that_neither_has_learnt_from():
    fair = np.arange(100) >= 5
    rival = np.linspace(0.1, 0.9, 100)
    found = comparable(scored(FRAUDS, np.linspace(0.9, 0.1, 100)), rival, fair, named="version 3", min_frauds=20)
    assert isinstance(found, Pair)
    assert (len(found.candidate), found.candidate.frauds) == (95, 20)
    assert found.champion.scores.tolist() == rival[fair].tolist()


def test_too_few_known_frauds_are_named_beside_those_to_be_expected():
    known = replace(scored(FRAUDS, np.linspace(0.9, 0.1, 100)), report_weights=np.full(100, 3.0))
    found = comparable(known, np.full(100, 0.2), np.arange(100) >= 6, named="version 3", min_frauds=20)
    assert isinstance(found, NotCompared)
    assert "hold 19 known frauds (57 to be expected), and gates.min_compared_frauds requires 20" in found.reason
