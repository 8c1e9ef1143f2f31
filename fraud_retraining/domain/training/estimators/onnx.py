"""ONNX: a model that was made elsewhere, and is scored by onnxruntime as it is. It is imported, never fitted here.

An ONNX file is a graph of operators: it cannot run code of its own. It can refer to other files, which onnxruntime
would look for in the working folder, and draw by chance: such a graph is refused before onnxruntime has it. There is
no library of further operators.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fraud_retraining.domain.training.estimators.base import ContributionMethod, Core, Matrix, Reader, permuted
from fraud_retraining.domain.training.estimators.model_input import FloatColumn, stacked
from fraud_retraining.domain.values.errors import DataInvalid

FILE, IMPORTANCE = "model.onnx", "importance.json"

ROWS = 64
"""Rows that are scored at a time, always as many: kernels choose the order of their sums by the shape, and a row has
to have the same score alone and among many."""

_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_FRAUD = (1, "1", True)
_DRAWING = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
"""Operators whose result is drawn anew each time."""


@dataclass(frozen=True)
class OnnxCore:
    """A graph. Importance is the mean change of the log-odds when a feature is shuffled, measured at the import."""

    session: Any = field(repr=False)
    data: bytes = field(repr=False)
    shares: tuple[float, ...]
    features: tuple[str, ...]
    contribution_method: ClassVar[ContributionMethod] = "permutation"

    def probability(self, columns: Sequence[FloatColumn]) -> Matrix:
        """P(fraud) per row.

        Raises:
            DataInvalid: an input takes whole numbers, and a value is missing or no whole number.
        """
        return self.probability_of(stacked(columns))

    def probability_of(self, given: Matrix) -> Matrix:
        """P(fraud) per row of a matrix (rows x features) of float32, or of float64 to see what rounding changes.

        Raises:
            DataInvalid: an input takes whole numbers, and a value is missing or no whole number.
        """
        self._require_whole(given)
        rows = len(given)
        found = np.empty(rows)
        matrix = np.zeros((-(-rows // ROWS) * ROWS, given.shape[1]), given.dtype)
        matrix[:rows] = given
        for first in range(0, rows, ROWS):
            scores = self._scored(matrix[first : first + ROWS])
            found[first : first + ROWS] = scores[: rows - first]
        return found

    @property
    def rounded(self) -> bool:
        """Whether an input takes numbers that float32 may not hold."""
        return any(_NUMBERS[one.type] is not np.float32 for one in self.session.get_inputs())

    def _require_whole(self, given: Matrix) -> None:
        inputs = self.session.get_inputs()
        types = [one.type for one in inputs] * (given.shape[1] if len(inputs) == 1 else 1)
        whole = [place for place, kind in enumerate(types) if _NUMBERS[kind] is np.int64]
        # NaN and infinity are unequal to what they are cut to, too.
        odd = [place for place in whole if not (np.trunc(given[:, place]) == given[:, place]).all()]
        if odd:
            raise DataInvalid(
                "The model takes whole numbers, and a value is missing or no whole number.",
                culprits=[self.features[place] for place in odd],
                remedy="Export the graph with inputs of float, or make these features whole numbers in every row.",
            )

    def _scored(self, matrix: Matrix) -> Matrix:
        return fraud_column(self.session.run([self._output], self._fed(matrix))[0])

    def _fed(self, matrix: Matrix) -> dict[str, Matrix]:
        inputs = self.session.get_inputs()
        if len(inputs) == 1:
            return {inputs[0].name: matrix.astype(_NUMBERS[inputs[0].type])}
        return {
            one.name: matrix[:, position].astype(_NUMBERS[one.type]).reshape((-1, 1) if len(one.shape) > 1 else -1)
            for position, one in enumerate(inputs)
        }

    @cached_property
    def _output(self) -> str:
        return probability_output(self.session)

    def importance(self) -> list[float]:
        """Mean absolute change of the log-odds per feature."""
        return list(self.shares)

    def contributions(self, columns: Sequence[FloatColumn], seed: int) -> Matrix:
        """Change of the log-odds when a feature is shuffled among the rows: a mean over rows, not exact for one row."""
        return permuted(self, columns, seed)

    def files(self) -> dict[str, bytes]:
        """The graph as it came, and the importance that was measured."""
        return {FILE: self.data, IMPORTANCE: json.dumps(list(self.shares)).encode()}


class Onnx(Reader):
    """Graphs of operators, scored by onnxruntime."""

    kind = "onnx"
    scoring_libraries = ("onnx", "onnxruntime")
    extra = "onnx"

    def versions(self) -> dict[str, str]:
        """Version of onnxruntime."""
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}

    def load(self, files: Mapping[str, bytes], features: tuple[str, ...]) -> Core:
        """The graph, checked by onnxruntime."""
        shares = tuple(float(share) for share in json.loads(files[IMPORTANCE]))
        if len(shares) != len(features):
            raise ValueError(f"{IMPORTANCE} has {len(shares)} numbers for {len(features)} features")
        return OnnxCore(opened(files[FILE]), files[FILE], shares, features)


def opened(data: bytes) -> Any:
    """The session of a graph.

    Raises:
        ValueError: it refers to other files, draws by chance, has no input of numbers, or onnxruntime cannot read it.
    """
    import onnxruntime

    require_self_contained(data)
    options = onnxruntime.SessionOptions()
    # Bytes may look like both forms; only those of ONNX were checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # One thread: sums of several threads come in another order each time.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no family of their own; the file is the only thing that can be wrong
        raise ValueError(f"onnxruntime cannot read it: {error}") from error
    odd = [f"{one.name} is {one.type}" for one in session.get_inputs() if one.type not in _NUMBERS]
    if odd:
        raise ValueError(f"inputs have to be numbers: {', '.join(odd)}")
    return session


def require_self_contained(data: bytes) -> None:
    """Refuse a graph whose scores need more than its own bytes and the row.

    Every message of the file is looked at: tensors of initializers (sparse ones too), of attributes, of graphs inside
    of operators, and of functions.

    Raises:
        ValueError: it is no ONNX file, a tensor lies in another file, or an operator draws by chance.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"it is no ONNX file: {error}") from error
    outside: list[str] = []
    drawing: list[str] = []
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
                outside.append(message.name or "a tensor without a name")
        elif isinstance(message, onnx.NodeProto) and _draws(message):
            drawing.append(f"{message.op_type} {message.name}".rstrip())
    if outside:
        raise ValueError(
            f"tensors lie in other files ({', '.join(outside[:10])}): save it with all its data inside of one file"
        )
    if drawing:
        raise ValueError(f"operators draw by chance, so that no score can be had again: {', '.join(drawing[:10])}")


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field_, value in message.ListFields():
        if field_.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(inner)


