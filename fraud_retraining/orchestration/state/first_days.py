"""Where the partitions of days and of as-of days begin.

Here: the first day of the lake, without waiting long for a lake that is far away, and the first as-of day that can be
trained on it. Not here: the rule of the latter (`domain/training/windows.py`).
"""

import logging
from contextlib import suppress
from datetime import date
from pathlib import Path

from fraud_retraining.domain.training.windows import first_as_of_day
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.orchestration.partitions import DEFAULT_FIRST_DAY
from fraud_retraining.orchestration.resources import open_lake
from fraud_retraining.settings import Settings

FILE = "lake_first_day"
ASKED_SECONDS = 5.0
"""Longest that the definitions wait for a lake on S3 that was never seen before."""
LOG = logging.getLogger(__name__)


def first_day_of_lake(settings: Settings) -> date:
    """The first day that the UI offers: as set, as a lake in a folder has it, or as a lake on S3 was last seen."""
    if settings.lake.first_day:
        return settings.lake.first_day
    if _is_far_away(settings):
        return _seen(settings) or _asked(settings) or DEFAULT_FIRST_DAY
    try:
        return min(open_lake(settings).days(), default=DEFAULT_FIRST_DAY)
    except RetrainingError:  # the sensors and commands say so; the web server has to come up all the same
        return DEFAULT_FIRST_DAY


def first_as_of_partition(settings: Settings, first_day: date) -> date:
    """The first as-of day that can be trained on a lake that begins on `first_day`."""
    missing = settings.validation.max_missing_days
    return first_as_of_day(first_day, settings.window, settings.holdout, settings.labels, missing)


def remember_first_day(settings: Settings, first_day: date | None) -> None:
    """Keeps under the home where a lake that is far away begins, for the next load of the definitions.

    It is known per lake: another one begins elsewhere.
    """
    if first_day is None or not _is_far_away(settings) or _seen(settings) == first_day:
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / FILE).write_text(f"{settings.lake_uri} {first_day}\n", encoding="utf-8")


def _asked(settings: Settings) -> date | None:
    """Where a lake on S3 begins that nobody has seen yet, if it says so soon; kept for the next load."""
    if not settings.lake_uri.startswith("s3://"):
        return None
    try:
        first = min(open_lake(_hasty(settings)).days(), default=None)
    except RetrainingError as error:
        LOG.warning("days are offered from %s on until a sensor has seen the lake: %s", DEFAULT_FIRST_DAY, error.what)
        return None
    with suppress(OSError):
        remember_first_day(settings, first)
    return first


def _hasty(settings: Settings) -> Settings:
    """The settings with one attempt to reach S3, and a short one."""
    s3 = settings.lake.s3
    bounds = ("connect_seconds", "read_seconds", "deadline_seconds")
    soon = {name: min(ASKED_SECONDS, getattr(s3.transfer, name)) for name in bounds}
    hasty = s3.model_copy(update={"max_attempts": 1, "transfer": s3.transfer.model_copy(update=soon)})
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"s3": hasty})})


def _is_far_away(settings: Settings) -> bool:
    return "://" in settings.lake_uri or not Path(settings.lake_uri).is_dir()


def _seen(settings: Settings) -> date | None:
    file = settings.home / FILE
    lake, _, day = file.read_text(encoding="utf-8").strip().rpartition(" ") if file.is_file() else ("", "", "")
    try:
        return date.fromisoformat(day) if lake == settings.lake_uri else None
    except ValueError:
        return None
