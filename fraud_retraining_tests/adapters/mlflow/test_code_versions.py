"""The parts of the code that determine days and models: each has a version, and code of another content another one."""

import pytest

from fraud_retraining.adapters.mlflow.code_versions import PARTS, Part, code_version
from fraud_retraining.adapters.mlflow.environment import content


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_the_content_of_its_version(name: str) -> None:
    found = content(PARTS[name].modules)
    assert found == PARTS[name].content, (
        f"{name} has changed. If days and models come out as before, put {found} beside its version in "
        "`adapters/mlflow/code_versions.py`; if not, raise the version as well."
    )


def test_a_file_that_moves_keeps_the_version_and_one_that_changes_does_not(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "place_before.py").write_text("from fraud_retraining.domain.values.days import Day\n\nRATE = 1\n")
    (tmp_path / "place_after.py").write_text(
        '"""Moved."""\n\nfrom fraud_retraining.values.days import Day\n\nRATE = 1\n'
    )
    (tmp_path / "place_changed.py").write_text("RATE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)

    def version(module: str, number: str = "1") -> str:
        monkeypatch.setitem(PARTS, "features", Part(number, content(("place_before",)), (module,)))
        return code_version("features")

    assert version("place_before") == version("place_after")
    assert version("place_changed") not in {version("place_before"), version("place_before", "2")}
    assert version("place_before") != version("place_before", "2")
