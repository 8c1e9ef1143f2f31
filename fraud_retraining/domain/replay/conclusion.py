"""A replay in one sentence, which compares the best policy with the present settings.

Here: which policies are named, and the words. Not here: the numbers (`results.py`, `comparison.py`).
"""

import math
from collections.abc import Sequence

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.replay.comparison import BLOCK_DAYS, mean_difference
from fraud_retraining.domain.replay.replaceable_settings import NEVER, PRESENT
from fraud_retraining.domain.replay.results import PolicyResult

DAYS_A_MONTH = 30.4
FEW_DAYS = 28


def best(policies: Sequence[PolicyResult]) -> PolicyResult:
    """The policy with the greatest average precision; of equal ones that with the least compute."""
    return max(policies, key=lambda one: (one.average_precision or 0.0, -one.hours))


def conclusion(policies: Sequence[PolicyResult], budget: int, confidence: float) -> str:
    """The sentence: the best policy instead of the present settings; if these are best, instead of no retrain.

    It says so where the interval of the difference holds 0.
    """
    by_name = {one.name: one for one in policies}
    winner = best(policies)
    other = by_name[NEVER.name] if winner.name == PRESENT.name else by_name[PRESENT.name]
    gained = mean_difference(
        [day.average_precision for day in winner.days], [day.average_precision for day in other.days], confidence
    )
    if gained is None:
        return f"No served day has a fraud: nothing can be said about {winner.name}."
    month = (winner.amount_caught - other.amount_caught) / len(winner.days) * DAYS_A_MONTH
    chance = "" if gained.low > 0 else "; chance could explain the difference"
    return (
        f"{winner.name} instead of {other.name}: {_signed(gained.value)} average precision, "
        f"an amount of {month:,.0f} a month at {budget} alerts a day, for {_hours(winner.hours)} of compute{chance}."
    )


def limits(labels: LabelPolicy, window_labels: LabelPolicy, *, label_times: bool, days: int) -> tuple[str, ...]:
    """What a replay rests on and what it cannot know.

    Args:
        labels: how the present settings use labels.
        window_labels: the same for windows.
        label_times: whether the settings say when labels became known.
        days: number of served days.
    """
    if label_times:
        known = "Decisions know the labels that were known at the end of their day, by the times that labels have."
    else:
        known = (
            f"The lake does not say when labels became known: each counts as known {labels.delay_days} days after its "
            "transaction. Whether it was known earlier or later then cannot be told."
        )
    if labels.uri is not None and labels.wait_days:
        known += (
            " When the feed delivered them is not recorded, so no decision waits for the labels of its day "
            "(labels.wait_days)."
        )
    use = "as known" if window_labels.use == "as_known" else "mature labels only"
    return (
        f"{known} The present settings train and judge on {use}.",
        "Served days are judged by all labels that are known today. Days that were delivered again since are taken as "
        "they are now.",
        "The first model of each policy, as of the day before the first served day, serves whatever its gates say. "
        "After that a candidate that passes its gates serves from the day after its as-of day on; where a person would "
        "have been asked in every mode, the champion stays.",
        f"Intervals are from a paired bootstrap of blocks of {BLOCK_DAYS} days over {days} served days"
        + (", which are few: they are too narrow rather than too wide." if days < FEW_DAYS else "."),
    )


def trainer_limit(trainer: str) -> tuple[str, ...]:
    """What it means that a replay fits its models here; nothing where retrains do so too."""
    if trainer == "local":
        return ()
    return (
        f"Retrains fit their models elsewhere (model.trainer: {trainer}). The replay fits them here, on the same rows "
        "with the same parameters: the trees are others, and their quality is the same within the noise of a fit.",
    )


def unknown_limit(policy: PolicyResult) -> tuple[str, ...]:
    """What blocked rows leave open; nothing where the outcome of every row is known."""
    unknown = sum(day.unknown for day in policy.days)
    if not unknown:
        return ()
    rows = unknown + sum(day.rows for day in policy.days)
    return (
        f"{unknown:,} of {rows:,} rows of the served days were blocked and are unknown: they count neither as frauds "
        "nor as genuine. Which share of a day's alerts is right is that among those whose outcome is known; amounts "
        "and shares count a row of the control group as often as it stands for others. Where there is none, they hold "
        "for rows that were let through alone.",
    )


def _signed(value: float) -> str:
    """A difference with two decimals and its sign, without a leading 0.

    >>> _signed(0.081), _signed(-0.2)
    ('+.08', '-.20')
    """
    return f"{value:+.2f}".replace("0.", ".", 1)


def _hours(hours: float) -> str:
    """A time of compute as people say it.

    >>> _hours(14.2), _hours(1.24), _hours(0.02)
    ('14 hours', '1.2 hours', '2 minutes')
    """
    if hours >= 10:
        return f"{hours:,.0f} hours"
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(2, math.ceil(hours * 60))} minutes"
