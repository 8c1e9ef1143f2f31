"""Sensors of releases: deadlines, reminders and news from the ledger, and the champion from the registry.

Here: how often they look, and their summaries. Not here: the checks (`services/release_watch.py`) and the notices
(`orchestration/release_notifier.py`).

Two sensors, because a deadline must pass on time while MLflow is down. Every tick can be repeated, and several daemons
can run it at once: the ledger records each event once.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from fraud_retraining.adapters.ledger.chain_heads import PinnedHeads
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.values.errors import ChampionLost, Conflict, RecordAltered
from fraud_retraining.orchestration.names import CHAMPION_SENSOR, RELEASES_SENSOR
from fraud_retraining.orchestration.release_notifier import ReleaseNotifier
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining.settings import Settings

LOOK_SECONDS = 30


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of releases."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=RELEASES_SENSOR,
        minimum_interval_seconds=settings.paced(LOOK_SECONDS),
        default_status=status,
        description="Expires candidates without a decision, reminds reviewers, and notifies of changes of releases.",
    )
    def releases_sensor(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        registry: dg.ResourceParam[Registry],
        release_notifier: dg.ResourceParam[ReleaseNotifier],
    ) -> dg.SensorResult:
        watch = ReleaseWatch(ledger, registry, settings.promotion)
        altered = _checked(watch.check_deadlines, watch)
        # The cursor moves after the messages are written: a tick that dies in between writes them again, once each.
        news = watch.notices_after(int(context.cursor) if context.cursor else None)
        for notice in news.notices:
            release_notifier.notify(notice)
        summary = altered or _summary(ledger.waiting(), len(news.notices))
        return dg.SensorResult(cursor=str(news.cursor), skip_reason=summary)

    @dg.sensor(
        name=CHAMPION_SENSOR,
        minimum_interval_seconds=settings.paced(LOOK_SECONDS),
        default_status=status,
        description="Finishes promotions whose process ended, and detects a champion that was moved by hand, deleted "
        "or changed.",
    )
    def champion_sensor(
        ledger: dg.ResourceParam[Ledger], registry: dg.ResourceParam[Registry], heads: dg.ResourceParam[PinnedHeads]
    ) -> dg.SkipReason:
        watch = ReleaseWatch(ledger, registry, settings.promotion)
        finished: list[Release] = []

        def look() -> None:
            # First: the head outside of the database shows rows that were removed before the rest is trusted.
            watch.keep_head(heads)
            finished.extend(watch.check_champion())

        try:
            altered = _checked(look, watch)
        except (Conflict, ChampionLost) as known:
            return dg.SkipReason(known.what)
        moved = ", ".join(f"version {release.version} is {release.state}" for release in finished)
        return dg.SkipReason(altered or moved or "the champion is the recorded one and sound, or its alarm is recorded")

    return [releases_sensor, champion_sensor]


def _checked(look: Callable[[], object], watch: ReleaseWatch) -> str:
    """Runs a check; where the ledger was altered, stops automation and returns the reason."""
    try:
        look()
    except RecordAltered as altered:
        watch.stop_for(altered)
        return f"{altered.what} {'; '.join(altered.culprits)}"
    return ""


def _summary(waiting: Sequence[Release], notices: int) -> str:
    """Which candidates wait, until when, and how many messages were written."""
    open_releases = [f"version {one.version} waits for a decision{_until(one)}" for one in waiting]
    news = f"{notices} {'message was' if notices == 1 else 'messages were'} written" if notices else "nothing is new"
    return "; ".join([*(open_releases or ["no candidate waits for a decision"]), news])


def _until(release: Release) -> str:
    return f" until {release.deadline:%Y-%m-%d %H:%M} UTC" if release.deadline else ""
