"""Whether keys and categories of a day are written as on the days that they are joined with.

Here: how a column is written on a day, and which days cannot be joined. Not here: which days a window joins
(`domain/features.py`), and what becomes of a day that does not fit (`orchestration/assets/ingestion.py`).

The key 742 never meets the key "0742", and the category "742" is not "742.0": nothing fails, but history is lost and
the category is a new one. So a day is refused that is written otherwise than those beside it, until all agree.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from fraud_retraining.domain.schemas import Policy

Kind = Literal["whole", "padded", "decimal", "boolean", "text"]
_KINDS: dict[Kind, str] = {
    "boolean": r"^(true|false)$",
    "decimal": r"^-?[0-9]+\.0+$",
    "whole": r"^(0|-?[1-9][0-9]*)$",
    "padded": r"^[0-9]+$",
}
_WORDS: dict[Kind, str] = {
    "boolean": "true or false",
    "decimal": "numbers with a point, such as 742.0",
    "whole": "whole numbers without leading zeros",
    "padded": "whole numbers with leading zeros",
    "text": "text",
}


class Spelling(Policy):
    """How every value of a column is written on a day; lengths are of the shortest and the longest value."""

    kind: Kind
    shortest: int
    longest: int

    def words(self) -> str:
        """The spelling for people."""
        return f"{self.longest} digits with leading zeros" if self._is_fixed else _WORDS[self.kind]

    @property
    def _is_fixed(self) -> bool:
        return self.kind == "padded" and self.shortest == self.longest

    def fits(self, other: "Spelling") -> bool:
        """Whether one value may be written the same way on both days.

        Text fits everything: values that are partly words have no rule. Whole numbers fit codes of a fixed length when
        none of them is so short that it would have been padded.
        """
        if "text" in (self.kind, other.kind) or self.kind == other.kind:
            return not (self._is_fixed and other._is_fixed) or self.longest == other.longest
        padded, whole = (self, other) if self.kind == "padded" else (other, self)
        if (padded.kind, whole.kind) != ("padded", "whole"):
            return False
        return padded._is_fixed and whole.shortest >= padded.longest


def spelling_of(values: pa.ChunkedArray) -> Spelling | None:
    """How the values of a column of text are written; None where there is no value."""
    words = pc.unique(values.drop_null())
    if not len(words):
        return None
    kind = next(
        (kind for kind, rule in _KINDS.items() if pc.all(pc.match_substring_regex(words, rule)).as_py()), "text"
    )
    lengths = pc.min_max(pc.utf8_length(words)).as_py()
    return Spelling(kind=kind, shortest=lengths["min"], longest=lengths["max"])


def spellings(accepted: pa.Table, columns: Collection[str]) -> dict[str, Spelling]:
    """How those of `columns` that are text are written in a day's accepted rows."""
    texts = [name for name in columns if name in accepted.column_names and pa.types.is_string(accepted[name].type)]
    found = {name: spelling_of(accepted[name]) for name in texts}
    return {name: one for name, one in found.items() if one is not None}


class Identity(Policy):
    """How a day writes what it shares with other days: types of keys, spelling of text keys and categories."""

    key_types: dict[str, str] = Field({}, description="Whether each key is integer or text.")
    spellings: dict[str, Spelling] = Field({}, description="How text keys and categories are written.")


class Clash(NamedTuple):
    """A column that is not written as on another day."""

    column: str
    here: str
    there: str
    day: date

    def words(self, label: str) -> str:
        """The clash for people; the same on each day that clashes with the same other one."""
        return f"{label} is {self.here}, but {self.there} on {self.day}"


def clashes(own: Identity, others: Mapping[date, Identity]) -> list[Clash]:
    """Each column that does not fit one of the other days, with the latest of those."""
    found: dict[str, Clash] = {}
    for day, other in sorted(others.items()):
        found |= {
            clash.column: clash for clash in (*_unlike_spellings(own, other, day), *_unlike_types(own, other, day))
        }
    return list(found.values())


def _unlike_types(own: Identity, other: Identity, day: date) -> Iterator[Clash]:
    for name, kind in own.key_types.items():
        if other.key_types.get(name, kind) != kind:
            yield Clash(name, kind, other.key_types[name], day)


def _unlike_spellings(own: Identity, other: Identity, day: date) -> Iterator[Clash]:
    for name, spelling in own.spellings.items():
        if name in other.spellings and not spelling.fits(other.spellings[name]):
            yield Clash(name, spelling.words(), other.spellings[name].words(), day)
