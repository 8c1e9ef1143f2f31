"""The code and the libraries that a model is made by.

Here: reading sources and versions. Not here: which parts of the code determine a model
(`adapters/mlflow/code_versions.py`) and what their versions are part of (`domain/training/fingerprint.py`).
"""

import ast
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path

from fraud_retraining.domain.releases.candidate import Environment
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.values.digests import digest

PACKAGE, OWN = "fraud-retraining", "fraud_retraining"
LOCK = "requirements.lock"
GIT_SECONDS = 10
OTHER_BUILDS = {"xgboost-cpu": "xgboost"}
"""A distribution, and another build of the same library that may be installed in its place."""
FITTING_LIBRARIES = ("duckdb", "ibis-framework", "numpy", "pyarrow", "scikit-learn", "xgboost-cpu")


@cache
def content(modules: tuple[str, ...]) -> str:
    """SHA-256 over what modules do: without comments, docstrings, layout, and the names of this package's modules.

    A file that moves keeps it, and it is the same under every version of Python.
    """
    trees = [ast.parse(_source(name).read_text(encoding="utf-8")) for name in modules]
    return sha256("\n".join(map(_essence, trees)).encode()).hexdigest()


def _essence(node: object) -> str:
    if isinstance(node, list):
        return f"[{','.join(_essence(one) for one in node if not _is_left_out(one))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    return f"{type(node).__name__}({','.join(f'{name}={_essence(value)}' for name, value in fields.items())})"


def _is_left_out(node: object) -> bool:
    """Whether it is a text that stands alone, or an import of this package's own."""
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or str(node.module).split(".")[0] == OWN
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return Path(spec.origin)


def fitting_libraries(estimator: str) -> tuple[str, ...]:
    """The distributions whose versions determine a fit: those of every fit, and those of the estimator."""
    return tuple(dict.fromkeys((*FITTING_LIBRARIES, *ESTIMATORS[estimator].fitting_libraries)))


def library_versions(libraries: Iterable[str] = FITTING_LIBRARIES) -> dict[str, str]:
    """The installed version of each library, under the name of the distribution that is installed."""
    return dict(_installed_as(name) for name in libraries)


def scoring_versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed version of each library, under its own name: a model of a GPU is scored without one."""
    return {name: _installed_as(name)[1] for name in libraries}


def _installed_as(name: str) -> tuple[str, str]:
    """Name and version of a distribution, or of the one that is installed in its place."""
    try:
        return name, version(name)
    except PackageNotFoundError:
        if name not in OTHER_BUILDS:
            raise
        return OTHER_BUILDS[name], version(OTHER_BUILDS[name])


@cache
def environment() -> Environment:
    """What this process is made of; it does not change while the process runs."""
    folder = _source("fraud_retraining").parent
    lock = folder.parent / LOCK
    return Environment(
        package=version(PACKAGE),
        commit=_commit(folder),
        lock_digest=sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        installed_digest=digest(sorted(f"{name}=={number}" for name, number in _installed())),
        python=platform.python_version(),
    )


@cache
def installed_packages() -> dict[str, str]:
    """The version of every installed distribution, by its name in small letters."""
    return dict(sorted((str(name).lower(), number) for name, number in _installed() if name))


@cache
def _installed() -> tuple[tuple[str | None, str], ...]:
    """Name and version of every distribution; each read of `metadata` parses the whole file again, README included."""
    return tuple((found["Name"], found["Version"]) for found in (one.metadata for one in distributions()))


def _commit(folder: Path) -> str | None:
    """The commit of a checkout that holds this code; none where it is installed, or where there is no git."""
    # A package that is installed into somebody's checkout is not made from that commit.
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    # Tags are left out: one that is set later would give the same commit another name.
    return _git(folder, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
