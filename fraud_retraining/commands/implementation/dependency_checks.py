"""Checks of everything that the settings name: lake, store, ledger, MLflow, Redis, alerts, Dagster, clocks.

Here: what each is asked, and the words for its answer. Not here: this machine (`machine_checks.py`). Nothing is made,
migrated or locked; what is written as a test is gone again.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from fraud_retraining.adapters.alerts.destination import Destination, lacking
from fraud_retraining.adapters.alerts.registry import DESTINATIONS
from fraud_retraining.adapters.ledger.inspection import inspect_ledger
from fraud_retraining.adapters.ledger.migrations import HEAD
from fraud_retraining.adapters.ledger.signing_keys import EVERYBODY, KEY_VARIABLE, readers_of
from fraud_retraining.adapters.mlflow.inspection import SERVER, ask_server, folder_of, inspect_database
from fraud_retraining.adapters.online.redis_server import RedisServer
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.spark_jobs import checked_release
from fraud_retraining.commands.implementation.diagnosis import Answer, Check, fail, ok, warn
from fraud_retraining.commands.implementation.machine_checks import disk_answer, nearest, write_problem
from fraud_retraining.commands.support.output import first_names
from fraud_retraining.domain.data.lake_columns import column_problems, columns_there, unusable_columns
from fraud_retraining.domain.data.segments import untold
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid, DependencyUnreachable, SettingsError
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.orchestration.instance import open_instance, storage_revisions
from fraud_retraining.orchestration.resources import job_service, open_lake, open_location_of, open_signed_rows
from fraud_retraining.orchestration.runs.health import automation_health
from fraud_retraining.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

RECENT = timedelta(days=62)
SKEW_SEEN, SKEW_HARMFUL = timedelta(seconds=30), timedelta(seconds=300)
"""Above the second, S3 begins to refuse signatures and live transactions seem to come from the future."""
START = "start it: `fraud-retraining dev`, or `dagster-daemon run` as a service (docs/operations.md)."
NO_WRITE = "give this account access to it, or name another place in the settings."


def dependency_checks(settings: Settings, seconds: float) -> list[Check]:
    """A check for each dependency that the settings name; each gives up after `seconds` by itself."""
    settings = _impatient(settings, seconds)
    checks = [Check("lake", lambda: _lake(settings))]
    if "://" not in settings.lake_uri:
        checks.append(Check("columns", lambda: _columns(settings)))
    if settings.labels.uri is not None:
        checks.append(Check("label feed", lambda: _label_feed(settings)))
    checks += [
        Check("store", lambda: _store(settings)),
        Check("ledger", lambda: _ledger(settings)),
        *([Check("ledger key", lambda: _ledger_key(settings))] if settings.ledger.signers else []),
        Check("mlflow", lambda: _mlflow(settings, seconds)),
    ]
    if settings.engine.submit is not None:
        checks.append(Check("spark jobs", lambda: ok(checked_release(job_service(settings)))))
    checks += [*_redis_checks(settings), *_alert_checks(settings)]
    for one in settings.each_model() if settings.models else ():
        # What is as it is for all has a row already.
        own = _redis_checks(one) if one.serving != settings.serving else []
        same = one.alerts.model_copy(update={"links": settings.alerts.links}) == settings.alerts
        own += [] if same else _alert_checks(one)
        if one.own_columns and "://" not in settings.lake_uri:
            own.append(Check("columns", partial(_own_columns, one)))
        checks += [Check(f"{one.segment}: {check.name}", check.ask) for check in own]
    return [*checks, Check("clock", lambda: _clock(settings, seconds))]


def _redis_checks(settings: Settings) -> list[Check]:
    serving, url = settings.serving, settings.serving.redis_url
    if serving.state_store != "redis" or url is None:
        return []
    return [Check("redis", lambda: _redis(url, serving.redis_timeout_seconds))]


def _alert_checks(settings: Settings) -> list[Check]:
    return [Check(one.title, partial(_alerts_by, one, settings)) for one in DESTINATIONS if one.is_on(settings.alerts)]


def dagster_checks(repositories: Sequence[str] = ("",)) -> list[Check]:
    """Checks of Dagster's own storage, its daemon, and the schedules and sensors of these repositories."""
    sensors = Check("sensors", partial(_sensors, repositories))
    return [Check("dagster storage", _dagster_storage), Check("daemon", _daemon), sensors]


