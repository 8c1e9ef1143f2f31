"""Each way in which a scorer knows something else than the batch is found and named."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from fraud_retraining.domain.monitoring.served_skew import ServedSkew, compare_served
from fraud_retraining.domain.monitoring.skew_reasons import WORDS, Reason
from fraud_retraining_tests.support.served_days import (
    DAY,
    NUMBERS,
    PLAN,
    YESTERDAY,
    Paid,
    Scorer,
    batch,
    in_order,
    served,
    transactions,
)

FIRST, SECOND, OTHERS = Paid(1, 0), Paid(2, 10), Paid(3, 20, customer=2)
LAKE = [FIRST, SECOND, OTHERS]
WRONG = {"features_digest": "0" * 32}


@dataclass
class Case:
    """Scorers, what the lake has, and the reasons that are found."""

    scorers: list[Scorer]
    found: dict[Reason, int]
    lake: list[Paid] = field(default_factory=lambda: LAKE)
    facts: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)

    def report(self) -> ServedSkew:
        return compare_served(DAY, served(*self.scorers), batch(self.lake, **self.facts), PLAN)


def late() -> Case:
    """The first was scored after the second, which was therefore scored without it."""
    scorer = Scorer()
    scorer.score(SECOND)
    scorer.score(FIRST, at=15)
    return Case([scorer], {Reason.LATE_ARRIVAL: 1})


def late_of_nobody_else() -> Case:
    """A late transaction of another customer is no reason."""
    scorer = Scorer()
    scorer.score(FIRST)
    scorer.score(OTHERS)
    scorer.score(Paid(4, 30), **WRONG)
    scorer.score(Paid(5, 15, customer=2), at=40)
    return Case(
        [scorer],
        {Reason.LATE_ARRIVAL: 1, Reason.UNEXPLAINED: 1},
        lake=[FIRST, OTHERS, Paid(4, 30), Paid(5, 15, customer=2)],
    )


def late_by_another_key() -> Case:
    """They share the device alone."""
    first, second = Paid(1, 0, customer=8, device="x"), Paid(2, 10, customer=9, device="x")
    scorer = Scorer()
    scorer.score(second)
    scorer.score(first, at=15)
    return Case([scorer], {Reason.LATE_ARRIVAL: 1}, lake=[first, second])


def no_key_is_no_common_key() -> Case:
    first, second = Paid(1, 0, customer=8), Paid(2, 10, customer=9)
    scorer = Scorer()
    scorer.score(second, **WRONG)
    scorer.score(first, at=15)
    return Case([scorer], {Reason.UNEXPLAINED: 1}, lake=[first, second])


def together() -> Case:
    """Of one moment, the id decides which is earlier."""
    first, second = Paid(1, 0), Paid(2, 0)
    scorer = Scorer()
    scorer.score(second, at=1)
    scorer.score(first, at=2)
    return Case([scorer], {Reason.LATE_ARRIVAL: 1}, lake=[second, first])


def missing() -> Case:
    """The first was never scored."""
    scorer = Scorer()
    scorer.score(SECOND)
    scorer.score(OTHERS)
    return Case([scorer], {Reason.MISSING_TRANSACTION: 1})


def posted() -> Case:
    """The first was not scored, but the scorer was told of it: nothing differs."""
    scorer = Scorer()
    scorer.live.add(transactions([FIRST]))
    scorer.score(SECOND)
    return Case([scorer], {})


def two_scorers() -> Case:
    """Two scorers at work, of which each knows its own part."""
    one, two = Scorer("a"), Scorer("b")
    one.score(FIRST)
    two.score(SECOND)
    one.score(OTHERS)
    return Case([one, two], {Reason.OTHER_SCORER: 1})


def scorer_that_began_again() -> Case:
    """The second process has read what the first had scored: it is no reason."""
    one, two = Scorer("a"), Scorer("b")
    one.score(FIRST)
    two.live.add(transactions([FIRST]))
    two.score(SECOND, **WRONG)
    return Case([one, two], {Reason.UNEXPLAINED: 1})


def extra() -> Case:
    """The scorer counted a transaction that the lake has refused."""
    scorer = Scorer()
    scorer.score(Paid(99, -5))
    scorer.score(FIRST)
    scorer.score(OTHERS)
    return Case([scorer], {Reason.EXTRA_TRANSACTION: 1})


def extra_afterwards() -> Case:
    """What came later than an answer cannot have changed it."""
    scorer = Scorer()
    scorer.score(FIRST, **WRONG)
    scorer.score(Paid(99, -5), at=50)
    return Case([scorer], {Reason.UNEXPLAINED: 1})


def other_zone() -> Case:
    """Two hours ahead of UTC: what was paid before midnight lies in the lake on the day before."""
    scorer = in_order([row._replace(minute=row.minute + 120) for row in LAKE])
    scorer.score(Paid(4, -700))
    found = {Reason.TRANSACTION_DIFFERS: 4}
    return Case([scorer], found, facts={"before": [4]}, columns={"timestamp": 4})


def corrected_amount() -> Case:
    """The lake has another amount: the transaction differs, and the later one of its customer counted the former."""
    scorer = in_order([FIRST._replace(amount=99), SECOND, OTHERS])
    return Case([scorer], {Reason.TRANSACTION_DIFFERS: 2}, columns={"amount": 1})


def other_key() -> Case:
    """The lake has the first under another customer: later ones of both were scored with another past."""
    scorer = in_order([FIRST, SECOND, OTHERS])
    return Case(
        [scorer],
        {Reason.TRANSACTION_DIFFERS: 2},
        lake=[FIRST._replace(customer=2), SECOND, OTHERS],
        columns={"customer": 1},
    )


def other_category() -> Case:
    """A column that passes through was corrected: known of rows whose features are kept."""
    scorer = in_order([FIRST._replace(channel="atm"), SECOND], sampled=True)
    return Case([scorer], {Reason.TRANSACTION_DIFFERS: 1}, columns={"channel": 1})


def dropped_state() -> Case:
    scorer = in_order(LAKE, state_day=None, **WRONG)
    return Case([scorer], {Reason.NO_STATE: 3})


def stale_state() -> Case:
    scorer = in_order(LAKE, state_day=YESTERDAY - timedelta(days=1), **WRONG)
    return Case([scorer], {Reason.STALE_STATE: 3})


def other_version() -> Case:
    """Hides what else may differ."""
    scorer = in_order(LAKE, feature_version="f0", state_day=None, **WRONG)
    return Case([scorer], {Reason.OTHER_VERSION: 3})


def changed_state() -> Case:
    scorer = in_order(LAKE, **WRONG)
    return Case([scorer], {Reason.STATE_CHANGED: 3}, facts={"state_changed": True})


def nothing_known() -> Case:
    return Case([in_order(LAKE, **WRONG)], {Reason.UNEXPLAINED: 3})


@pytest.mark.parametrize(
    "case",
    [
        late,
        late_of_nobody_else,
        late_by_another_key,
        no_key_is_no_common_key,
        together,
        missing,
        posted,
        two_scorers,
        scorer_that_began_again,
        extra,
        extra_afterwards,
        other_zone,
        corrected_amount,
        other_key,
        other_category,
        dropped_state,
        stale_state,
        other_version,
        changed_state,
        nothing_known,
    ],
    ids=lambda case: case.__name__.replace("_", " "),
)
def test_the_reason_is_found(case: Any) -> None:
    wanted: Case = case()
    found = wanted.report()
    assert (found.differing, found.columns) == (wanted.found, wanted.columns)


def test_late_transactions_change_features_that_are_named() -> None:
    scorer = Scorer()
    scorer.score(SECOND, sampled=True)
    scorer.score(FIRST, at=15)
    found = compare_served(DAY, served(scorer), batch(LAKE), PLAN)
    named = {one.name: one for one in found.features}
    assert named["customer_count_1d"].largest == 1.0 and named["customer_count_1d"].unexplained == 0
    assert "amount" not in named and set(named) < set(NUMBERS)


def test_every_reason_has_its_words() -> None:
    assert set(WORDS) == set(Reason)
