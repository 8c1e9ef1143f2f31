"""The online state in the store: publishing a partition of `online_state`, and opening the one that is published.

Here: the event of the ledger that vouches for a partition, the document that names the current one, and the local copy
that scorers of one machine share. Not here:
what a state holds (`orchestration/assets/online_state.py`) and which transactions it serves
(`domain/features/live.py`).

A partition is opened from a local copy of its tables as NumPy files, which are mapped into memory and not read: many
scorers of one machine share them, and a million entities are there at once. A copy is made whole or not at all, under
the digest of the partition.
"""

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.locations import reaching
from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.features.column_lineage import ONLINE_STATE
from fraud_retraining.domain.features.key_tables import (
    SortedKeys,
    StateTable,
    in_key_order,
    key_array,
    state_columns,
    state_values,
)
from fraud_retraining.domain.features.live import OnlineState
from fraud_retraining.domain.features.online import FinishedDay, RecentDay
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError

RECENT = "recent"
"""The table of a partition that holds the transactions of its day; no entity can have this name."""
CURRENT = "current"
KEYS, KEYS_AS_TEXT, VALUES, ABOUT = "keys.npy", "keys.arrow", "values.npy", "about.json"
COPIES_KEPT = 3
LOG = logging.getLogger("fraud_retraining.scores")


class CurrentState(Value):
    """Which partition is published."""

    day: date
    digest: str


def publish(store: Store, ledger: Ledger, partition: Partition) -> None:
    """Record a partition, and make it the one that scorers load, unless one of a later day is."""
    if not is_recorded(ledger, partition):
        ledger.append(
            EventKind.STATE_PUBLISHED,
            actor="pipeline",
            channel="dagster",
            keys=EventKeys(subject=partition.day.isoformat()),
            payload={"digest": partition.digest, "record_digest": digest(partition), **_counts(partition)},
        )
    try:
        current = current_state(store)
    except IntegrityError:
        # What is there is no use to anybody, and is replaced.
        current = None
    if current is None or partition.day >= current.day:
        named = CurrentState(day=partition.day, digest=partition.digest)
        store.write_document(ONLINE_STATE, CURRENT, named.model_dump_json().encode())


def is_recorded(ledger: Ledger, partition: Partition, models: Collection[str] = ()) -> bool:
    """Whether this partition, with exactly its files, is the one that was published last for its day.

    Who writes to the store can replace a state together with its record; the ledger then still names the former one.
    It was published by the ledger's model, or by the last of `models` that did.
    """
    day = partition.day.isoformat()
    known = ledger.last_of_models(EventKind.STATE_PUBLISHED, subject=day, models=models or (ledger.model,))
    return known is not None and known.payload["record_digest"] == digest(partition)


def _counts(partition: Partition) -> dict[str, Any]:
    return {name: partition.facts.get(name) for name in ("feature_version", "keys", "transactions")}


def current_state(store: Store) -> CurrentState | None:
    """The partition that is published; None where none is.

    Raises:
        IntegrityError: the document cannot be understood.
    """
    data = store.read_document(ONLINE_STATE, CURRENT)
    if data is None:
        return None
    try:
        return CurrentState.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            f"the document {ONLINE_STATE}/{CURRENT}.json of the store cannot be understood",
            culprits=[error.errors()[0]["msg"]],
            remedy=f"materialize {ONLINE_STATE} of the latest day again.",
        ) from error


def is_published(store: Store, partition: Partition) -> bool:
    """Whether scorers load this partition, or one of a later day; a run may be killed after it made one."""
    try:
        current = current_state(store)
    except IntegrityError:
        return False
    named = CurrentState(day=partition.day, digest=partition.digest)
    return current is not None and (current.day > partition.day or current == named)


