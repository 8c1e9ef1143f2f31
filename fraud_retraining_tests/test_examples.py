"""The examples in docstrings of the package run, and give what they show."""

import doctest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fraud_retraining"
WITH_EXAMPLES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
OF_SPARK = "fraud_retraining.adapters.storage.spark_backend"
"""The one module that cannot be imported without the extra spark."""


def test_the_domain_has_examples() -> None:
    assert [name for name in WITH_EXAMPLES if name.startswith("fraud_retraining.domain.")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_give_what_they_show(name: str) -> None:
    if name == OF_SPARK and find_spec("pyspark") is None:
        pytest.skip("PySpark is not installed (the extra spark)")
    failed, attempted = doctest.testmod(import_module(name))
    assert attempted, f"{name} shows an example where doctest does not look"
    assert not failed
