"""A YAML file of settings as plain values, read so that nothing in it is lost or can run away.

Here: what a loader must refuse that PyYAML accepts: a key that stands twice (the last one would win), a code of digits
that YAML takes for another number, aliases that multiply, nesting without end. Not here: what the values mean
(`settings.py`).
"""

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES, MOST_NODES, DEEPEST = 1_000_000, 100_000, 40


_ANOTHER_NUMBER = re.compile(r"[-+]?(0[0-7_]+|0[bx].*|.*:.*)")
"""Octal, binary, hexadecimal and sexagesimal numbers of YAML 1.1."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses what it would lose or cannot hold."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node of the document; an alias stands for a whole copy of what it names."""
        aliased = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"it is nested deeper than {DEEPEST} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._nodes += _size(node, MOST_NODES - self._nodes) if aliased else 1
        if self._nodes > MOST_NODES:
            problem = f"with its aliases it holds more than {MOST_NODES} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, none of whose own keys stands twice; what it merges from elsewhere its own keys may replace."""
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        merges = [key for key, _ in node.value if key.tag == "tag:yaml.org,2002:merge"]
        _refuse_twice([key for key in own if isinstance(key, yaml.ScalarNode)], self.construct_object)
        _refuse_twice(merges, lambda key: key.value)
        return super().construct_mapping(node, deep=deep)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """A number that is the one that people read; a merchant category 0742 is no 482, and 12:30 no 750."""
    if node.style is None and _ANOTHER_NUMBER.fullmatch(node.value):
        problem = f"YAML takes {node.value} for another number: write it in quotes, or as a decimal number"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    if node.tag == INTEGER:
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


INTEGER, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.add_constructor(INTEGER, _number)
_Loader.add_constructor(FLOAT, _number)


def _refuse_twice(keys: list[Any], name: Callable[[Any], Any]) -> None:
    seen: dict[Any, Any] = {}
    for key in keys:
        first = seen.setdefault(name(key), key)
        if first is not key:
            problem = f"the key {key.value} stands twice, first in line {first.start_mark.line + 1}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)


def _size(node: Any, most: int) -> int:
    """How many values a node holds, counted no further than `most`; one that holds itself is too many."""
    count, left = 0, [node]
    while left and count <= most:
        one = left.pop()
        count += 1
        if isinstance(one, yaml.MappingNode):
            left += [part for pair in one.value for part in pair]
        elif isinstance(one, yaml.SequenceNode):
            left += one.value
    return count


def read_yaml(path: Path) -> Any:
    """What the file says.

    Raises:
        yaml.YAMLError: it is no YAML, a key stands twice, or it is too large, too deep or multiplies itself.
        OSError, UnicodeDecodeError, ValueError: as Python says of files, texts and dates.
    """
    # Before parsing: aliases within aliases ("billion laughs") make gigabytes of a small text, a large one takes
    # minutes.
    if path.stat().st_size > MOST_BYTES:
        raise yaml.YAMLError(f"it has more than {MOST_BYTES:,} bytes")
    loader = _Loader(path.read_text(encoding="utf-8"))
    try:
        node = loader.get_single_node()
        # An anchor may name a node that holds it; PyYAML builds an endless structure of that.
        if node is not None and _size(node, MOST_NODES) > MOST_NODES:
            raise yaml.YAMLError("something in it holds itself")
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
