"""What a fingerprint learns of its surroundings: the code that makes a model, and the libraries it uses."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from fraud_retraining.adapters.mlflow.environment import (
    FITTING_LIBRARIES,
    _commit,
    content,
    environment,
    library_versions,
)

PLAIN = "def fit(rows):\n    return rows + 1\n"


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('"""Fits."""\n\ndef fit(rows):\n    """One more."""\n    # why\n    return (rows\n            + 1)\n', True),
        (PLAIN.replace("1", "2"), False),
        (PLAIN.replace("rows", "lines"), False),
        (PLAIN + "SEED = 'seven'\n", False),
        ("from fraud_retraining.domain.values.days import Day\n\n" + PLAIN, True),
        ("from .days import Day\n\n" + PLAIN.replace("\n", "\r\n"), True),
        ("from datetime import date\n" + PLAIN, False),
    ],
    ids=["words and layout", "a constant", "a name", "a line more", "own import", "own import, nearby", "an import"],
)
def test_only_what_the_code_does_counts(tmp_path, monkeypatch, request, source, same):
    stem = f"environment_{abs(hash(request.node.name))}"
    (tmp_path / f"{stem}_plain.py").write_text(PLAIN)
    (tmp_path / f"{stem}_other.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    plain, other = (content((f"{stem}_{name}",)) for name in ("plain", "other"))
    assert (plain == other) is same


def test_a_module_that_does_not_exist_is_no_empty_source():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        content(("fraud_retraining.domain.no_such_module",))


def test_versions_are_the_installed_ones():
    versions = library_versions()
    assert tuple(versions) == FITTING_LIBRARIES
    assert versions["numpy"] == version("numpy")
    assert library_versions(["pyarrow"]) == {"pyarrow": version("pyarrow")}


def test_the_environment_names_code_lock_and_packages():
    found = environment()
    assert found.package == version("fraud-retraining")
    assert found.code_version in {found.commit, found.package}
    assert len(found.installed_digest) == 64
    lock = Path(__file__).resolve().parents[3] / "requirements.lock"
    assert (found.lock_digest is not None) is lock.is_file()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_a_checkout_and_says_whether_files_were_changed(tmp_path: Path):
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    (tmp_path / "__init__.py").write_text("")
    assert _commit(tmp_path) is None
    git("init")
    assert _commit(tmp_path) is None, "a package that lies in somebody's checkout, and is none of it"
    git("add", ".")
    git("commit", "-m", "first")
    clean = _commit(tmp_path)
    assert clean is not None and len(clean) == 40
    (tmp_path / "__init__.py").write_text("changed = True")
    assert _commit(tmp_path) == f"{clean}-dirty"
