"""Files and MLflow folders of models that were made elsewhere: found by name and description, no pickle ever opened."""

import json
import os
import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_retraining.adapters.mlflow.foreign_models import MOST_BYTES, MOST_DESCRIPTION_BYTES, read_foreign
from fraud_retraining.domain.values.errors import SettingsError

URI = "sqlite:///none.db"
SIGNATURE = [{"name": "amount", "type": "double"}, {"name": "hour", "type": "double"}]


class Trap:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


def folder(where: Path, flavors: dict[str, Any], files: dict[str, bytes], signature: Any = None) -> str:
    where.mkdir()
    about = {"flavors": flavors, **({"signature": {"inputs": json.dumps(signature)}} if signature else {})}
    (where / "MLmodel").write_text(yaml.safe_dump(about))
    for name, data in files.items():
        (where / name).write_bytes(data)
    return str(where)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("m.onnx", "onnx"),
        ("m.ubj", "xgboost"),
        ("m.json", "xgboost"),
        ("m.txt", "lightgbm"),
        ("m.cbm", "catboost"),
        ("M.ONNX", "onnx"),
    ],
)
def test_a_file_has_the_format_of_its_name(tmp_path: Path, name: str, format: str) -> None:
    (tmp_path / name).write_bytes(b"bytes")
    found = read_foreign(str(tmp_path / name), None, URI)
    assert (found.format, found.data, found.columns) == (format, b"bytes", ())


def test_a_format_that_is_named_wins_over_the_name(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"bytes")
    assert read_foreign(str(tmp_path / "model.bin"), "catboost", URI).format == "catboost"


def test_an_mlflow_folder_gives_its_native_file_and_the_columns_of_its_signature(tmp_path: Path) -> None:
    flavors = {"python_function": {"data": "model.ubj"}, "xgboost": {"data": "model.ubj", "model_format": "ubj"}}
    source = folder(tmp_path / "model", flavors, {"model.ubj": b"trees"}, SIGNATURE)
    for format in (None, "mlflow", "xgboost"):
        found = read_foreign(source, format, URI)
        assert (found.format, found.data, found.columns) == ("xgboost", b"trees", ("amount", "hour"))
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    graph = folder(tmp_path / "graph", {"onnx": {"data": "model.onnx"}}, {"model.onnx": b"graph"}, tensor)
    assert read_foreign(graph, None, URI).columns == ()


def test_a_digest_that_is_named_has_to_be_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.ubj"
    file.write_bytes(b"trees")
    named = sha256(b"trees").hexdigest()
    for given in (None, named, named.upper()):
        assert read_foreign(str(file), None, URI, given).digest == named
    with pytest.raises(SettingsError, match="is not the model that was named") as refusal:
        read_foreign(str(file), None, URI, "0" * 64)
    assert refusal.value.culprits == ("named " + "0" * 64, f"found {named}")
    with pytest.raises(SettingsError, match="is no SHA-256"):
        read_foreign(str(file), None, URI, named[:12])


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "m.onnx"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(SettingsError, match=r"m\.onnx has more than 1,073,741,824 bytes"):
        read_foreign(str(large), None, URI)
    source = folder(tmp_path / "described", {"onnx": {"data": "m.onnx"}}, {"m.onnx": b"graph"})
    with (tmp_path / "described" / "MLmodel").open("r+b") as file:
        file.truncate(MOST_DESCRIPTION_BYTES + 1)
    with pytest.raises(SettingsError, match="MLmodel has more than"):
        read_foreign(source, None, URI)


@pytest.mark.parametrize(
    "about",
    [
        {"flavors": ["onnx"]},
        {"flavors": {"onnx": "m.onnx"}},
        {"flavors": {"onnx": {"data": "m.onnx\0"}}},
        {"flavors": {"onnx": {"data": ["m.onnx"]}}},
        {"flavors": {"onnx": {"data": "../m.onnx"}}},
        {"flavors": {"onnx": {"data": "m" * 5000}}},
        {"flavors": {"onnx": {"data": "m" * 400}}},
        {"flavors": {"onnx": {"data": "."}}},
        {"flavors": {"onnx": {"data": "m.onnx"}}, "signature": {"inputs": "[{"}},
        {"flavors": {"onnx": {"data": "m.onnx"}}, "signature": {"inputs": '{"name": "amount"}'}},
        {"flavors": {"onnx": {"data": "m.onnx"}}, "signature": ["amount"]},
        ["flavors"],
        None,
    ],
)
def test_an_odd_description_is_refused_by_name(tmp_path: Path, about: Any) -> None:
    for name in ("m.onnx", "other.onnx"):
        (tmp_path / name).write_bytes(b"graph")
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(about))
    with pytest.raises(SettingsError, match=r"MLmodel|cannot be read"):
        read_foreign(str(tmp_path), None, URI)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    for name in ("m" * 5000, "m\0.onnx", "~nobody-of-this-name/m.onnx"):
        with pytest.raises(SettingsError, match=r"cannot be read|there is no file"):
            read_foreign(name, None, URI)


def refusals(tmp_path: Path, trap: bytes) -> dict[str, tuple[str, str | None]]:
    (tmp_path / "m.pkl").write_bytes(trap)
    (tmp_path / "m.onnx").write_bytes(trap)
    (tmp_path / "m.bin").write_bytes(b"bytes")
    outside = tmp_path / "outside.ubj"
    outside.write_bytes(b"trees")
    link = tmp_path / "link"
    linked = folder(link, {"xgboost": {"data": "model.ubj"}}, {})
    (link / "model.ubj").symlink_to(outside)
    (tmp_path / "empty").mkdir()
    pickled = {"lightgbm": {"data": "model.pkl"}}
    scikit = {"sklearn": {"pickled_model": "model.pkl"}, "python_function": {}}
    return {
        "m.pkl is a pickle; it was not opened": (str(tmp_path / "m.pkl"), None),
        "m.onnx is a pickle, or compressed": (str(tmp_path / "m.onnx"), None),
        "holds its lightgbm model as a pickle": (folder(tmp_path / "lgb", pickled, {"model.pkl": trap}), None),
        "is an MLflow model of python_function, sklearn": (folder(tmp_path / "skl", scikit, {"model.pkl": trap}), None),
        "cannot be told from its name": (str(tmp_path / "m.bin"), None),
        "is a file, not the folder of an MLflow model": (str(tmp_path / "m.bin"), "mlflow"),
        "there is no format 'pickle'": (str(tmp_path / "m.bin"), "pickle"),
        "there is no file or folder": (str(tmp_path / "gone.onnx"), None),
        "has no file MLmodel": (str(tmp_path / "empty"), None),
        "holds more than files and folders": (linked, None),
        "names no file for xgboost": (folder(tmp_path / "out", {"xgboost": {"data": "../outside.ubj"}}, {}), None),
        "names no file for catboost": (folder(tmp_path / "none", {"catboost": {}}, {}), None),
        "MLmodel cannot be read": (folder(tmp_path / "odd", None, {}), None),  # type: ignore[arg-type]
    }


def test_each_other_source_is_refused_and_no_pickle_is_opened(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    for why, (source, format) in refusals(tmp_path, pickle.dumps(Trap(trace))).items():
        with pytest.raises(SettingsError, match=why):
            read_foreign(source, format, URI)
    assert not trace.exists()
