"""Features of policies that use labels otherwise than the present settings, kept in the folder of the replay.

Here: which days they are made of, by the functions of the day assets. Not here: what a feature is
(`domain/features/`). Transactions are those of the store; nothing is written to it.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.layered_store import LayeredStore
from fraud_retraining.adapters.storage.model_store import ModelStore
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.assets.features import EntityDays, Features
from fraud_retraining.orchestration.assets.labels import LabelResources, LabelSums, refresh_labels
from fraud_retraining.orchestration.names import ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_engine, open_location_of, open_store
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.orchestration.state.label_days import LabelInventory
from fraud_retraining.orchestration.state.readiness import days_behind, days_of_window
from fraud_retraining.settings import Settings

OWN = (ENTITY_DAYS, LABELS, ENTITY_LABEL_DAYS, FEATURES)
"""What depends on how labels are used."""
MAKING = "features for {}"


def features_folder(folder: Path, settings: Settings) -> Path:
    """Where a replay keeps the features that settings mean, in its folder."""
    return folder / "features" / digest(settings.feature_plan)[:16]


def past_store(settings: Settings, folder: Path | None) -> Store:
    """The store; with `folder` features, and what they are made of, are those in it."""
    shared = open_store(settings)
    if folder is None:
        return shared
    layer, scratch = open_location_of(settings, str(folder)), settings.home / "scratch"
    if not settings.segment:
        return LayeredStore(shared, Store(layer, scratch), OWN)
    own = ModelStore(
        layer,
        scratch,
        own=layer,
        model="",
        where=settings.segment_where,
        asked=settings.own_columns,
        transactions=shared,
    )
    return LayeredStore(shared, own, OWN)


def make_features(
    policy: str, settings: Settings, folder: Path, lake: Lake, days: DayRange, progress: Progress
) -> None:
    """Make the features that a policy needs to serve `days`, as far as they are not there.

    Raises:
        DataInvalid: a day of transactions did not pass its checks.
    """
    # Of all transactions, also for a model of some: features rest on everything that a customer did.
    store = past_store(settings.shared, folder)
    first = days_of_window(settings, days.start - timedelta(days=1)).needed[0]
    featured = DayRange(start=first, end=days.end)
    latest = max(lake.days(), default=days.end)
    stored = list(store.readable(TRANSACTIONS, DayRange(start=days_behind(settings, featured)[0], end=latest)))
    with open_engine(settings) as engine:
        steps: list[Callable[[], _Refresh]] = [partial(_entity_days, stored, settings, store, engine)]
        if settings.labels.use == "as_known":
            resources = LabelResources(settings, lake, store, engine, progress)
            steps += [partial(_labels, stored, resources), partial(_label_sums, stored, resources)]
        steps += [partial(_features, featured, settings, store, engine)]
        what, done = MAKING.format(policy), 0
        progress.start(what, len(steps) * len(stored))
        for step in steps:
            # Begun once the step before is over: it reads the records of what that made.
            refresh = step()
            for day in stored:
                refresh(day)
                progress.advance(what, done := done + 1)


_Refresh = Callable[[date], object]


def _entity_days(days: Sequence[date], settings: Settings, store: Store, engine: Engine) -> _Refresh:
    inventory = Inventory(store, settings, days, made=(ENTITY_DAYS,))
    return EntityDays(store, engine, inventory).refresh


def _labels(days: Sequence[date], resources: LabelResources) -> _Refresh:
    inventory = LabelInventory.of(days, resources.settings, resources.store, resources.lake.label_feed)
    return partial(refresh_labels, inventory=inventory, resources=resources, made={})


def _label_sums(days: Sequence[date], resources: LabelResources) -> _Refresh:
    inventory = LabelInventory.of(days, resources.settings, resources.store, None)
    return LabelSums(resources.store, resources.engine, inventory).refresh


def _features(featured: DayRange, settings: Settings, store: Store, engine: Engine) -> _Refresh:
    makers = Features(store, engine, Inventory(store, settings, days_behind(settings, featured), made=(FEATURES,)))

    def refresh(day: date) -> Partition | None:
        return makers.refresh(day) if day in featured else None

    return refresh
