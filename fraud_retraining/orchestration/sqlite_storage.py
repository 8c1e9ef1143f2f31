"""Dagster's SQLite storage with engines that are kept.

Here: how its three stores connect. Not here: what they store and where, which is Dagster's own: files of this storage
and of `storage: sqlite` are the same.

As shipped, each statement gets an engine of its own, for which SQLAlchemy compiles it anew: a fifth of what a run costs
besides its work. Engines hold no connection (`NullPool`), so keeping them holds no file open.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

KEPT = 16
"""Engines: the event log has a file for each run, and a process works on few at a time."""


@lru_cache(maxsize=KEPT)
def _engine(address: str, timeout_seconds: float | None = None) -> Engine:
    arguments = {} if timeout_seconds is None else {"timeout": timeout_seconds}
    return create_engine(address, poolclass=NullPool, connect_args=arguments)


class RunStorage(SqliteRunStorage):
    """Runs, each statement compiled once a process."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection


class ScheduleStorage(SqliteScheduleStorage):
    """Ticks and states of sensors and schedules, each statement compiled once a process."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction."""
        with _engine(self._conn_string).begin() as connection:
            yield connection


class EventLogStorage(SqliteEventLogStorage):
    """Events, each statement compiled once for a run's file."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = _engine(self.conn_string_for_shard(shard), SQLITE_BUSY_TIMEOUT_SECONDS)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection


class SqliteStorage(DagsterSqliteStorage):
    """The storage that `dagster.yaml` names."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        runs, events, schedules = self._run_storage, self._event_log_storage, self._schedule_storage
        self._run_storage = RunStorage(runs._conn_string)
        self._event_log_storage = EventLogStorage(events._base_dir)
        self._schedule_storage = ScheduleStorage(schedules._conn_string)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage of a `dagster.yaml`, `base_dir` being its folder."""
        return cls.from_local(inst_data=inst_data, **config_value)
