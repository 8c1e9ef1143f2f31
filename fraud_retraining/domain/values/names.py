"""Names that users give to columns and entities, and the problems that make a name invalid.

Names are checked at start, so that no run fails for a name after hours of work. Internal names begin with `__`, which
no name of a user may. Not here: where the names are set (`settings.py`).
"""

import re
from collections.abc import Iterable, Sequence

INTERNAL = "__"
LONGEST = 200
INSIDE = frozenset(
    {"reason", "surplus", "delivered_label", "delivered_decision", "day", "weight", "score", "scores", "fraud_rate"}
)
"""Names of columns that the project adds beside those of the lake."""

_ENTITY = re.compile(r"[a-z][a-z0-9_]*")
_SIGNS_OF_FEATURES = "[]<"


def shown(name: str) -> str:
    """A name as messages show it: characters that cannot be printed are escaped."""
    return name if name.isprintable() else repr(name)


def column_problem(name: str) -> str:
    """Problem with a name of a column; empty when there is none."""
    if name.startswith(INTERNAL):
        return f"begins with {INTERNAL}, as only names used inside do"
    if not name.isprintable() or not name.strip():
        return "holds signs that cannot be printed"
    return f"is longer than {LONGEST} signs" if len(name) > LONGEST else ""


def feature_problem(name: str, own: Iterable[str]) -> str:
    """Problem with a name of a feature; empty when there is none. `own` are the names of the project's columns.

    DuckDB compares column names without letter case, and XGBoost refuses some characters in names of features.

    >>> feature_problem("amount[eur]", [])
    'holds [ and ], which XGBoost refuses in names of features'
    >>> feature_problem("country", ["hour"])
    ''
    """
    if signs := [sign for sign in _SIGNS_OF_FEATURES if sign in name]:
        return f"holds {' and '.join(signs)}, which XGBoost refuses in names of features"
    # casefold, because DuckDB resolves `HOUR` and `hour` to one column.
    same = [mine for mine in (*INSIDE, *own) if mine.casefold() == name.casefold()]
    if not same:
        return column_problem(name)
    capitals = "" if same[0] == name else f" ({same[0]}; letter case is ignored)"
    return f"has the name of a column that the project makes itself{capitals}"


def entity_problem(name: str, reserved: Iterable[str]) -> str:
    """Problem with a name of an entity; empty when there is none."""
    if not _ENTITY.fullmatch(name):
        return "is no name of lower-case letters, digits and underscores that begins with a letter"
    if name in {*reserved, *INSIDE}:
        return f"is one of {', '.join(sorted({*reserved, *INSIDE}))}"
    return f"is longer than {LONGEST} signs" if len(name) > LONGEST else ""


def twins(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ in letter case only.

    >>> twins(["Amount", "country", "AMOUNT"])
    [('Amount', 'AMOUNT')]
    """
    same: dict[str, dict[str, None]] = {}
    for name in names:
        same.setdefault(name.casefold(), {})[name] = None
    return [tuple(found) for found in same.values() if len(found) > 1]
