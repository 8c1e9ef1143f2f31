"""Which version was champion, when, and which of them can be brought back.

Here: finding one among releases. Not here: how it became champion (`domain/releases/lifecycle.py`).
"""

from collections.abc import Iterable
from datetime import date

from fraud_retraining.domain.evaluation.ageing import age_on_holdout
from fraud_retraining.domain.releases.lifecycle import Release

TOLERANCE_DAYS = 3


def champion_of_age(
    releases: Iterable[Release], as_of: date, *, serving_age: float, holdout_days: int
) -> tuple[Release, float] | None:
    """Of all that ever served, the one that is nearest to the serving age on the holdout as of a day, and its age.

    None where the nearest is more than `TOLERANCE_DAYS` younger or older than that.
    """
    ages = [
        (abs(age - serving_age), -one.version, one, age)
        for one in releases
        if one.was_promoted and one.as_of < as_of
        for age in (age_on_holdout((as_of - one.as_of).days, holdout_days),)
    ]
    nearest = min(ages, key=lambda found: found[:2], default=None)
    return None if nearest is None or nearest[0] > TOLERANCE_DAYS else (nearest[2], nearest[3])
