"""Whether keys and categories of a day are written as on the days that they are joined with.

Here: how a column is written on a day, and which days cannot be joined. Not here: which days a window joins
(`domain/features/point_in_time.py`), and what becomes of a day that does not fit (`orchestration/assets/ingestion.py`).

The key 742 never meets the key "0742", and the category "742" is not "742.0": nothing fails, but history is lost and
the category is a new one. So a day is refused that is written otherwise than those beside it, until all agree. A key of
several columns is held to this column by column.

Values that are partly words follow no rule that a day could be held to alone: "c742" may be another key than "C742".
The evidence is which values two days share. So each day keeps a sample of its values, the same ones on every day that
has them, and is refused when they match another day's only if capitals, leading zeros and outer blanks are ignored.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from fraud_retraining.domain.values.base import Value

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
SAMPLED = 128
FEW, MOST_OF_FEW, SOME_OF_MANY, HARDLY_ANY = 20, 0.9, 0.2, 0.05
"""Of `FEW` values or more that two days share when their form is ignored, a fifth of the smaller day is enough
evidence; of fewer, nearly all have to be shared, and at least two. `HARDLY_ANY` of them may be written alike."""
_LEADING_ZEROS = r"(^|[^0-9])0+([0-9])"
_FORMS = (
    (r"\p{Lu}", "capitals"),
    (r"\p{Ll}", "capitals"),
    (_LEADING_ZEROS, "leading zeros"),
    (r"^\s|\s$", "surrounding blanks"),
)
_ENTRY = 13


class Spelling(Value):
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
        # Text follows no rule of spelling: the samples judge it (`differing_forms`).
        if "text" in (self.kind, other.kind) or self.kind == other.kind:
            return not (self._is_fixed and other._is_fixed) or self.longest == other.longest
        padded, whole = (self, other) if self.kind == "padded" else (other, self)
        if (padded.kind, whole.kind) != ("padded", "whole"):
            return False
        return padded._is_fixed and whole.shortest >= padded.longest


def spelling_of(words: pa.Array) -> Spelling | None:
    """How distinct values of text are written; None where there is no value."""
    if not len(words):
        return None
    # The narrowest kind that fits all values, in the order of `_KINDS`.
    kind = next(
        (kind for kind, rule in _KINDS.items() if pc.all(pc.match_substring_regex(words, rule)).as_py()), "text"
    )
    lengths = pc.min_max(pc.utf8_length(words)).as_py()
    return Spelling(kind=kind, shortest=lengths["min"], longest=lengths["max"])


def spellings(texts: Mapping[str, pa.Array]) -> dict[str, Spelling]:
    """How the distinct values of each column are written; a column without values is left out."""
    found = {name: spelling_of(words) for name, words in texts.items()}
    return {name: one for name, one in found.items() if one is not None}


def samples(texts: Mapping[str, pa.Array]) -> dict[str, str]:
    """A sample of the distinct values of each column (`sample_of`); a column without values is left out."""
    return {name: sample_of(words) for name, words in texts.items() if len(words)}


def sample_of(words: pa.Array) -> str:
    """The values whose form aside is least by its hash: for each, hashes of it without and with its form, and its form.

    Days that share values so share them in their samples, and no value can be read from one.
    """
    # The smallest hashes: two days that share values have them in both samples (a bottom-k sketch).
    # Hashes and not values: facts of a day lie in the open, keys of customers do not.
    plain = _hashes(_without_form(words)) >> np.uint64(32)
    least = np.argpartition(plain, SAMPLED)[:SAMPLED] if len(plain) > SAMPLED else np.arange(len(plain))
    chosen = words.take(pa.array(least))
    written = _hashes(chosen) >> np.uint64(48)
    forms = np.zeros(len(least), np.int64)
    for bit, (rule, _) in enumerate(_FORMS):
        forms |= pc.match_substring_regex(chosen, rule).to_numpy(zero_copy_only=False).astype(np.int64) << bit
    entries = zip(plain[least].tolist(), written.tolist(), forms.tolist(), strict=True)
    return "".join(sorted(f"{one:08x}{other:04x}{form:x}" for one, other, form in entries))


def _without_form(words: pa.Array) -> pa.Array:
    """The values without capitals, leading zeros of their numbers, and blanks around them."""
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(words))
    padded = pc.match_substring_regex(lower, _LEADING_ZEROS)
    stripped = pc.replace_substring_regex(lower.filter(padded), _LEADING_ZEROS, r"\1\2")
    return pc.replace_with_mask(lower, padded, stripped)


def _hashes(words: pa.Array) -> np.ndarray[Any, Any]:
    from pandas.util import hash_array

    return np.asarray(hash_array(words.to_numpy(zero_copy_only=False), categorize=False), np.uint64)


class _Sample(NamedTuple):
    """A sample read back: how each value was written, by its hash without form; and below which hash it has all."""

    values: dict[str, set[str]]
    reach: str

    @classmethod
    def read(cls, text: str) -> "_Sample":
        """From `sample_of`."""
        entries = [text[at : at + _ENTRY] for at in range(0, len(text), _ENTRY)]
        values: dict[str, set[str]] = {}
        for entry in entries:
            values.setdefault(entry[:8], set()).add(entry[8:])
        # A full sample is complete only below its greatest hash; "g" is above every hexadecimal digit.
        return cls(values, max(values) if len(entries) == SAMPLED else "g")

    def below(self, reach: str) -> dict[str, set[str]]:
        """The values that a day with this reach has in its sample too, if it has them."""
        return {plain: written for plain, written in self.values.items() if plain < reach}


def differing_forms(own: str, other: str) -> tuple[str, ...]:
    """In which forms the values of two samples differ, where these are what keeps them from meeting; else none."""
    first, second = _Sample.read(own), _Sample.read(other)
    # Only below both reaches does absence mean that the day lacks the value.
    reach = min(first.reach, second.reach)
    ours, theirs = first.below(reach), second.below(reach)
    shared = ours.keys() & theirs.keys()
    least = min(len(ours), len(theirs)) * (SOME_OF_MANY if len(shared) >= FEW else MOST_OF_FEW)
    alike = sum(bool(ours[plain] & theirs[plain]) for plain in shared)
    if len(shared) < max(2, least) or alike > HARDLY_ANY * len(shared):
        return ()
    differ = [_form(ours[plain]) ^ _form(theirs[plain]) for plain in shared]
    found = [name for bit, (_, name) in enumerate(_FORMS) if 2 * sum(one >> bit & 1 for one in differ) > len(differ)]
    return tuple(dict.fromkeys(found or [name for _, name in _FORMS]))


def _form(written: Iterable[str]) -> int:
    return int(max(entry[4:] for entry in written), 16)


class Identity(Value):
    """How a day writes the values that it shares with other days: types of keys, spelling of text keys and categories.

    Of a key of several columns, it is each column that has a type and a spelling.
    """

    key_types: dict[str, str] = Field({}, description="Whether each key is integer or text.")
    spellings: dict[str, Spelling] = Field({}, description="How text keys and categories are written.")
    samples: dict[str, str] = Field({}, description="Which values they have, and in which form, as hashes.")


class Clash(NamedTuple):
    """A column that is not written as on another day."""

    column: str
    here: str
    there: str
    day: date

    def words(self, label: str) -> str:
        """The clash as text; the same on each day that clashes with the same other one."""
        return f"{label} is {self.here}, but {self.there} on {self.day}"


def clashes(own: Identity, others: Mapping[date, Identity]) -> list[Clash]:
    """Each column that does not fit one of the other days, with the latest of those."""
    found: dict[str, Clash] = {}
    for day, other in sorted(others.items()):
        unlike = (*_unlike_forms(own, other, day), *_unlike_spellings(own, other, day), *_unlike_types(own, other, day))
        found |= {clash.column: clash for clash in unlike}
    return list(found.values())


def _unlike_types(own: Identity, other: Identity, day: date) -> Iterator[Clash]:
    for name, kind in own.key_types.items():
        if other.key_types.get(name, kind) != kind:
            yield Clash(name, kind, other.key_types[name], day)


def _unlike_spellings(own: Identity, other: Identity, day: date) -> Iterator[Clash]:
    for name, spelling in own.spellings.items():
        if name in other.spellings and not spelling.fits(other.spellings[name]):
            yield Clash(name, spelling.words(), other.spellings[name].words(), day)


def _unlike_forms(own: Identity, other: Identity, day: date) -> Iterator[Clash]:
    for name, sample in own.samples.items():
        if name in other.samples and (forms := differing_forms(sample, other.samples[name])):
            yield Clash(name, "written in one way", f"with other {' and '.join(forms)}", day)
