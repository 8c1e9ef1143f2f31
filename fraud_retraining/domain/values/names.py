"""Names that users give to columns and entities, and which of them the work cannot bear.

Here: what is refused at start, so that nothing fails for a name after hours of work. Not here: where the names stand in
the settings (`settings.py`). Names used inside begin with `__`, which no user's name may.
"""

import re
from collections.abc import Iterable, Sequence

INTERNAL = "__"
LONGEST = 200
INSIDE = frozenset({"reason", "surplus", "delivered_label", "day", "weight", "score", "scores", "fraud_rate"})
"""Names of columns that the project adds beside those of the lake."""

_ENTITY = re.compile(r"[a-z][a-z0-9_]*")
_SIGNS_OF_FEATURES = "[]<"


def shown(name: str) -> str:
    """A name as messages show it: with signs that cannot be printed written out."""
    return name if name.isprintable() else repr(name)


def column_problem(name: str) -> str:
    """Why no column may be called so; empty when it may."""
    if name.startswith(INTERNAL):
        return f"begins with {INTERNAL}, as only names used inside do"
    if not name.isprintable() or not name.strip():
        return "holds signs that cannot be printed"
    return f"is longer than {LONGEST} signs" if len(name) > LONGEST else ""


def feature_problem(name: str, own: Iterable[str]) -> str:
    """Why no feature may be called so, where `own` are the names of the project's columns; empty when it may.

    The engine does not tell capitals apart, and XGBoost refuses some signs in names of features.
    """
    if signs := [sign for sign in _SIGNS_OF_FEATURES if sign in name]:
        return f"holds {' and '.join(signs)}, which XGBoost refuses in names of features"
    same = [mine for mine in (*INSIDE, *own) if mine.casefold() == name.casefold()]
    if not same:
        return column_problem(name)
    capitals = "" if same[0] == name else f" ({same[0]}; capitals do not tell columns apart)"
    return f"has the name of a column that the project makes itself{capitals}"


def entity_problem(name: str, reserved: Iterable[str]) -> str:
    """Why no entity may be called so; empty when it may."""
    if not _ENTITY.fullmatch(name):
        return "is no name of lower-case letters, digits and underscores that begins with a letter"
    if name in {*reserved, *INSIDE}:
        return f"is one of {', '.join(sorted({*reserved, *INSIDE}))}"
    return f"is longer than {LONGEST} signs" if len(name) > LONGEST else ""


def twins(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names that differ in capitals only, together."""
    same: dict[str, dict[str, None]] = {}
    for name in names:
        same.setdefault(name.casefold(), {})[name] = None
    return [tuple(found) for found in same.values() if len(found) > 1]
