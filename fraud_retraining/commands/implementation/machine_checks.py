"""Checks of this machine: Python, packages, the home folder, disk space.

Here: what is read from the machine alone. Not here: what the settings name (`dependency_checks.py`).
"""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distributions, metadata, requires
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import fraud_retraining
from fraud_retraining.adapters.alerts.file import ALERT_FILE
from fraud_retraining.adapters.mlflow.environment import OTHER_BUILDS
from fraud_retraining.adapters.mlflow.gpu import INSTALL as INSTALL_GPU
from fraud_retraining.adapters.mlflow.gpu import device_problems, gpus, wants_gpu
from fraud_retraining.adapters.storage.private_files import exposed
from fraud_retraining.adapters.storage.spark_session import java_version, require_spark
from fraud_retraining.commands.implementation.diagnosis import Answer, Check, fail, ok, warn
from fraud_retraining.commands.support.output import first_names
from fraud_retraining.domain.data.engine_policy import fit_problems
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining.settings import LEDGER_FILE, MLFLOW_FILE, Settings, home_folder

PACKAGE, LOCK = "fraud-retraining", "requirements.lock"
GIB = 2**30
LEAST_BYTES, SCARCE_BYTES = GIB, 5 * GIB
INSTALL = "install it again: `make install` in a checkout, else `pip install` with its requirements.lock."


def machine_checks() -> list[Check]:
    """The checks that need no settings."""
    return [
        Check("python", _python),
        Check("packages", _packages),
        Check("lock", _lock),
        Check("home", _home),
        Check("disk", lambda: disk_answer(home_folder())),
    ]


def gpu_checks(settings: Settings) -> list[Check]:
    """The check of the GPU, where models are to be fitted on one."""
    return [Check("gpu", lambda: _gpu(settings.model))] if wants_gpu(settings.model) else []


def spark_checks(settings: Settings) -> list[Check]:
    """The check of PySpark and Java, where days are made by Spark."""
    engine = settings.engine
    # Where jobs are submitted, PySpark and Java are theirs.
    return [Check("spark", lambda: _spark(settings))] if engine.kind == "spark" and engine.submit is None else []


def _spark(settings: Settings) -> Answer:
    try:
        require_spark()
    except SettingsError as error:
        return fail(error.what, error.remedy, SettingsError)
    engine, fits = settings.engine, [one.model for one in settings.each_model() if one.model.trainer == "spark"]
    workers = max((one.trainer_workers or 0 for one in fits), default=0)
    if workers and (problems := fit_problems(engine, workers, os.cpu_count())):
        return fail("; ".join(problems), "change model.trainer_workers, engine.master or engine.config.", SettingsError)
    fitted = f", fits by {workers} workers at once" if workers else ""
    return ok(f"PySpark {installed().get('pyspark')} on Java {java_version()}, master {engine.master}{fitted}")


def _gpu(model: ModelPolicy) -> Answer:
    if problems := device_problems(model):
        return fail("; ".join(problems), f"{INSTALL_GPU}; or take device out of model.params.", SettingsError)
    return ok(", ".join(gpus()))


def _python() -> Answer:
    running, wanted = platform.python_version(), metadata(PACKAGE)["Requires-Python"]
    if not SpecifierSet(wanted).contains(running, prereleases=True):
        return fail(f"{running}; {wanted} is needed", f"use another Python and {INSTALL}", SettingsError)
    return ok(f"{running} at {sys.prefix}")


def installed() -> dict[str, str]:
    """The version of every installed package, by its canonical name."""
    return {canonicalize_name(one.metadata["Name"]): one.version for one in distributions() if one.metadata["Name"]}


def _packages() -> Answer:
    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        return fail(f"{PACKAGE} is not installed for this Python", INSTALL, SettingsError)
    problems = list(unmet(wanted, installed()))
    if problems:
        return fail(first_names(problems), INSTALL, SettingsError)
    return ok(f"{PACKAGE} {metadata(PACKAGE)['Version']} with what it needs")


