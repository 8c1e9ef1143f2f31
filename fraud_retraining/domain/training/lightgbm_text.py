"""LightGBM's text format of a model from elsewhere, checked before LightGBM reads it.

LightGBM trusts its own files: a feature, a child or a length that is not there makes it read beyond its memory, at once
or when it scores. So every number that it follows is checked here first. Not here: what the model may be
(`domain/training/imported.py`).

The form is that of `GBDT::SaveModelToString` and `Tree::ToString`: lines `key=value`, a blank line, then `Tree=0`,
lines `key=value` and blank lines for each tree, whose sizes in bytes stand under `tree_sizes`.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

DEEPEST = 1000
"""Most splits from the root of a tree to a leaf; LightGBM follows them by recursion."""
MOST_LINES = 22
"""Lines of a tree that LightGBM reads; it takes later ones for absent."""

_FIRST, _END = b"\nTree=0\n", b"end of trees"
_WHOLE = re.compile(rb"-?[0-9]{1,9}")
_WHOLES = re.compile(rb"(-?[0-9]{1,9}( -?[0-9]{1,9})*)?")
_NUMBER = rb"-?([0-9]+(\.[0-9]*)?(e[-+]?[0-9]{1,3})?|inf|nan)"
_NUMBERS = re.compile(rb"(" + _NUMBER + rb"( " + _NUMBER + rb")*)?")
_NODES = ("split_feature", "decision_type", "left_child", "right_child")
_NODE_NUMBERS, _LEAF_NUMBERS = ("threshold", "split_gain", "internal_value", "internal_count"), ("leaf_value",)
_COUNTED_LEAVES = ("leaf_count",)
_OPTIONAL_NODES, _OPTIONAL_LEAVES = ("internal_weight",), ("leaf_weight",)
_PARAMETERS, _PARAMETER = b"\nparameters:\n", re.compile(rb"\[[a-z0-9_]+: [^\n]*\]")
_PARAMETERS_END = b"\n\nend of parameters\n"


def header_of(data: bytes) -> Mapping[str, str]:
    """What stands before the trees, by its keys.

    Raises:
        ValueError: it is not LightGBM's text of a model with trees.
    """
    if b"\r" in data or b"\0" in data:
        raise ValueError("it has carriage returns or zero bytes: LightGBM writes neither")
    if not data.startswith(b"tree\n") or _FIRST not in data:
        raise ValueError("it is not LightGBM's text of a model with trees")
    return {key: value.decode() for key, value in _pairs(data[: data.index(_FIRST)].split(b"\n"), "the header")}


def check_trees(data: bytes, header: Mapping[str, str]) -> None:
    """Refuse trees that LightGBM could not follow.

    Args:
        data: the whole file.
        header: its `header_of`.

    Raises:
        ValueError: the file is damaged, has several trees a round, categories or linear leaves; says where.
    """
    width = _required_whole(header, "max_feature_idx") + 1
    for name in ("feature_names", "feature_infos"):
        if len(header.get(name, "").split(" ")) != width:
            raise ValueError(f"{name} does not name {width} features")
    for name in ("num_class", "num_tree_per_iteration"):
        if _required_whole(header, name) != 1:
            raise ValueError(f"{name} is {header[name]}, it has to be 1")
    start = end = data.index(_FIRST) + 1
    for number, size in enumerate(_wholes(header.get("tree_sizes", "").encode(), "tree_sizes").tolist()):
        block, end = data[end : end + max(size, 0)], end + max(size, 0)
        _check_tree(block, number, width)
    if end == start or not data[end:].startswith(_END):
        raise ValueError("the sizes of its trees are not those under tree_sizes")
    _check_parameters(data, end)


def _check_tree(block: bytes, number: int, width: int) -> None:
    where = f"tree {number}"
    lines = block.rstrip(b"\n").split(b"\n")
    if not block.endswith(b"\n\n") or lines[0] != f"Tree={number}".encode() or not 1 < len(lines) <= MOST_LINES:
        raise ValueError(f"{where} does not begin or end where tree_sizes says")
    if any(line.count(b"=") != 1 for line in lines):
        raise ValueError(f"{where} has a line that is not of the form key=value")
    tree = dict(_pairs(lines[1:], where))
    leaves = int(_whole(tree.get("num_leaves", b""), f"{where}, num_leaves"))
    if leaves < 1 or tree.get("num_cat") != b"0" or tree.get("is_linear", b"0") != b"0":
        raise ValueError(f"{where} has no leaves, splits by categories, or linear leaves")
    for names, length, wanted in (
        (_NODE_NUMBERS, leaves - 1, True),
        (_LEAF_NUMBERS, leaves, True),
        (_COUNTED_LEAVES, leaves, leaves > 1),
        (_OPTIONAL_NODES, leaves - 1, False),
        (_OPTIONAL_LEAVES, leaves, False),
    ):
        for name in names:
            _check_numbers(tree.get(name), length, f"{where}, {name}", wanted=wanted and (leaves > 1 or length == 1))
    _check_numbers(tree.get("shrinkage"), 1, f"{where}, shrinkage", wanted=False)
    if leaves == 1:
        return
    nodes = {name: _wholes(tree.get(name, b""), f"{where}, {name}") for name in _NODES}
    for name, values in nodes.items():
        if len(values) != leaves - 1:
            raise ValueError(f"{where}, {name} has {len(values)} numbers for {leaves - 1} splits")
    feature, kind = nodes["split_feature"], nodes["decision_type"]
    if feature.min() < 0 or feature.max() >= width:
        raise ValueError(f"{where} splits by a feature that is not there")
    # Bit 0 is a split by categories; the next three say how a missing value goes.
    if kind.min() < 0 or kind.max() > 15 or (kind & 1).any():
        raise ValueError(f"{where} has a decision_type that is no split of numbers")
    _check_shape(nodes["left_child"], nodes["right_child"], leaves, where)


def _check_parameters(data: bytes, trees_end: int) -> None:
    """Each parameter is a line `[key: value]`; a file may have none."""
    found = data.count(b"\nparameters:")
    if not found:
        return
    start = data.find(_PARAMETERS, trees_end)
    end = data.find(_PARAMETERS_END, start)
    lines = data[start + len(_PARAMETERS) : end].split(b"\n") if 0 <= start < end else [b""]
    if found > 1 or not all(map(_PARAMETER.fullmatch, lines)):
        raise ValueError("its parameters are not lines of [key: value] up to `end of parameters`")


def _check_shape(left: np.ndarray, right: np.ndarray, leaves: int, where: str) -> None:
    """Each node but the root, and each leaf (-1 is the first), is the child of one node that stands before it."""
    children = np.sort(np.concatenate([left, right]))
    if not np.array_equal(children, np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])):
        raise ValueError(f"{where} has a child that is not there, or twice")
    depth = [1] * (leaves - 1)
    for node, both in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        for child in both:
            if 0 <= child <= node:
                raise ValueError(f"{where} has a child before its parent")
            if child > 0:
                depth[child] = depth[node] + 1
    if max(depth) > DEEPEST:
        raise ValueError(f"{where} is {max(depth):,} splits deep, more than {DEEPEST:,}")


def _check_numbers(line: bytes | None, length: int, where: str, *, wanted: bool) -> None:
    if not line:
        if wanted:
            raise ValueError(f"{where} is not there")
    elif not _NUMBERS.fullmatch(line) or line.count(b" ") + 1 != length:
        raise ValueError(f"{where} is not {length} numbers")


def _pairs(lines: list[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """Keys and values; a key comes once, for which of two LightGBM takes is not said anywhere."""
    known = set()
    for line in lines:
        key, equals, value = line.partition(b"=")
        if equals:
            if key in known:
                raise ValueError(f"{where} has {key[:50].decode(errors='replace')} twice")
            known.add(key)
            yield key.decode(), value


def _required_whole(header: Mapping[str, str], name: str) -> int:
    return int(_whole(header.get(name, "").encode(), name))


def _whole(text: bytes, where: str) -> bytes:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{where} is no whole number")
    return text


def _wholes(text: bytes, where: str) -> np.ndarray:
    if not _WHOLES.fullmatch(text):
        raise ValueError(f"{where} are no whole numbers")
    return np.array([int(one) for one in text.split()], np.int64)
