"""Between which values the metrics of blocked rows lie, whatever became of those whose outcome nobody knows.

Here: bounds over every way in which unknown rows could be frauds or genuine (Manski 1989, "Anatomy of the selection
problem"). Not here: what a control group says of them, bounds of precision and recall, which stand beside it, and who
is alerted about (`metrics.py`).

Known frauds count by their weight while others are reported, as in every metric; an unknown row that is a fraud counts
once. Every bound is valid: a property test tries all labels of small cases. Which ones are sharp, so that some labels
reach them, is said of each.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.evaluation.judged import Floats, Integers, Judged

Bounds = tuple[float, float]
NEVER = np.iinfo(np.int64).min


def average_precision_bounds(judged: Judged) -> Bounds | None:
    """Least and most average precision; None where there may be no fraud, or the scores are not numbers.

    With n positives ranked, average precision is (1 / n) sum over pairs of positives, each with itself too, of
    1 / max(rank, rank). Each term falls with the ranks, so among all labels with m unknown frauds it is highest where
    these are the m highest scores, and lowest where they are the m lowest; the bounds are the extremes over m. They are
    sharp where scores are all different and every fraud counts once.

    Equal scores share the rank of the last of them and count each other twice. Which of them are frauds then has no
    order that is best for both, so the second count is bounded by itself: the largest, or smallest, of what each
    unknown row could add. Known frauds can stand for more than there are alerts, where precision is cut at 1: what all
    labels together could lose by that is taken off the lower bound.
    """
    if not judged.rankable or not len(judged):
        return None
    ranks = _Ranks.of(judged)
    if not len(ranks.unknown):
        return (min((ranks.known - ranks.cut) / ranks.frauds, 1.0),) * 2 if ranks.frauds else None
    end, beside = ranks.unknown, ranks.above / ranks.unknown
    alone = 1 / end + beside + ranks.below
    count = np.arange(len(end))
    most = np.cumsum(alone + count / end) + np.cumsum(np.sort(ranks.tied)[::-1])
    last = 1 / end[::-1]
    least = np.cumsum(alone[::-1] + np.cumsum(last) - last) + np.cumsum(np.sort(ranks.least_tied)) - ranks.cut
    frauds = ranks.frauds + 1 + count
    low, high = (ranks.known + least) / frauds, (ranks.known + most) / frauds
    if ranks.frauds:
        # None of the unknown rows is a fraud.
        low = np.append(low, (ranks.known - ranks.cut) / ranks.frauds)
        high = np.append(high, ranks.known / ranks.frauds)
    return max(float(low.min()), 0.0), min(float(high.max()), 1.0)


class _Ranks(NamedTuple):
    """Rows by falling score: the known frauds together, and each unknown row, the highest first.

    `unknown` are the ranks of unknown rows, where equal scores share the last one; `above` the known frauds up to that
    rank, `below` the sum of 1 / rank of those after it. `tied` is what each unknown row adds to the double count of
    equal scores if those above it in the order are frauds too, `least_tied` if none is. `cut` is what precisions above
    1 come to if every unknown row is a fraud.
    """

    frauds: float
    known: float
    unknown: Floats
    above: Floats
    below: Floats
    tied: Floats
    least_tied: Floats
    cut: float

    @classmethod
    def of(cls, judged: Judged) -> "_Ranks":
        order = np.argsort(-judged.scores, kind="stable")
        scores, label = judged.scores[order], judged.labels[order]
        last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
        group = np.searchsorted(last, np.arange(len(scores)))
        end = (last + 1).astype(np.float64)
        reports = np.ones(len(order)) if judged.report_weights is None else judged.report_weights[order]
        frauds = _sums(group, np.where(label == 1, reports, 0.0), len(last))
        is_unknown = ~judged.known[order]
        unknown = _sums(group, is_unknown, len(last))
        above: Floats = np.cumsum(frauds)
        shares: Floats = np.cumsum(frauds / end)
        here = group[is_unknown]
        nth = np.arange(len(here)) - (np.cumsum(unknown) - unknown)[here]
        full = np.maximum((above + np.cumsum(unknown)) / end - 1, 0.0)
        return cls(
            frauds=float(above[-1]),
            known=float((frauds * above / end).sum()),
            unknown=end[here],
            above=above[here],
            below=(shares[-1] - shares)[here],
            tied=(frauds[here] + nth) / end[here],
            least_tied=frauds[here] / end[here],
            cut=float((full * (frauds + unknown)).sum()),
        )


class AlertBounds(NamedTuple):
    """Least and most of what daily alerts about entities come to."""

    card_precision: Bounds
    amount_caught: Bounds
    """Amount a day of the frauds of the entities that alerts were right about."""


class RightOf(NamedTuple):
    """The entities that one day's alerts are right about."""

    day: int
    entities: Integers