class PublishedState:
    """The states of a store that the ledger knows, opened from copies under a local folder."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        folder: Path,
        plan: FeaturePlan,
        feature_version: str,
        models: Collection[str] = (),
    ) -> None:
        """Nothing is opened yet; `models` are those under whose names states of this store may be recorded."""
        self._store = store
        self._ledger = ledger
        self._folder = folder
        self._plan = plan
        self._feature_version = feature_version
        self._models = models

    def current(self) -> CurrentState | None:
        """The partition that is published; None where none is."""
        return current_state(self._store)

    def key_types(self, day: date) -> Mapping[str, str]:
        """Whether each key is integer or text, as of the state of a day."""
        return dict(self._partition(day).facts["key_types"])

    def open(self, day: date) -> OnlineState:
        """The state after a day.

        Raises:
            DataInvalid: there is none, or it was made of other features than those of this process.
            IntegrityError: it is not the one that was published, or its files are not those that were written.
        """
        partition = self._partition(day)
        found = partition.facts.get("feature_version")
        if found != self._feature_version:
            raise DataInvalid(
                f"{ONLINE_STATE} of {day} was made with features of version {str(found)[:12]}; this scorer computes "
                f"version {self._feature_version[:12]}",
                remedy=f"run the scorer with the settings and the version of the software that make {ONLINE_STATE}, or "
                f"materialize {ONLINE_STATE} of {day} again.",
            )
        entities = self._opened(partition)
        rows = pq.read_table(*self._store.paths([partition], RECENT))
        recent = RecentDay(self._plan, day, FinishedDay(rows, self._plan, day))
        return OnlineState(day, partition.digest, entities, recent)

    def _partition(self, day: date) -> Partition:
        partition = self._store.partition(ONLINE_STATE, day)
        if partition is None:
            raise DataInvalid(
                f"{ONLINE_STATE} of {day} has not been made", remedy=f"materialize {ONLINE_STATE} of {day}."
            )
        if not is_recorded(self._ledger, partition, self._models):
            raise IntegrityError(
                f"{ONLINE_STATE} of {day} is not the state that the ledger says was published",
                culprits=[f"the record in the store has the digest {digest(partition)}"],
                remedy=f"find out who wrote to the store, then materialize {ONLINE_STATE} of {day} again.",
                days=[day],
            )
        return partition

    def _opened(self, partition: Partition) -> dict[str, StateTable]:
        """The tables of a partition's copy; one that cannot be read is made again, once."""
        copy = self._copy(partition)
        try:
            return self._tables(copy, partition.day)
        except IntegrityError as error:
            # Nobody is asked about what can be fetched and verified again.
            LOG.error("%s (%s); it is made again", error.what, "; ".join(map(str, error.culprits)))
            with reaching("remove", copy):
                shutil.rmtree(copy)
            return self._tables(self._copy(partition), partition.day)

    def _tables(self, copy: Path, day: date) -> dict[str, StateTable]:
        try:
            return {entity: _open_table(copy / entity, self._plan, entity) for entity in self._plan.entities}
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise IntegrityError(
                f"the copy {copy} of the state after {day} cannot be read",
                culprits=[f"{type(error).__name__}: {error}"],
                remedy="see that the disk is sound, and remove that folder; the copy is then made again.",
            ) from error

    def _copy(self, partition: Partition) -> Path:
        """The folder of a partition's copy, made if it is not there."""
        target = self._folder / f"{partition.day}-{digest(partition)[:16]}"
        if target.is_dir():
            return target
        private_folder(self._folder)
        with reaching("write", target):
            made = Path(mkdtemp(dir=self._folder, prefix=".making-"))
            try:
                for entity in self._plan.entities:
                    (path,) = self._store.paths([partition], entity)
                    _write_table(made / entity, in_key_order(pq.read_table(path)))
                made.rename(target)
            except OSError:
                # Another scorer of this machine may have made it in the meantime.
                if not target.is_dir():
                    raise
            finally:
                shutil.rmtree(made, ignore_errors=True)
        self._remove_old(target)
        return target

    def _remove_old(self, newest: Path) -> None:
        """Remove copies but the last few that were made; by name the newest could be first, as its digest may be."""
        others = [path for path in self._folder.iterdir() if path.name[0] != "." and path != newest]
        with suppress(FileNotFoundError):
            # Another scorer of this machine may remove them too.
            others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in others[COPIES_KEPT - 1 :]:
            # What another scorer has mapped stays readable for it.
            shutil.rmtree(old, ignore_errors=True)


def _write_table(folder: Path, table: pa.Table) -> None:
    """The keys and the statistics of an entity as files that can be mapped into memory."""
    folder.mkdir()
    keys = key_array(table.column(0))
    if isinstance(keys, np.ndarray):
        np.save(folder / KEYS, keys)
    else:
        with pa.OSFile(str(folder / KEYS_AS_TEXT), "wb") as sink, pa.ipc.new_file(sink, _key_schema()) as writer:
            writer.write_table(pa.table({"key": keys}))
    np.save(folder / VALUES, state_values(table))
    times = [name for name in table.column_names[1:] if pa.types.is_timestamp(table.schema.field(name).type)]
    (folder / ABOUT).write_text(json.dumps({"names": table.column_names[1:], "times": times}))


def _key_schema() -> pa.Schema:
    return pa.schema([("key", pa.large_string())])


def _open_table(folder: Path, plan: FeaturePlan, entity: str) -> StateTable:
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    if tuple(about["names"]) != state_columns(plan, entity):
        raise IntegrityError(f"the state of {entity} in {folder} has other columns than its features read")
    if (folder / KEYS).is_file():
        keys = SortedKeys(np.load(folder / KEYS, mmap_mode="r"))
    else:
        with pa.memory_map(str(folder / KEYS_AS_TEXT)) as source:
            keys = SortedKeys(pa.ipc.open_file(source).read_all().column("key").combine_chunks())
    return StateTable(keys, np.load(folder / VALUES, mmap_mode="r"), about["names"], about["times"])
