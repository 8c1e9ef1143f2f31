"""Sample of the judged rows that a review report explains, taken while the rows stream by.

Here: which rows are kept. Not here: what is measured on them (`domain/review/assembly.py`).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.judged import Floats

SAMPLE_ROWS = 1000
DISAGREEMENTS = 20
CANDIDATE, CHAMPION = "candidate_score", "champion_score"


class RowSample:
    """A sample of scored batches, and the rows on which two models differ most, in bounded memory.

    The sample is every n-th row, so it has every day and hour in proportion. It depends on the order of the rows alone,
    not on how they are cut into batches.
    """

    def __init__(self, rows: int, sample: int = SAMPLE_ROWS, most: int = DISAGREEMENTS) -> None:
        self._step = max(1, -(-rows // sample))
        self._most = most
        self._seen = 0
        self._sample: list[pa.Table] = []
        self._differing: list[pa.Table] = []

    def add(self, batch: pa.RecordBatch, candidate: Floats, champion: Floats | None) -> None:
        """Take a batch and both models' scores of it."""
        table = pa.Table.from_batches([batch])
        first = -self._seen % self._step
        self._seen += len(table)
        self._sample.append(table.take(np.arange(first, len(table), self._step)))
        if champion is not None:
            scored = table.append_column(CANDIDATE, pa.array(candidate)).append_column(CHAMPION, pa.array(champion))
            self._differing = [_most_differing([*self._differing, scored], self._most)]

    @property
    def rows(self) -> pa.Table | None:
        """The sample; None before the first batch."""
        return pa.concat_tables(self._sample) if self._sample else None

    @property
    def disagreements(self) -> pa.Table | None:
        """The rows on which the scores differ most, with both scores; None without a champion."""
        return self._differing[0] if self._differing else None


def _most_differing(tables: Sequence[pa.Table], most: int) -> pa.Table:
    """Return the rows with the greatest difference, the greatest first; equal ones in the order of their rows."""
    whole = pa.concat_tables(tables)
    apart = -np.abs(whole[CANDIDATE].to_numpy() - whole[CHAMPION].to_numpy())
    nearest = (
        np.argpartition(apart, min(most, len(apart)) - 1)[: most + 1] if len(apart) > most else np.arange(len(apart))
    )
    # argpartition chooses freely among equal differences: all rows up to the bound are kept, and a stable sort decides
    bound = apart[nearest].max() if len(nearest) else 0.0
    kept = np.flatnonzero(apart <= bound)
    return whole.take(kept[np.argsort(apart[kept], kind="stable")][:most])
