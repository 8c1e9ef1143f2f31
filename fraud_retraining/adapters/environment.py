"""The code and the libraries that a model is made by.

Here: reading sources and versions. Not here: their digest and what it is part of (`domain/fingerprint.py`).
"""

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

FITTING_LIBRARIES = ("duckdb", "ibis-framework", "numpy", "pyarrow", "scikit-learn", "xgboost-cpu")


def source_files(modules: Iterable[str]) -> dict[str, bytes]:
    """The source of each module, by its name."""
    return {name: _source(name).read_bytes() for name in modules}


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return Path(spec.origin)


def library_versions(libraries: Iterable[str] = FITTING_LIBRARIES) -> dict[str, str]:
    """The installed version of each library."""
    return {name: version(name) for name in libraries}
