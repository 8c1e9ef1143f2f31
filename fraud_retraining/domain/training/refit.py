"""The second fit: the recipe that was judged, fitted on window and holdout together.

Here: its window and what determines it. Not here: whether it agrees with the judged fit
(`domain/evaluation/agreement.py`) and fitting it (`orchestration/assets/refit.py`).
"""

from datetime import timedelta

from fraud_retraining.domain.training.fingerprint import DayPin, Fingerprint
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay, WindowDays
from fraud_retraining.domain.values.days import DayRange


def refit_window(window: TrainingWindow) -> TrainingWindow:
    """The manifest of the second fit: it learns from the training days and the holdout, and has no holdout left.

    Weights follow the recipe: recent days are the last ones before the end of the holdout.
    """
    days = _days(window.days)
    training = tuple(_weighted(day, days) for day in (*window.training, *window.holdout))
    return window.model_copy(update={"days": days, "training": training, "holdout": ()})


def _days(days: WindowDays) -> WindowDays:
    moved = {}
    if days.recent_from is not None:
        moved = {"recent_from": days.recent_from + timedelta(days=len(days.holdout))}
    training = DayRange(start=days.training.start, end=days.holdout.end)
    return days.model_copy(update={"training": training, **moved})


def _weighted(day: WindowDay, days: WindowDays) -> WindowDay:
    return day.model_copy(update={"weight": days.weight(day.day)})


def refit_fingerprint(judged: Fingerprint, window: TrainingWindow) -> Fingerprint:
    """What determines the second fit; `window` is its own."""
    pins = tuple(DayPin(**day.model_dump(include=set(DayPin.model_fields))) for day in window.training)
    return judged.model_copy(update={"training": pins, "holdout": ()})


def unjudged_days(days: WindowDays) -> tuple[DayRange, ...]:
    """Days after the holdout up to the as-of day, which neither fit has learnt from, as at most one range."""
    first = days.holdout.end + timedelta(days=1)
    return (DayRange(start=first, end=days.as_of),) if first <= days.as_of else ()
