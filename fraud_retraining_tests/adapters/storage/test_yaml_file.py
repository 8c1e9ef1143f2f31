"""YAML settings: read whole, or refused with the line."""

from pathlib import Path

import pytest
import yaml

from fraud_retraining.adapters.storage.yaml_file import DEEPEST, MOST_BYTES, read_yaml


def read(tmp_path: Path, text: str) -> object:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return read_yaml(file)


def test_plain_values_are_read_as_yaml_has_them(tmp_path: Path) -> None:
    assert read(tmp_path, "gates: {alert_budget: 100, slices: [city, null]}") == {
        "gates": {"alert_budget": 100, "slices": ["city", None]}
    }


@pytest.mark.parametrize("code", ["0742", "007", "12:30", "1:30.5", "0x1F", "0b11"])
def test_a_code_that_yaml_takes_for_another_number_is_refused_and_read_in_quotes(tmp_path: Path, code: str) -> None:
    with pytest.raises(yaml.YAMLError, match=f"takes {code} for another number: write it in quotes") as refused:
        read(tmp_path, f"where:\n  MCC: [1, {code}]\n")
    assert "line 2" in str(refused.value)
    assert read(tmp_path, f"MCC: ['{code}', 0, 0.5, -1, 10_000, 0899]") == {"MCC": [code, 0, 0.5, -1, 10_000, "0899"]}


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# only a comment\n") is None


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError, match="first in line 1") as refusal:
        read(tmp_path, "seed: 7\nmodel: {}\nseed: 8\n")
    assert "line 3" in str(refusal.value)


def test_a_merged_key_may_be_replaced(tmp_path: Path) -> None:
    found = read(tmp_path, "usual: &usual {a: 1, b: 2}\nmine: {<<: *usual, b: 3}\n")
    assert found["mine"] == {"a": 1, "b": 3}


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(yaml.YAMLError, match="more than"):
        read(tmp_path, "\n".join(lines))


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError):
        read(tmp_path, "a: &a [*a]")


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)) is not None
    with pytest.raises(yaml.YAMLError, match="nested deeper"):
        read(tmp_path, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError, match="more than 1,000,000 bytes"):
        read(tmp_path, "#" * (MOST_BYTES + 1))


def test_no_python_object_is_made(tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError):
        read(tmp_path, "a: !!python/object/apply:os.getcwd []")
