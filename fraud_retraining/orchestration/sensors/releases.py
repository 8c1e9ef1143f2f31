"""Sensors that mind releases: deadlines, reminders and news by the record, and the champion by the registry.

Here: how often they look and what they say. Not here: what is looked at (`services/release_watch.py`) and how people
are told (the resource `teller`).

Two sensors, because a deadline must pass on time while MLflow is down. Every look can be repeated and be taken by
several daemons at once: the record takes each thing once.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.pinned_heads import PinnedHeads
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.releases.lifecycle import Release
from fraud_retraining.domain.values.errors import ChampionLost, Conflict, RecordAltered
from fraud_retraining.orchestration.names import CHAMPION_SENSOR, RELEASES_SENSOR
from fraud_retraining.orchestration.release_notifier import ReleaseNotifier
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining.settings import Settings

LOOK_SECONDS = 30


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors that mind releases."""
    status = dg.DefaultSensorStatus.STOPPED if settings.starts_stopped else dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=RELEASES_SENSOR,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=status,
        description="Expires candidates that nobody decided about, reminds reviewers, and tells people what happened "
        "to releases.",
    )
    def releases_sensor(
        context: dg.SensorEvaluationContext,
        ledger: dg.ResourceParam[Ledger],
        registry: dg.ResourceParam[Registry],
        release_notifier: dg.ResourceParam[ReleaseNotifier],
    ) -> dg.SensorResult:
        watch = ReleaseWatch(ledger, registry, settings.promotion)
        altered = _minding(watch.check_deadlines, watch)
        news = watch.notices_after(int(context.cursor) if context.cursor else None)
        for notice in news.notices:
            release_notifier.tell(notice)
        told = altered or _seen(ledger.waiting(), len(news.notices))
        return dg.SensorResult(cursor=str(news.cursor), skip_reason=told)

    @dg.sensor(
        name=CHAMPION_SENSOR,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=status,
        description="Finishes promotions whose process ended, and notices a champion that was moved by hand, deleted "
        "or changed.",
    )
    def champion_sensor(
        ledger: dg.ResourceParam[Ledger], registry: dg.ResourceParam[Registry], heads: dg.ResourceParam[PinnedHeads]
    ) -> dg.SkipReason:
        watch = ReleaseWatch(ledger, registry, settings.promotion)
        finished: list[Release] = []

        def look() -> None:
            watch.keep_head(heads)
            finished.extend(watch.check_champion())

        try:
            altered = _minding(look, watch)
        except (Conflict, ChampionLost) as known:
            return dg.SkipReason(known.what)
        moved = ", ".join(f"version {release.version} is {release.state}" for release in finished)
        return dg.SkipReason(altered or moved or "the champion is the recorded one and sound, or its alarm is recorded")

    return [releases_sensor, champion_sensor]


def _minding(look: Callable[[], object], watch: ReleaseWatch) -> str:
    """Looks; where the record was changed, records that, stops what goes on by itself, and says so."""
    try:
        look()
    except RecordAltered as altered:
        watch.stop_for(altered)
        return f"{altered.what} {'; '.join(altered.culprits)}"
    return ""


def _seen(waiting: Sequence[Release], notices: int) -> str:
    """Which candidates wait, until when, and whether people were told something."""
    who = [f"version {one.version} waits for a decision{_until(one)}" for one in waiting]
    told = f"{notices} {'message was' if notices == 1 else 'messages were'} written" if notices else "nothing is new"
    return "; ".join([*(who or ["no candidate waits for a decision"]), told])


def _until(release: Release) -> str:
    return f" until {release.deadline:%Y-%m-%d %H:%M} UTC" if release.deadline else ""
