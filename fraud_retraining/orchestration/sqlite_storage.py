"""Dagster's SQLite storage with engines that are kept.

Here: how its three stores connect. Not here: what they store and where, which is Dagster's own: files of this storage
and of `storage: sqlite` are the same.

As shipped, each statement gets an engine of its own, for which SQLAlchemy compiles it anew, and a connection of its
own, whose end moves what was written into the file and waits for the disk: half of what a run costs besides its work.
"""

import atexit
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Self

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

KEPT = 16
"""Engines: the event log has a file for each run, and a process works on few at a time."""
FILE = "file"

_KEPT: OrderedDict[tuple[str, float | None, int], Engine] = OrderedDict()
_KEEPING = Lock()


def _engine(address: str, timeout_seconds: float | None = None) -> Engine:
    """The engine of a file; the one that was longest unused makes room for a new one, and closes its connection."""
    # A connection must not be used on both sides of a fork.
    key = (address, timeout_seconds, os.getpid())
    with _KEEPING:
        engine = _KEPT.get(key) or _KEPT.setdefault(key, _new_engine(address, timeout_seconds))
        _KEPT.move_to_end(key)
        unused = [_KEPT.popitem(last=False) for _ in range(len(_KEPT) - KEPT)]
    for (_, _, process), one in unused:
        # The connections of the process that this one was forked from are its own to close.
        one.dispose(close=process == os.getpid())
    return engine


@atexit.register
def close_connections() -> None:
    """Close what this process keeps; what was written beside the files is moved into them. They open again by use."""
    with _KEEPING:
        kept = list(_KEPT.items())
        _KEPT.clear()
    for (_, _, process), engine in kept:
        engine.dispose(close=process == os.getpid())


def _new_engine(address: str, timeout_seconds: float | None) -> Engine:
    """An engine that keeps one connection; threads that need more at a time open and close their own."""
    arguments: dict[str, Any] = {"check_same_thread": False}
    if timeout_seconds is not None:
        arguments["timeout"] = timeout_seconds
    engine = create_engine(address, poolclass=QueuePool, pool_size=1, max_overflow=-1, connect_args=arguments)
    path = engine.url.database
    event.listen(engine, "connect", lambda _, record: record.info.update({FILE: _identity(path)}))
    event.listen(engine, "checkout", lambda _, record, __: _refuse_another_file(path, record.info))
    return engine


def _identity(path: str | None) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        found = os.stat(path or "")
        return found.st_dev, found.st_ino
    return None


def _refuse_another_file(path: str | None, info: dict[Any, Any]) -> None:
    """Have the pool connect anew where a file was removed, or another one put in its place."""
    found = _identity(path)
    if info[FILE] is None:
        # SQLite makes a new file with the first statement, after it connected.
        info[FILE] = found
    elif found != info[FILE]:
        raise DisconnectionError(f"{path} is another file now")


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
            # A run's file that was deleted since is made anew, as empty: its tables are asked for all the same.
            if shard not in self._initialized_dbs or not os.path.exists(self.path_for_shard(shard)):
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                before = _rows_written(connection)
                yield connection
                written = _rows_written(connection) != before
            if written:
                # Dagster's UI watches a run's file, and what is written lies beside it for a while.
                with suppress(FileNotFoundError):
                    os.utime(self.path_for_shard(shard))

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run, and the file that holds them: without its rows it would stay as large."""
        super().delete_events(run_id)
        with self._db_lock:
            self._initialized_dbs.discard(run_id)
            for beside in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path_for_shard(run_id)}{beside}")


def _rows_written(connection: Connection) -> int:
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return int(driver.total_changes)


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