def _impatient(settings: Settings, seconds: float) -> Settings:
    """The settings with every deadline of S3 and Athena within that of a check."""
    s3 = settings.lake.s3
    transfer = s3.transfer.model_copy(
        update={
            "deadline_seconds": min(s3.transfer.deadline_seconds, seconds),
            "connect_seconds": min(s3.transfer.connect_seconds, seconds),
            "read_seconds": min(s3.transfer.read_seconds, seconds),
        }
    )
    table = settings.lake.athena
    if table is not None:
        table = table.model_copy(update={"listing_seconds": min(table.listing_seconds, seconds)})
    lake = settings.lake.model_copy(update={"s3": s3.model_copy(update={"transfer": transfer}), "athena": table})
    return settings.model_copy(update={"lake": lake})


def _lake(settings: Settings) -> Answer:
    if settings.lake.athena is not None:
        return _days_of(open_lake(settings), "lake", "look at lake.day: SQL of a row's UTC day (docs/lake.md).")
    return _days_of(open_lake(settings), "lake.uri", "days arrive under year=YYYY/month=MM/day=DD/ (docs/lake.md).")


def _label_feed(settings: Settings) -> Answer:
    feed = open_lake(settings).label_feed
    assert feed is not None
    return _days_of(feed, "labels.uri", "labels arrive under year=YYYY/month=MM/day=DD/ by the day known.")


def _days_of(lake: Lake, setting: str, remedy: str) -> Answer:
    today = datetime.now(UTC).date()
    # The last months alone at first: a lake of years on S3 takes long to list.
    recent = lake.listing(DayRange(start=today - RECENT, end=today))
    found = recent if recent.days else lake.listing()
    if not found.days:
        aside = f"; {len(found.set_aside)} set aside, such as {found.set_aside[0]}" if found.set_aside else ""
        return warn(f"{lake.uri} can be read, and holds no day{aside}", remedy)
    unreadable = [day for day, files in found.days.items() if files.unreadable]
    words = f"{lake.uri} can be read; last day {max(found.days)}"
    if unreadable:
        return warn(f"{words}; days with unreadable files: {first_names(unreadable)}", "deliver these days again.")
    if found.set_aside:
        return warn(
            f"{words}; {len(found.set_aside)} set aside, such as {found.set_aside[0]}",
            f"move what is no day out of {setting}, or correct its name; the days go on.",
        )
    return ok(words)


def _columns(settings: Settings) -> Answer:
    """Names and types of the latest day, as its files say; what single models alone ask for is looked at apart."""
    latest = _latest_schemas(settings)
    if isinstance(latest, Answer):
        return latest
    day, schemas = latest
    problems = column_problems(schemas, settings.mapping)
    if problems:
        return fail(
            f"{day}: {'; '.join(problems[:5])}",
            "map the lake's columns under `columns`, `entities` and `features`; `retraining.yaml` explains them.",
            DataInvalid,
        )
    mapping = settings.mapping
    required = [name for name in mapping.lake_names if name not in mapping.asked_by]
    return ok(f"{len(required)} mapped columns are in {day}, with types that fit")


def _own_columns(settings: Settings) -> Answer:
    """The columns that this model of several alone asks for, in the latest day."""
    latest = _latest_schemas(settings)
    if isinstance(latest, Answer):
        return latest
    day, schemas = latest
    unusable = unusable_columns(schemas, settings.mapping)
    facts = {"unusable_columns": unusable, "columns_there": columns_there(schemas, unusable)}
    if (why := untold(day, settings.own_columns, facts)) is not None:
        return fail(f"{why.what}: {'; '.join(why.culprits)}", why.remedy, DataInvalid)
    return ok(f"{', '.join(settings.own_columns)}: in {day}, with types that fit")


