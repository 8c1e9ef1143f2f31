"""ONNX graphs: the scores of the toolkit that made them, the same bits alone and among many, and what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest

from fraud_retraining.domain.training.estimators.onnx import ROWS, Onnx, OnnxCore, fraud_column, opened
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS, IMPORTED, READERS
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.onnx_graphs import (
    DOUBLE,
    STRING,
    logistic,
    of_named_columns,
    of_one_operator,
    of_outer_tensor,
    of_outer_tensor_in_an_operator,
    of_whole_numbers,
)

WEIGHTS, BIAS = [0.5, -1.5, 2.0], -1.0


def columns(rows: int) -> list[np.ndarray]:
    return list(np.random.default_rng(rows).standard_normal((3, rows)).astype(np.float32))


def core(data: bytes, width: int = 3) -> OnnxCore:
    return OnnxCore(opened(data), data, (1.0,) * width, ("a", "b", "c")[:width])


def test_it_is_read_and_never_fitted() -> None:
    assert "onnx" in READERS and "onnx" in IMPORTED and "onnx" not in ESTIMATORS
    with pytest.raises(ValueError, match="there is no estimator 'onnx'"):
        ModelPolicy(estimator="onnx")


def test_scores_are_those_of_the_graph() -> None:
    found, given = core(logistic(WEIGHTS, BIAS)), columns(500)
    expected = [
        1 / (1 + math.exp(-(sum(w * float(c[row]) for w, c in zip(WEIGHTS, given, strict=True)) + BIAS)))
        for row in range(500)
    ]
    assert found.probability(given) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("data", [logistic(WEIGHTS, BIAS), of_named_columns(["a", "b", "c"])])
def test_a_row_has_the_same_bits_alone_and_among_many(data: bytes) -> None:
    found, given = core(data), columns(3 * ROWS + 5)
    every = found.probability(given)
    for count in (1, 2, 7, ROWS - 1, ROWS, ROWS + 1):
        for first in (0, 1, ROWS):
            part = found.probability([column[first : first + count] for column in given])
            assert part.tobytes() == every[first : first + count].tobytes(), (count, first)


def test_inputs_that_are_a_column_each_are_fed_in_their_order_and_type() -> None:
    given = [np.array([0.0, 1.0], np.float32), np.array([0.0, -3.0], np.float32)]
    for kind in (1, DOUBLE):
        found = core(of_named_columns(["first", "second"], kind), 2)
        assert found.probability(given) == pytest.approx([0.5, 1 / (1 + math.exp(2))], abs=1e-6)


def test_whole_numbers_are_taken_as_they_are_and_no_other_value_is_made_one() -> None:
    found = core(of_whole_numbers(["first", "second"]), 2)
    given = [np.array([3, 5], np.float32), np.array([3, 2], np.float32)]
    assert found.rounded and found.probability(given) == pytest.approx([0.5, 1 / (1 + math.exp(-3))], abs=1e-6)
    for odd in (np.nan, 0.5):
        with pytest.raises(DataInvalid, match="whole number") as refusal:
            found.probability([given[0], np.array([3, odd], np.float32)])
        assert refusal.value.culprits == ("b",)


def test_files_give_the_same_core_again_and_no_rows_no_scores() -> None:
    found = core(logistic(WEIGHTS, BIAS))
    again = Onnx().load(found.files(), ("a", "b", "c"))
    assert np.array_equal(again.probability(columns(9)), found.probability(columns(9)))
    assert again.importance() == found.importance() == [1.0, 1.0, 1.0]
    assert found.probability(columns(0)).shape == (0,)
    assert found.contributions(columns(30), seed=1).shape == (30, 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no graph", "no ONNX file"),
        (logistic(WEIGHTS, BIAS)[:-40], "no ONNX file"),
        (b"", "onnxruntime cannot read it"),
        (b"\x00\x00\x00\x00ORTM" + b"\x00" * 60, "no ONNX file"),
        (of_named_columns(["a"], STRING), "onnxruntime cannot read it|inputs have to be numbers"),
    ],
)
def test_what_cannot_be_scored_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        opened(data)


def test_no_graph_reads_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(np.array([7, 9], np.float32).tobytes())
    for data in (of_outer_tensor(), of_outer_tensor(str(tmp_path / "w.bin")), of_outer_tensor_in_an_operator()):
        with pytest.raises(ValueError, match="tensors lie in other files"):
            opened(data)
        with pytest.raises(ValueError, match="tensors lie in other files"):
            Onnx().load({"model.onnx": data, "importance.json": b"[1, 1]"}, ("a", "b"))


def test_no_operator_draws_by_chance() -> None:
    for operator, more in (("RandomNormalLike", ()), ("Bernoulli", ()), ("Dropout", ("ratio", "training"))):
        with pytest.raises(ValueError, match=f"draw by chance.*{operator}"):
            opened(of_one_operator(operator, *more))
    assert opened(of_one_operator("Dropout")) is not None


def test_each_form_of_probabilities_gives_that_of_fraud() -> None:
    for given in (
        [{0: 0.9, 1: 0.1}, {0: 0.2, 1: 0.8}],
        [{"0": 0.9, "1": 0.1}, {"0": 0.2, "1": 0.8}],
        np.array([[0.9, 0.1], [0.2, 0.8]]),
        np.array([[0.1], [0.8]]),
        np.array([0.1, 0.8]),
    ):
        assert fraud_column(given).tolist() == [0.1, 0.8]
    with pytest.raises(ValueError, match="classes have to be 0 and 1"):
        fraud_column([{"genuine": 0.9, "fraud": 0.1}])
    with pytest.raises(ValueError, match="shape"):
        fraud_column(np.zeros((4, 3)))
