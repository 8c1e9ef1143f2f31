"""The code and the libraries that a model is made by.

Here: reading sources and versions. Not here: their digest and what it is part of (`domain/fingerprint.py`).
"""

import ast
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

from fraud_retraining.domain.candidate import Environment
from fraud_retraining.domain.fingerprint import digest

PACKAGE = "fraud-retraining"
LOCK = "requirements.lock"
GIT_SECONDS = 10
FITTING_LIBRARIES = ("duckdb", "ibis-framework", "numpy", "pyarrow", "scikit-learn", "xgboost-cpu")


def source_files(modules: Iterable[str]) -> dict[str, bytes]:
    """What the source of each module does, by its name: without comments, docstrings and layout."""
    return {name: _essence(name) for name in modules}


@cache
def _essence(module: str) -> bytes:
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree).encode()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return Path(spec.origin)


def library_versions(libraries: Iterable[str] = FITTING_LIBRARIES) -> dict[str, str]:
    """The installed version of each library."""
    return {name: version(name) for name in libraries}


@cache
def environment() -> Environment:
    """What this process is made of; it does not change while the process lives."""
    folder = _source("fraud_retraining").parent
    lock = folder.parent / LOCK
    return Environment(
        package=version(PACKAGE),
        commit=_commit(folder),
        lock_digest=sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        installed_digest=digest(sorted(f"{one.name}=={one.version}" for one in distributions())),
        python=platform.python_version(),
    )


@cache
def installed_packages() -> dict[str, str]:
    """The version of every installed distribution, by its name in small letters."""
    return dict(sorted((str(one.name).lower(), one.version) for one in distributions() if one.name))


def _commit(folder: Path) -> str | None:
    """The commit of a checkout that holds this code; none where it is installed, or where there is no git."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    return _git(folder, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
