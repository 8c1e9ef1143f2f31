"""What a fingerprint learns of its surroundings: the code that makes a model, and the libraries it uses."""

from importlib.metadata import version

import pytest

from fraud_retraining.adapters.environment import FITTING_LIBRARIES, library_versions, source_files

PLAIN = "def fit(rows):\n    return rows + 1\n"


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('"""Fits."""\n\ndef fit(rows):\n    """One more."""\n    # why\n    return (rows\n            + 1)\n', True),
        (PLAIN.replace("1", "2"), False),
        (PLAIN.replace("rows", "lines"), False),
        (PLAIN + "SEED = 'seven'\n", False),
    ],
    ids=["words and layout", "a constant", "a name", "a line more"],
)
def test_only_what_the_code_does_counts(tmp_path, monkeypatch, request, source, same):
    stem = f"environment_{abs(hash(request.node.name))}"
    (tmp_path / f"{stem}_plain.py").write_text(PLAIN)
    (tmp_path / f"{stem}_other.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    plain, other = source_files([f"{stem}_plain", f"{stem}_other"]).values()
    assert (plain == other) is same


def test_a_module_that_does_not_exist_is_no_empty_source():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        source_files(["fraud_retraining.domain.no_such_module"])


def test_versions_are_the_installed_ones():
    versions = library_versions()
    assert tuple(versions) == FITTING_LIBRARIES
    assert versions["numpy"] == version("numpy")
    assert library_versions(["pyarrow"]) == {"pyarrow": version("pyarrow")}
