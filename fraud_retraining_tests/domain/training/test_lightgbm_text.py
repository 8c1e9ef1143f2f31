"""LightGBM's text: every file that it writes passes, and no damage reaches the library."""

import re
from functools import cache

import numpy as np
import pytest

from fraud_retraining.domain.training.lightgbm_text import DEEPEST, check_trees, header_of


def written(**params: object) -> bytes:
    import lightgbm

    random = np.random.default_rng(0)
    matrix = random.normal(size=(600, 3))
    matrix[::7, 1] = np.nan
    given = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 6, **params}
    rows = lightgbm.Dataset(matrix, matrix[:, 0] + random.normal(size=600) > 0)
    return lightgbm.train(given, rows, 4).model_to_string().encode()


@cache
def plain() -> bytes:
    return written()


def check(data: bytes) -> None:
    check_trees(data, header_of(data))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"min_data_in_leaf": 590},
        {"boosting": "dart"},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"zero_as_missing": True},
        {"monotone_constraints": [1, 0, -1]},
    ],
)
def test_what_lightgbm_writes_passes(params: dict) -> None:
    check(written(**params))


def resized(data: bytes) -> bytes:
    """The text with the sizes that its trees have now."""
    start, end = data.index(b"Tree=0"), data.index(b"end of trees")
    sizes = [len(block) for block in re.split(rb"(?=Tree=)", data[start:end])[1:]]
    return re.sub(rb"tree_sizes=.*", b"tree_sizes=" + b" ".join(b"%d" % size for size in sizes), data)


@pytest.mark.parametrize(
    ("line", "instead", "why"),
    [
        (rb"\n", b"\r\n", "carriage returns"),
        (rb"tree_sizes=\d", b"tree_sizes=9", "begin or end where tree_sizes says"),
        (rb"tree_sizes=.*", b"tree_sizes=-5", "begin or end where"),
        (rb"tree_sizes=.*", b"tree_sizes=", "not those under tree_sizes"),
        (rb"max_feature_idx=2", b"max_feature_idx=1", "feature_names does not name 2 features"),
        (rb"num_class=1", b"num_class=3", "num_class is 3"),
        (rb"num_tree_per_iteration=1\n", b"", "num_tree_per_iteration is no whole number"),
        (rb"split_feature=\d", b"split_feature=3", "feature that is not there"),
        (rb"split_feature=\d", b"split_feature=-1", "feature that is not there"),
        (rb"split_feature=", b"split_feature=0 ", "numbers for 5 splits"),
        (rb"left_child=-?\d+", b"left_child=40", "child that is not there"),
        (rb"left_child=-?\d+", b"left_child=0", "child that is not there"),
        (rb"right_child=-?\d+", b"right_child=-90", "child that is not there"),
        (rb"right_child=(\S+) ", rb"right_child=\g<1>_0 ", "no whole numbers"),
        (rb"decision_type=\d+", b"decision_type=1", "no split of numbers"),
        (rb"threshold=\S+ ", b"threshold=", "is not 5 numbers"),
        (rb"threshold=.*\n", b"", "threshold is not there"),
        (rb"threshold=\S+", b"threshold=x", "is not 5 numbers"),
        (rb"leaf_value=\S+ ", b"leaf_value=", "is not 6 numbers"),
        (rb"num_leaves=6\n", b"num_leaves=600000000\n", "is not 599999999 numbers"),
        (rb"num_leaves=6\n", b"num_leaves=0\n", "no leaves"),
        (rb"num_cat=0", b"num_cat=1", "splits by categories"),
        (rb"is_linear=0", b"is_linear=1", "linear leaves"),
        (rb"shrinkage=", b"num_leaves=2\nshrinkage=", "num_leaves twice"),
        (rb"num_cat=0", b"\n".join(b"x%d=0" % one for one in range(9)) + b"\nnum_cat=0", "begin or end"),
        (rb"num_cat=0", b"\nnum_cat=0", "not of the form"),
        (rb"shrinkage=1", b"shrinkage=a", "shrinkage is not 1 numbers"),
        (rb"split_gain=", b"split_gain=1\n", "not of the form"),
        (rb"split_gain", b"split_pain", "split_gain is not there"),
        (rb"leaf_count", b"leaf_score", "leaf_count is not there"),
        (rb"\[two_round: 0\]", b"two_round", "its parameters are not"),
        (rb"\[two_round: 0\]", b"[two_round:\n0]", "its parameters are not"),
        (rb"end of parameters", b"end", "its parameters are not"),
        (rb"\nparameters:", b"\nparameters: 1", "its parameters are not"),
        (rb"\nfeature_infos", b"\nparameters:\nfeature_infos", "its parameters are not"),
    ],
)
def test_each_damage_is_named(line: bytes, instead: bytes, why: str) -> None:
    data = re.sub(line, instead, plain(), count=0 if line == rb"\n" else 1)
    assert data != plain()
    with pytest.raises(ValueError, match=why):
        check(data if b"tree_sizes" in line else resized(data))


def test_a_cut_or_foreign_file_is_refused() -> None:
    for data in (b"", b"tree\n", plain()[: plain().index(b"end of trees") - 40], b"x" + plain()):
        with pytest.raises(ValueError, match=r"tree|sizes"):
            check(data)


def test_a_tree_that_is_too_deep_for_recursion_is_refused() -> None:
    def chain(leaves: int) -> bytes:
        splits = leaves - 1
        lines = {
            "num_leaves": [leaves],
            "num_cat": [0],
            "split_feature": [0] * splits,
            "threshold": [0.5] * splits,
            "decision_type": [2] * splits,
            "left_child": [*range(1, splits), -1],
            "right_child": [-2 - node for node in range(splits)],
            **dict.fromkeys(("split_gain", "internal_value", "internal_count"), [1] * splits),
            **dict.fromkeys(("leaf_value", "leaf_count"), [1] * leaves),
        }
        tree = "Tree=0\n" + "".join(f"{key}={' '.join(map(str, values))}\n" for key, values in lines.items()) + "\n\n"
        start, end = plain().index(b"Tree=0"), plain().index(b"end of trees")
        return resized(plain()[:start] + tree.encode() + plain()[end:])

    check(chain(DEEPEST + 1))
    with pytest.raises(ValueError, match="1,001 splits deep"):
        check(chain(DEEPEST + 2))
