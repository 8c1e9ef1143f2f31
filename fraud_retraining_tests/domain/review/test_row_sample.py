"""The sample of a review depends on the rows alone: not on batches, and not on which model is the better one."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.review.row_sample import CANDIDATE, CHAMPION, RowSample
from fraud_retraining_tests.support.reviews import ROWS, fitted, rows, sampled


def test_sample_and_disagreements_do_not_depend_on_how_batches_are_cut():
    candidate, champion = fitted(), fitted("logistic_regression")
    one, other = (sampled(candidate, champion, size, sample=333, most=7) for size in (ROWS, 97))
    assert one.rows.equals(other.rows) and one.disagreements.equals(other.disagreements)
    assert one.rows["transaction_id"].to_pylist() == list(range(0, ROWS, 13))
    apart = np.abs(candidate.predict(rows()) - champion.predict(rows()))
    assert one.disagreements["transaction_id"].to_pylist() == np.argsort(-apart, kind="stable")[:7].tolist()


def test_a_sample_larger_than_the_rows_is_all_rows():
    assert sampled(fitted(), None, sample=10 * ROWS).rows.num_rows == ROWS


def test_without_a_champion_there_are_no_disagreements():
    assert sampled(fitted(), None).disagreements is None


def test_before_the_first_batch_there_is_neither():
    sample = RowSample(100)
    assert sample.rows is None and sample.disagreements is None


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60), st.integers(1, 20))
def test_equal_differences_keep_the_earlier_rows(differences: list[float], cut: int):
    """Scores tie often (trees have few leaves): the choice among equals must not depend on batches."""
    table = pa.table({"row": range(len(differences))})
    sample, position = RowSample(len(differences), most=5), 0
    for batch in table.to_batches(max_chunksize=cut):
        part = np.array(differences[position : position + len(batch)])
        sample.add(batch, part, np.zeros(len(batch)))
        position += len(batch)
    expected = np.argsort(-np.array(differences), kind="stable")[:5].tolist()
    assert sample.disagreements["row"].to_pylist() == expected
    assert sample.disagreements[CANDIDATE].to_pylist() == [differences[row] for row in expected]
    assert set(sample.disagreements[CHAMPION].to_pylist()) == {0.0}
