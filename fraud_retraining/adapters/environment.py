"""The code and the libraries that a model is made by.

Here: reading sources and versions. Not here: their digest and what it is part of (`domain/fingerprint.py`).
"""

import ast
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

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
