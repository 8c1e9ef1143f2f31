"""First day of the partitions of days and of as-of days.

Here: the first day of the lake, without waiting long for a remote lake, and the first as-of day that can be
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
LISTING_SECONDS = 5.0
"""Longest wait of the definitions for a lake on S3 that was never listed before."""
LOG = logging.getLogger(__name__)


def first_day_of_lake(settings: Settings) -> date:
    """The first day in the UI: of the settings, of a lake in a folder, or of a lake on S3 as it was last listed."""
    if settings.lake.first_day:
        return settings.lake.first_day
    if _is_remote(settings):
        # Loading the definitions happens in every process, and a listing of a large bucket takes minutes.
        return _remembered(settings) or _listed(settings) or DEFAULT_FIRST_DAY
    try:
        return min(open_lake(settings).days(), default=DEFAULT_FIRST_DAY)
    except RetrainingError:  # sensors and commands report it; the web server has to start all the same
        return DEFAULT_FIRST_DAY


def first_as_of_partition(settings: Settings, first_day: date) -> date:
    """The first as-of day that can be trained on a lake that begins on `first_day`."""
    missing = settings.validation.max_missing_days
    return first_as_of_day(first_day, settings.window, settings.holdout, settings.window_labels, missing)


def remember_first_day(settings: Settings, first_day: date | None) -> None:
    """Keeps the first day of a remote lake under the home, for the next load of the definitions.

    It is kept with the address of the lake: another lake begins on another day.
    """
    if first_day is None or not _is_remote(settings) or _remembered(settings) == first_day:
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / FILE).write_text(f"{settings.lake_uri} {first_day}\n", encoding="utf-8")


def _listed(settings: Settings) -> date | None:
    """The first day of a lake on S3 that was not listed before, if it answers soon; kept for the next load."""
    if not settings.lake_uri.startswith("s3://"):
        return None
    try:
        first = min(open_lake(_one_short_attempt(settings)).days(), default=None)
    except RetrainingError as error:
        LOG.warning("days are offered from %s on until a sensor has seen the lake: %s", DEFAULT_FIRST_DAY, error.what)
        return None
    # A read-only home must not keep the web server from starting.
    with suppress(OSError):
        remember_first_day(settings, first)
    return first


def _one_short_attempt(settings: Settings) -> Settings:
    """The settings with one attempt to reach S3, and a short one."""
    s3 = settings.lake.s3
    bounds = ("connect_seconds", "read_seconds", "deadline_seconds")
    soon = {name: min(LISTING_SECONDS, getattr(s3.transfer, name)) for name in bounds}
    hasty = s3.model_copy(update={"max_attempts": 1, "transfer": s3.transfer.model_copy(update=soon)})
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"s3": hasty})})


def _is_remote(settings: Settings) -> bool:
    return "://" in settings.lake_uri or not Path(settings.lake_uri).is_dir()


def _remembered(settings: Settings) -> date | None:
    file = settings.home / FILE
    lake, _, day = file.read_text(encoding="utf-8").strip().rpartition(" ") if file.is_file() else ("", "", "")
    try:
        return date.fromisoformat(day) if lake == settings.lake_uri else None
    except ValueError:
        return None