def _latest_schemas(settings: Settings) -> "tuple[date, dict[str, pa.Schema]] | Answer":
    """The latest day of a lake in a folder, and the schema of each of its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        days = open_lake(settings).days()
    # The check of the lake says so.
    except DataInvalid:
        days = {}
    if not days:
        return warn("no day to compare the mapping with", "look again once a day has arrived.")
    latest = max(days)
    root = FolderLocation(Path(settings.lake_uri.removeprefix("file://")).expanduser().absolute()).uri
    try:
        schemas = {info.path: pq.read_schema(Path(root) / info.path) for info in days[latest].files}
    except (OSError, pa.ArrowException) as error:
        return fail(f"a file of {latest} cannot be read: {error}", "deliver the day again.", DataInvalid)
    return latest, schemas


def _store(settings: Settings) -> Answer:
    uri = settings.store_uri
    if "://" not in uri or uri.startswith("file:"):
        folder = Path(uri.removeprefix("file://")).expanduser().absolute()
        if problem := write_problem(folder):
            return fail(problem, NO_WRITE, DependencyUnreachable)
        space = disk_answer(folder)
        there = f"{folder} can be written" if folder.exists() else f"{folder} is not there yet, and can be made"
        return space._replace(found=f"{there}; {space.found}")
    place = open_location_of(settings, uri)
    name = f".doctor-{uuid4().hex}"
    try:
        place.write_bytes(name, name.encode())
        same = place.read_bytes(name) == name.encode()
    finally:
        place.delete(name)
    if not same:
        return fail(f"{uri} gives other bytes than were written", "look at what stands before it.", SettingsError)
    return ok(f"{uri} can be written, read and deleted from")


def _ledger(settings: Settings) -> Answer:
    seen, shown = inspect_ledger(settings.ledger_url), redact(settings.ledger_url)
    if seen is None or seen.revision is None:
        return ok(f"{shown} is not there yet; the first command makes it")
    if not seen.appendable:
        return fail(
            f"{shown} can be read, and not appended to",
            "give this account the permission: `fraud-retraining audit grant`, or write access to the file.",
            DependencyUnreachable,
        )
    if seen.revision > HEAD:
        return fail(
            f"{shown} has revision {seen.revision}, written by a newer version ({HEAD} here)",
            "install that version or a newer one.",
            SettingsError,
        )
    if seen.revision < HEAD:
        return warn(
            f"{shown} has revision {seen.revision} of {HEAD}",
            "back it up; the next command of an account that may change tables migrates it.",
        )
    return ok(f"{shown} can be appended to, revision {seen.revision} of {HEAD}")


def _ledger_key(settings: Settings) -> Answer:
    """The private key of this process: whether it is that of a signer, and who else may read it."""
    policy = settings.ledger
    key = open_signed_rows(settings).key()
    signer = policy.signers[key.signer]
    if signer.through is not None:
        return fail(
            f"this process has the key of {key.signer}, which was good up to row {signer.through} only",
            f"give it the key of another signer; ledger.signers.{key.signer}.through says that this one was replaced.",
            SettingsError,
        )
    words = f"events are signed as {key.signer}, which may write {signer.writes}"
    if policy.key_file is None or os.environ.get(KEY_VARIABLE, "").strip():
        return ok(f"{words}; the key is in {KEY_VARIABLE}")
    others = readers_of(policy.key_file)
    if others == EVERYBODY:
        return fail(
            f"{others} can read {policy.key_file}", f"make a new key; chmod 600 {policy.key_file}", SettingsError
        )
    if others:
        return warn(f"{words}; {others} can read {policy.key_file}", f"chmod 600 {policy.key_file}")
    return ok(f"{words}; only its owner can read {policy.key_file}")


def _mlflow(settings: Settings, seconds: float) -> Answer:
    uri = settings.tracking_uri
    shown, scheme = redact(uri), uri.partition(":")[0]
    if scheme in SERVER:
        experiments = ask_server(uri, min(settings.mlflow.timeout_seconds, seconds))
        return ok(f"{shown} answers{'' if experiments else ', and shows no experiment yet'}")
    if "://" not in uri or scheme == "file":
        folder = folder_of(uri)
        problem = write_problem(folder)
        return fail(problem, NO_WRITE, DependencyUnreachable) if problem else ok(f"{folder} can be written")
    seen = inspect_database(uri)
    if seen is None or seen.revision is None:
        return ok(f"{shown} is not there yet; the first command makes it")
    if seen.revision != seen.wanted:
        return fail(
            f"{shown} has another schema ({seen.revision}) than the installed MLflow ({seen.wanted})",
            "back it up, then `mlflow db upgrade ADDRESS`; a schema of a newer MLflow needs that MLflow.",
            SettingsError,
        )
    return ok(f"{shown}, schema {seen.revision}")


def _redis(url: str, seconds: float) -> Answer:
    server = RedisServer(url, seconds)
    server.check()
    return ok(f"{server.address} answers, and keeps what it is given")


def _alerts_by(destination: Destination, settings: Settings) -> Answer:
    """Whether this process has what a destination of alerts needs; nothing is sent."""
    policy = settings.alerts
    missing = lacking(destination, policy, os.environ)
    if missing:
        return warn(
            f"{' and '.join(missing)} not set here: alerts go to a file and the log",
            "set it in the environment of the daemon (docs/alerts.md).",
        )
    if unfit := destination.unfit(policy, os.environ):
        return fail("; ".join(unfit), "correct it in the environment (docs/alerts.md).", SettingsError)
    return ok(destination.summary(policy))


def _dagster_storage() -> Answer:
    revisions = storage_revisions()
    if revisions is None:
        return ok("not there yet; the first command makes it")
    behind = [f"{name} {there} ({wanted})" for name, (there, wanted) in revisions.items() if there != wanted]
    if behind:
        return fail(
            f"another schema than the installed Dagster has: {', '.join(behind)}",
            "back it up, stop daemon and web server, then `dagster instance migrate`.",
            SettingsError,
        )
    return ok("runs, events and schedules have the installed Dagster's schema")


def _daemon() -> Answer:
    if storage_revisions() is None:
        return warn("never ran; nothing happens by itself until it does", START)
    daemon = automation_health(open_instance(), datetime.now(UTC)).daemon
    if daemon.startswith("stopped"):
        return fail(daemon, START, DependencyUnreachable)
    return warn(daemon, START) if daemon.startswith("never") else ok(daemon)


def _sensors(repositories: Sequence[str]) -> Answer:
    if storage_revisions() is None:
        return ok("none has run yet")
    instance = open_instance()
    problems = [
        one
        for repository in repositories
        for one in automation_health(instance, datetime.now(UTC), repository).problems
        if not one.startswith("the Dagster daemon")
    ]
    if problems:
        return fail("; ".join(problems), "look at its ticks in Dagster's UI; docs/runbook.md.", DependencyUnreachable)
    off = sorted(state.name for state in instance.all_instigator_state() if not state.is_running)
    if off:
        return warn(f"switched off: {first_names(off)}", "switch on in Dagster's UI what should happen by itself.")
    return ok("none fails, none was switched off")


def _clock(settings: Settings, seconds: float) -> Answer:
    skews = dict(_skews(settings, seconds))
    if not skews:
        return _clock_of_files(settings)
    name, worst = max(skews.items(), key=lambda item: abs(item[1]))
    words = f"{abs(worst.total_seconds()):.0f} s {'behind' if worst > timedelta() else 'ahead of'} {name}"
    remedy = "synchronise this machine's clock (NTP)."
    if abs(worst) > SKEW_HARMFUL:
        return fail(words, remedy, DependencyUnreachable)
    if abs(worst) > SKEW_SEEN:
        return warn(words, remedy)
    return ok(f"within {SKEW_SEEN.seconds} s of {', '.join(skews)}")


def _skews(settings: Settings, seconds: float) -> Iterator[tuple[str, timedelta]]:
    """How far other machines are ahead of this one, by name; those that do not answer have checks of their own."""
    with suppress(DependencyUnreachable, SettingsError):
        seen = inspect_ledger(settings.ledger_url)
        if seen is not None and seen.now is not None:
            yield "the ledger's database", seen.now - datetime.now(UTC)
    servers = {"MLflow": settings.tracking_uri} if settings.tracking_uri.partition(":")[0] in SERVER else {}
    if any(uri.startswith("s3") for uri in (settings.lake_uri, settings.store_uri, settings.labels.uri or "")):
        region = settings.lake.s3.region or os.environ.get("AWS_REGION") or "us-east-1"
        servers["S3"] = settings.lake.s3.endpoint or f"https://s3.{region}.amazonaws.com"
    for name, address in servers.items():
        if (moment := _date_of(address, seconds)) is not None:
            yield name, moment - datetime.now(UTC)


def _date_of(address: str, seconds: float) -> datetime | None:
    """The time of a web server, from its answer's `Date`, whatever else it says; None where it says none."""
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            stated = answer.headers["Date"]
    except urllib.error.HTTPError as refused:
        stated = refused.headers["Date"]
    except (OSError, ValueError):
        return None
    try:
        return parsedate_to_datetime(stated) if stated else None
    except ValueError:
        return None


def _clock_of_files(settings: Settings) -> Answer:
    """Without another machine: whether this one's clock was set back behind what it has written."""
    home, now = nearest(settings.home), datetime.now(UTC)
    newest = max(
        (datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in home.glob("*.db") if file.is_file()), default=now
    )
    if newest - now > SKEW_SEEN:
        return warn(
            f"{now:%Y-%m-%d %H:%M:%S} UTC, and files of {home} are of {newest:%Y-%m-%d %H:%M:%S}",
            "synchronise this machine's clock (NTP).",
        )
    return ok(f"{now:%Y-%m-%d %H:%M:%S} UTC; no other machine to compare it with")