def unmet(wanted: list[Requirement], there: Mapping[str, str]) -> Iterator[str]:
    """Requirements of the package itself, without extras, that what is installed does not meet.

    >>> list(unmet([Requirement("numpy>=2"), Requirement("redis>=5; extra == 'redis'")], {"numpy": "1.26.4"}))
    ['numpy 1.26.4 is there, >=2 is needed']
    """
    for one in wanted:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        version = there.get(canonicalize_name(one.name)) or there.get(OTHER_BUILDS.get(one.name, ""))
        if version is None:
            yield f"{one.name} is not installed"
        elif not one.specifier.contains(version, prereleases=True):
            yield f"{one.name} {version} is there, {one.specifier} is needed"


def _lock() -> Answer:
    file = Path(fraud_retraining.__file__).parents[1] / LOCK
    if not file.is_file():
        return ok(f"no {LOCK} beside the installed package: versions are not compared")
    pinned = pins(file.read_text(encoding="utf-8"))
    there = installed()
    other = [f"{name} {there[name]} ({pin})" for name, pin in pinned.items() if there.get(name, pin) != pin]
    if other:
        count = f"{len(other)} of {len(pinned)} packages are not as pinned: " if len(other) > 1 else "not as pinned: "
        return warn(
            count + first_names(other),
            f"tests ran with the pinned versions, which also make up fingerprints; {INSTALL}",
        )
    return ok(f"{sum(name in there for name in pinned)} packages as pinned")


def pins(lock: str) -> dict[str, str]:
    r"""The pinned versions of a lock file that apply to this Python and platform, by canonical name.

    >>> pins("numpy==2.4.0 ; python_version >= '3' \\\n    --hash=sha256:00\nnumpy==1.0 ; python_version < '3'\n")
    {'numpy': '2.4.0'}
    """
    found: dict[str, str] = {}
    for line in lock.splitlines():
        if "==" not in line or line[:1].isspace():
            continue
        try:
            pin = Requirement(line.rstrip("\\ "))
        except InvalidRequirement:
            continue
        if pin.marker is None or pin.marker.evaluate({"extra": ""}):
            found[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    return found


def nearest(place: Path) -> Path:
    """The place, or the nearest folder above it that exists."""
    return next(one for one in (place, *place.parents) if one.exists())


def write_problem(folder: Path) -> str:
    """Why a folder, or the one above it that exists, cannot be written to; empty where it can. Nothing is left."""
    there = nearest(folder)
    if not there.is_dir():
        return f"{there} is a file, not a folder"
    try:
        # Without a name where the system can (O_TMPFILE): a kill leaves nothing either.
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        return f"cannot write to {there}: {error.strerror or error}"
    return ""


def _home() -> Answer:
    home = home_folder()
    if problem := write_problem(home):
        return fail(
            problem,
            "give the account that runs this the folder, or set FRAUD_RETRAINING_HOME to one that it may write.",
            DependencyUnreachable,
        )
    if not home.exists():
        return ok(f"{home} is not there yet; the first command makes it")
    open_to_others = list(exposed(home, (home / name for name in (LEDGER_FILE, MLFLOW_FILE, ALERT_FILE))))
    if open_to_others:
        commands = [line.rpartition(": ")[2] for line in open_to_others]
        places = [line.rpartition(": ")[0] for line in open_to_others]
        return warn("; ".join(places), " && ".join(commands))
    return ok(f"{home}, writable, and closed to other accounts")


def disk_answer(place: Path) -> Answer:
    """Free space of the disk that a place is on, or will be."""
    there = nearest(place)
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {there}"
    if free < LEAST_BYTES:
        return fail(found, "free space there, or move FRAUD_RETRAINING_HOME to a larger disk.", DependencyUnreachable)
    if free < SCARCE_BYTES:
        return warn(found, "free some: the store, spilled queries and Dagster's logs grow; `fraud-retraining clean`.")
    return ok(found)
