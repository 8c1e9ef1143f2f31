"""Whether the champion can serve: loaded by its alias as production loads it, and put to its own example.

Here: one load and one score, after the artifact was verified. Not here: what a failure leads to
(`services/promotion.py`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from fraud_retraining.adapters.mlflow.model_artifact import fitted_model, read_files
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import IntegrityError

TOLERANCE = 1e-6


class SmokeResult(Value):
    """What a smoke test found."""

    passed: bool
    rows: int = 0
    problem: str = ""


def smoke_test(registry: Registry, digest: str) -> SmokeResult:
    """Load `models:/<name>@champion` by the scorer that travels with it, and score its input example.

    Raises:
        DependencyUnreachable: the registry or the artifact store did not answer, which says nothing about the model.
    """
    try:
        with registry.served(expected_digest=digest) as folder:
            return _scored(folder)
    except IntegrityError as error:
        return SmokeResult(passed=False, problem=str(error))


def _scored(folder: Path) -> SmokeResult:
    import mlflow.pyfunc

    try:
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
        example = model.metadata.load_input_example(str(folder))
        if example is None or not len(example):
            return SmokeResult(passed=False, problem="the artifact holds no input example to score")
        scores = np.asarray(model.predict(example)["fraud_probability"], dtype=float)
        expected = fitted_model(read_files(folder)).predict(example)
    except Exception as error:  # noqa: BLE001 (a model that raises any error when it is loaded or scores cannot serve)
        return SmokeResult(passed=False, problem=f"{type(error).__name__}: {error}"[:1000])
    problem = _problem(scores, expected)
    return SmokeResult(passed=not problem, rows=len(scores), problem=problem)


def _problem(scores: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> str:
    if scores.shape != expected.shape:
        return f"{len(scores)} scores came back for {len(expected)} rows"
    if not np.all((scores >= 0) & (scores <= 1)):
        return "a score is no probability"
    if not np.allclose(scores, expected, rtol=0, atol=TOLERANCE):
        return f"the scorer and the model disagree by {float(np.abs(scores - expected).max()):.3g}"
    return ""