def _draws(node: Any) -> bool:
    # The third input of Dropout says that it trains.
    return node.op_type in _DRAWING or (node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2]))


def probability_output(session: Any) -> str:
    """The output that holds the probabilities: the one of that name, or the only one of real numbers.

    Raises:
        ValueError: there is none, or several that could be it.
    """
    real = [one.name for one in session.get_outputs() if "float" in one.type or "double" in one.type]
    named = [name for name in real if "prob" in name.lower()]
    found = named if len(named) == 1 else real
    if len(found) != 1:
        every = ", ".join(f"{one.name} ({one.type})" for one in session.get_outputs())
        raise ValueError(f"no single output is the probability; there are {every}")
    return str(found[0])


def fraud_column(scores: Any) -> Matrix:
    """P(fraud) per row from what an output gave: one column, two (no fraud, fraud), or a mapping a row.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(scores, list):
        labels = [label for label in _FRAUD if scores and label in scores[0]]
        if not labels or len(scores[0]) != 2:
            raise ValueError(f"the classes have to be 0 and 1, they are {sorted(scores[0]) if scores else 'none'}")
        return np.array([row[labels[0]] for row in scores], np.float64)
    found = np.asarray(scores, np.float64)
    if found.ndim == 2 and found.shape[1] in (1, 2):
        return found[:, -1]
    if found.ndim == 1:
        return found
    raise ValueError(f"the output has the shape {found.shape}, it has to be one or two columns")
