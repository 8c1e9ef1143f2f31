"""Small ONNX files, written field by field: what a file of another toolkit may look like, without that toolkit.

The fields are those of onnx.proto3: a message is a sequence of (number and kind, value).
"""

import numpy as np

FLOAT, INT64, DOUBLE, STRING = 1, 7, 11, 8


def logistic(weights: list[float], bias: float, *, rows: str = "N", scale: float = 1.0) -> bytes:
    """`scale * sigmoid(x @ weights + bias)` of one input `x` (rows x features), as one column `probability`."""
    matrix = np.array(weights, np.float32).reshape(-1, 1)
    nodes = [
        _node("MatMul", ["x", "w"], "wx"),
        _node("Add", ["wx", "b"], "odds"),
        _node("Sigmoid", ["odds"], "share"),
        _node("Mul", ["share", "scale"], "probability"),
    ]
    constants = [_tensor("w", matrix), _tensor("b", np.array([bias], np.float32)), _tensor("scale", _one(scale))]
    return _model(
        nodes, constants, [_value("x", FLOAT, [rows, len(weights)])], [_value("probability", FLOAT, [rows, 1])]
    )


def of_named_columns(names: list[str], kind: int = FLOAT, outputs: tuple[str, ...] = ("score",)) -> bytes:
    """`sigmoid` of the sum of inputs that are a column each, under their names; every output is the same."""
    nodes = [_node("Sum", names, "odds"), *(_node("Sigmoid", ["odds"], name) for name in outputs)]
    inputs = [_value(name, kind, ["N", 1]) for name in names]
    return _model(nodes, [], inputs, [_value(name, kind, ["N", 1]) for name in outputs])


def of_outer_tensor(file: str = "w.bin") -> bytes:
    """A graph that reads the weights of two columns from a file, by an operator that is never computed beforehand."""
    entries = [("location", file), ("offset", "0"), ("length", "8")]
    outer = _field(1, 1) + _field(1, 2) + _field(2, FLOAT) + _field(8, "w") + _field(14, 1)
    outer += b"".join(_field(13, _field(1, key) + _field(2, value)) for key, value in entries)
    nodes = [_node("Concat", ["x", "w"], "probability") + _field(5, _axis(0))]
    return _model(nodes, [outer], [_value("x", FLOAT, ["N", 2])], [_value("probability", FLOAT, ["M", 2])])


def of_outer_tensor_in_an_operator() -> bytes:
    """As `of_outer_tensor`, with the tensor as the attribute of a `Constant` inside a branch of an `If`."""
    outer = _field(1, 1) + _field(2, FLOAT) + _field(13, _field(1, "location") + _field(2, "w.bin")) + _field(14, 1)
    constant = _field(2, "w") + _field(4, "Constant") + _field(5, _field(1, "value") + _field(5, outer) + _field(20, 4))
    branch = _field(1, constant) + _field(2, "branch") + _field(12, _value("w", FLOAT, [1]))
    choice = _node("If", ["x"], "probability") + _field(5, _field(1, "then_branch") + _field(6, branch) + _field(20, 5))
    return _model([choice], [], [_value("x", FLOAT, ["N", 2])], [_value("probability", FLOAT, ["N", 1])])


def of_one_operator(operator: str, *more: str, width: int = 2) -> bytes:
    """A graph of one input `x` of some columns, an operator that may come before a mean, and a sigmoid."""
    nodes = [
        _node(operator, ["x", *more], "odds"),
        _node("ReduceMean", ["odds"], "mean") + _field(5, _axes(1)),
        _node("Sigmoid", ["mean"], "probability"),
    ]
    return _model(nodes, [], [_value("x", FLOAT, ["N", width])], [_value("probability", FLOAT, ["N", 1])])


def over_the_batch() -> bytes:
    """The sigmoid of each row's two columns less their mean over all rows."""
    nodes = [
        _node("ReduceMean", ["x"], "batch") + _field(5, _axes(0)),
        _node("Sub", ["x", "batch"], "less"),
        _node("ReduceMean", ["less"], "mean") + _field(5, _axes(1)),
        _node("Sigmoid", ["mean"], "probability"),
    ]
    return _model(nodes, [], [_value("x", FLOAT, ["N", 2])], [_value("probability", FLOAT, ["N", 1])])


def of_whole_numbers(names: list[str]) -> bytes:
    """`sigmoid` of the difference of two inputs of whole numbers that are a column each."""
    nodes = [
        _node("Sub", names, "whole"),
        _node("Cast", ["whole"], "odds") + _field(5, _field(1, "to") + _field(3, FLOAT) + _field(20, 2)),
        _node("Sigmoid", ["odds"], "score"),
    ]
    inputs = [_value(name, INT64, ["N", 1]) for name in names]
    return _model(nodes, [], inputs, [_value("score", FLOAT, ["N", 1])])


def _axes(value: int) -> bytes:
    return _field(1, "axes") + _varint(8 << 3) + _varint(value) + _field(20, 7)


def _axis(value: int) -> bytes:
    return _field(1, "axis") + _field(3, value) + _field(20, 2)


def _one(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, operator)


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_field(1, size) for size in values.shape)
    return dims + _field(2, FLOAT) + _field(8, name) + _field(9, values.tobytes())


def _value(name: str, kind: int, shape: list[int | str]) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def _model(nodes: list[bytes], constants: list[bytes], inputs: list[bytes], outputs: list[bytes]) -> bytes:
    graph = b"".join(_field(1, one) for one in nodes) + _field(2, "graph")
    graph += b"".join(_field(5, one) for one in constants)
    graph += b"".join(_field(11, one) for one in inputs) + b"".join(_field(12, one) for one in outputs)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))
