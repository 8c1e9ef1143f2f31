"""Whether Spark can run here; tests that need it say what is missing."""

import os
from importlib.util import find_spec

import pytest

from fraud_retraining.adapters.storage.spark_session import LEAST_JAVA, java_version


def _missing() -> str:
    if find_spec("pyspark") is None:
        return "PySpark is not installed (the extra spark)"
    version = java_version()
    return "" if version is not None and version >= LEAST_JAVA else f"Java {LEAST_JAVA} or later is not installed"


MISSING = _missing()
needs_spark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

LONG = "SPARK_LONG"
takes_minutes = pytest.mark.skipif(
    bool(MISSING) or not os.environ.get(LONG), reason=MISSING or f"takes minutes of two processors: {LONG}=1"
)
"""Tests of Spark that an hour of CI has no room for."""
