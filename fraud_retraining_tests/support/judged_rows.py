"""Judged rows for tests of metrics: hand-made, noisy, and awkward ones."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fraud_retraining.domain.evaluation.judged import Judged, Pair, categories
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy

POLICY = MetricsPolicy(resamples=200)
EXAMPLES = settings(deadline=None, max_examples=60)
FEW = settings(deadline=None, max_examples=15)


def judged(
    labels: Any, scores: Any, customers: Any = None, days: Any = None, amounts: Any = None, **slices: Any
) -> Judged:
    """Judged rows with every column that is not given made up: one customer a row, one day, amount 1."""
    rows = len(labels)
    return Judged(
        labels=np.asarray(labels, dtype=np.int8),
        scores=np.asarray(scores, dtype=np.float64),
        customers=np.arange(rows) if customers is None else np.asarray(customers),
        days=np.zeros(rows, dtype=np.int32) if days is None else np.asarray(days, dtype=np.int32),
        amounts=np.ones(rows) if amounts is None else np.asarray(amounts, dtype=np.float64),
        slices={name: categories(pa.array(values)) for name, values in slices.items()},
    )


def noisy_pair(
    seed: int, rows: int = 3000, customers: int = 400, noise: tuple[float, float] = (0.5, 0.5), rate: float = 0.03
) -> Pair:
    """Two models that see the same signal, each through noise of its own."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < rate).astype(np.int8)
    signal = random.normal(size=rows) + 2.5 * labels - 4
    candidate, champion = (1 / (1 + np.exp(-(signal + spread * random.normal(size=rows)))) for spread in noise)
    first = judged(labels, candidate, random.integers(0, customers, rows), amounts=random.gamma(1, 60, rows))
    return Pair(first, first.with_scores(champion))


@st.composite
def awkward_rows(draw: st.DrawFn) -> Judged:
    """Few rows with many equal scores, entities that return and days that are uneven."""
    rows = draw(st.integers(2, 60))
    return judged(
        draw(npst.arrays(np.int8, rows, elements=st.integers(0, 1))),
        draw(npst.arrays(np.float64, rows, elements=st.sampled_from([0.0, 0.01, 0.1, 0.1000001, 0.5, 0.9, 1.0]))),
        draw(npst.arrays(np.int64, rows, elements=st.integers(0, 9))),
        draw(npst.arrays(np.int32, rows, elements=st.integers(0, 3))),
    )