def alert_bounds(judged: Judged, k: int, least: Sequence[RightOf], most: Sequence[RightOf]) -> AlertBounds:
    """Bounds of Card Precision at `k` and of the amount caught, of rows with scores that are numbers.

    A fraud more never makes an alert wrong: whoever is detected frees a place on later days, so that with it nobody is
    detected later than without it. All who are detected if no unknown row is a fraud are detected under any labels, and
    nobody beside those who are if all are. That gives the bounds of Card Precision, sharp where every fraud counts
    once. Who is detected on another day is caught with other amounts: the bounds of these take for each entity the day,
    up to that of its detection, on which they are least, or any on which they are most. They are sharp where no entity
    has frauds or unknown rows on two days.

    Args:
        judged: the rows, at least one.
        k: alerts a day.
        least: each day's right alerts if no unknown row is a fraud.
        most: the same if every one is.
    """
    entities = int(judged.entities.max()) + 1
    surely, maybe = (_detected_on(days, entities) for days in (least, most))
    possible = _Possible.of(judged)
    weight = np.zeros(entities)
    np.maximum.at(weight, possible.entity, possible.weight)
    largest, smallest = np.zeros(entities), np.full(entities, np.inf)
    np.maximum.at(largest, possible.entity, possible.most)
    early = possible.day <= surely[possible.entity]
    np.minimum.at(smallest, possible.entity[early], possible.least[early])
    days = len(least)
    return AlertBounds(
        card_precision=(
            float((surely > NEVER).sum()) / (k * days),
            min(float(weight[maybe > NEVER].sum()) / (k * days), 1.0),
        ),
        amount_caught=(float(smallest[surely > NEVER].sum()) / days, float(largest[maybe > NEVER].sum()) / days),
    )


def _detected_on(days: Sequence[RightOf], entities: int) -> Integers:
    """The day on which each entity is detected; `NEVER` of one that is not."""
    found = np.full(entities, NEVER, dtype=np.int64)
    for day, right in days:
        found[right] = day
    return found


class _Possible(NamedTuple):
    """Entities on days on which they have a fraud or a row that could be one.

    `weight` is what its detection then counts at most, `least` and `most` are the amount that is caught by it.
    """

    entity: Integers
    day: Integers
    weight: Floats
    least: Floats
    most: Floats

    @classmethod
    def of(cls, judged: Judged) -> "_Possible":
        fraud, unknown = judged.labels == 1, ~judged.known
        rows = np.flatnonzero(fraud | unknown)
        keys, place = np.unique(
            np.column_stack([judged.entities[rows], judged.days[rows]]), axis=0, return_inverse=True
        )
        place, fraud, amounts = place.reshape(-1), fraud[rows], judged.amounts[rows]
        reports = np.ones(len(rows)) if judged.report_weights is None else judged.report_weights[rows]
        counted = np.where(fraud, reports, 1.0)
        weight, single = np.zeros(len(keys)), np.full(len(keys), np.inf)
        np.maximum.at(weight, place, counted)
        np.minimum.at(single, place[~fraud], amounts[~fraud])
        known = _sums(place, np.where(fraud, amounts * counted, 0.0), len(keys))
        together = _sums(place, amounts * counted, len(keys))
        has_known = _sums(place, fraud, len(keys)) > 0
        return cls(keys[:, 0], keys[:, 1], weight, np.where(has_known, known, single), together)


def _sums(place: Integers, values: NDArray[Any], places: int) -> Floats:
    return np.bincount(place, weights=values, minlength=places).astype(np.float64, copy=False)
