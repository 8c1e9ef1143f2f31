"""Dagster's SQLite storage with kept engines: the same files, and statements that are compiled once."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy.sql.compiler import SQLCompiler

from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.sqlite_storage import (
    KEPT,
    EventLogStorage,
    SqliteStorage,
    _engine,
    close_connections,
)


@dg.asset
def number() -> int:
    """Any asset."""
    return 1


def opened(storage: type[DagsterSqliteStorage], folder: Path) -> dg.DagsterInstance:
    """An instance whose state lies in a folder, through that storage."""
    named = {"module": storage.__module__, "class": storage.__name__, "config": {"base_dir": str(folder)}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": named}}))
    return dg.DagsterInstance.from_config(str(folder))


def materialize(instance: dg.DagsterInstance) -> str:
    """Id of a run that made the asset."""
    return dg.materialize([number], instance=instance).run_id


def until(happened: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether it happened within that time."""
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def test_the_project_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    with open_instance() as instance:
        data = instance.get_ref().storage_data
    assert data is not None
    assert isinstance(data.rehydrate(as_type=DagsterSqliteStorage), SqliteStorage)


@pytest.mark.parametrize(
    ("writes", "reads"), [(SqliteStorage, DagsterSqliteStorage), (DagsterSqliteStorage, SqliteStorage)]
)
def test_its_files_are_those_of_dagsters_own_storage(
    writes: type[DagsterSqliteStorage], reads: type[DagsterSqliteStorage], tmp_path: Path
) -> None:
    with opened(writes, tmp_path) as instance:
        first = materialize(instance)
        wrote = [entry.dagster_event for entry in instance.all_logs(first)]
    with opened(reads, tmp_path) as instance:
        assert [entry.dagster_event for entry in instance.all_logs(first)] == wrote
        second = materialize(instance)
        assert {run.run_id for run in instance.get_runs()} == {first, second}
        latest = instance.get_latest_materialization_event(number.key)
        assert latest is not None
        assert latest.run_id == second


def test_statements_are_compiled_once_and_not_at_each_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    as_shipped = SQLCompiler.__init__

    def counted(self: SQLCompiler, *arguments: object, **more: object) -> None:
        compiled.append(self)
        as_shipped(self, *arguments, **more)

    def compilations(storage: type[DagsterSqliteStorage]) -> int:
        folder = tmp_path / storage.__name__
        folder.mkdir()
        with opened(storage, folder) as instance:
            run = instance.create_run_for_job(dg.Definitions([number]).resolve_implicit_global_asset_job_def())
            compiled.clear()
            for _ in range(10):
                instance.report_engine_event("An event.", run)
                instance.get_run_by_id(run.run_id)
            return len(compiled)

    monkeypatch.setattr(SQLCompiler, "__init__", counted)
    assert compilations(SqliteStorage) * 3 < compilations(DagsterSqliteStorage)


def test_a_home_that_was_emptied_is_filled_anew(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    for _ in range(2):
        folder.mkdir()
        with opened(SqliteStorage, folder) as instance:
            run = materialize(instance)
            assert [found.run_id for found in instance.get_runs()] == [run]
            assert instance.all_logs(run)
        shutil.rmtree(folder)


def test_connections_are_kept_within_a_process_and_not_across_a_fork(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance:
        run = materialize(instance)
        storage = instance.event_log_storage
        assert isinstance(storage, EventLogStorage)

        def connection() -> int:
            with storage.run_connection(run) as opened_:
                return id(opened_.connection.dbapi_connection)

        assert connection() == connection()
        child = os.fork()
        if not child:
            os._exit(_engine(storage.conn_string_for_shard(run), SQLITE_BUSY_TIMEOUT_SECONDS).pool.checkedin())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_watches_a_run_hears_of_its_events(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance:
        run = instance.create_run_for_job(dg.Definitions([number]).resolve_implicit_global_asset_job_def())
        instance.report_engine_event("Begun.", run)
        heard: list[str] = []
        watching = instance.event_log_storage
        watching.watch(run.run_id, None, lambda entry, _: heard.append(entry.user_message or entry.message))
        try:
            instance.report_engine_event("Gone on.", run)
            assert until(lambda: any("Gone on." in one for one in heard))
        finally:
            watching.dispose()


def test_reading_marks_nothing_as_changed_or_a_watcher_would_wake_itself(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance:
        run = materialize(instance)
        storage = instance.event_log_storage
        assert isinstance(storage, EventLogStorage)
        file = Path(storage.path_for_shard(run))
        before = file.stat().st_mtime_ns
        assert instance.all_logs(run)
        assert file.stat().st_mtime_ns == before


def test_a_run_whose_events_another_process_deleted_has_none(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance, opened(SqliteStorage, tmp_path) as another:
        run = materialize(instance)
        assert another.all_logs(run)
        instance.event_log_storage.delete_events(run)
        assert another.all_logs(run) == instance.all_logs(run) == []


def test_of_many_runs_few_files_are_held_open(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, EventLogStorage)
        for number in range(3 * KEPT):
            with storage.run_connection(f"run-{number}"):
                pass
        held = {name for link in Path("/proc/self/fd").iterdir() if "/run-" in (name := target_of(link))}
    assert 0 < len({name for name in held if name.endswith(".db")}) <= KEPT


def target_of(link: Path) -> str:
    """The file of a descriptor; nothing where it is closed meanwhile."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def test_closed_files_stand_alone_and_open_again_by_use(tmp_path: Path) -> None:
    with opened(SqliteStorage, tmp_path) as instance:
        run = materialize(instance)
        assert list(tmp_path.rglob("*-wal"))
        close_connections()
        assert not list(tmp_path.rglob("*-wal")) and not list(tmp_path.rglob("*-shm"))
        assert instance.all_logs(run)
