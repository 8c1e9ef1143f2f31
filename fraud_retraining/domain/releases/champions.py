"""Search for a former champion of a given age.

Here: finding one among releases. Not here: how it became champion (`domain/releases/lifecycle.py`).
"""

from collections.abc import Iterable
from datetime import date

from fraud_retraining.domain.evaluation.ageing import age_on_holdout
from fraud_retraining.domain.releases.release import Release

TOLERANCE_DAYS = 3


def champion_of_age(
    releases: Iterable[Release], as_of: date, *, serving_age: float, holdout_days: int
) -> tuple[Release, float] | None:
    """Return the former champion nearest to the serving age on the holdout of an as-of day, and its age in days.

    None if the nearest is more than `TOLERANCE_DAYS` younger or older.
    """
    ages = [
        (abs(age - serving_age), -one.version, one, age)
        for one in releases
        if one.was_promoted and one.as_of < as_of
        for age in (age_on_holdout((as_of - one.as_of).days, holdout_days),)
    ]
    nearest = min(ages, key=lambda found: found[:2], default=None)
    return None if nearest is None or nearest[0] > TOLERANCE_DAYS else (nearest[2], nearest[3])
