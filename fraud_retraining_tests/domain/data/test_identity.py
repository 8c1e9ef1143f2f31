"""A day is written as the days that it is joined with, or refused in words that say what differs."""

from collections.abc import Callable, Iterable
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fraud_retraining.domain.data.identity import (
    SAMPLED,
    Identity,
    clashes,
    sample_of,
    samples,
    spelling_of,
    spellings,
)

MONDAY, TUESDAY, WEDNESDAY = (date(2024, 3, day) for day in (4, 5, 6))


def spelt(*words: str | None) -> Identity:
    texts = {"code": distinct(words)}
    return Identity(spellings=spellings(texts), samples=samples(texts))


def distinct(words: Iterable[str | None]) -> pa.Array:
    return pc.unique(pa.array(list(words), pa.string()).drop_null())


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["742", "5411", None], "whole"),
        (["0", "-7"], "whole"),
        (["0742", "5411"], "padded"),
        (["742.0", "5411.0"], "decimal"),
        (["true", "false"], "boolean"),
        (["A742", "5411"], "text"),
        (["0742", "x"], "text"),
        (["742", "742.0"], "text"),
        (["", " "], "text"),
    ],
)
def test_the_spelling_of_a_column_is_one_that_all_its_values_have(words, kind):
    found = spelling_of(distinct(words))
    assert found is not None and found.kind == kind


def test_a_column_without_a_value_has_no_spelling():
    assert spelt(None, None) == Identity()
    assert clashes(spelt(None), {MONDAY: spelt("0742")}) == []


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        (["742"], ["5411"], True),
        (["742"], ["0742"], False),
        (["5411"], ["0742", "5411"], True),
        (["54111"], ["0742"], True),
        (["742"], ["742.0"], False),
        (["0742"], ["742.0"], False),
        (["0742"], ["00742"], False),
        (["0742"], ["0742", "00742"], True),
        (["true"], ["1", "0"], False),
        (["A1", "742"], ["0742"], True),
        (["web"], ["shop"], True),
    ],
)
def test_days_fit_when_one_value_may_be_written_alike_on_both(one, other, fit):
    assert (clashes(spelt(*one), {MONDAY: spelt(*other)}) == []) is fit
    assert (clashes(spelt(*other), {MONDAY: spelt(*one)}) == []) is fit


NUMBERS = range(1000, 1600)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (str.upper, "with other capitals"),
        (str.title, "with other capitals"),
        (lambda word: word.replace("c", "c0"), "with other leading zeros"),
        (lambda word: f" {word}", "with other surrounding blanks"),
        (lambda word: word.replace("c", "C00") + " ", "with other capitals and leading zeros and surrounding blanks"),
    ],
)
@pytest.mark.parametrize("count", [2, 19, 600])
def test_words_that_meet_only_in_another_form_do_not_fit(change: Callable[[str], str], words: str, count: int) -> None:
    before = [f"c{number}x" for number in NUMBERS[:count]]
    one, other = spelt(*before), spelt(*map(change, before))
    (clash,) = clashes(one, {MONDAY: other})
    assert clash.words("CARD") == f"CARD is written in one way, but {words} on 2024-03-04"
    assert len(clashes(other, {MONDAY: one})) == 1


@pytest.mark.parametrize("shared", [0.05, 0.35, 1.0])
def test_a_part_of_the_keys_that_days_share_is_enough_to_tell(shared: float) -> None:
    """Days of 2,000 cards each: the sample holds the same ones, so that a third of them is seen and a twentieth not."""
    first = int(2000 * (1 - shared))
    one, other = spelt(*(f"c{n}" for n in range(2000))), spelt(*(f"C{n}" for n in range(first, first + 2000)))
    assert bool(clashes(other, {MONDAY: one})) is (shared > 0.05)


def random_codes(alphabet: str, length: int, count: int, seed: int) -> list[str]:
    letters = np.random.default_rng(seed).choice(list(alphabet), (count, length))
    return ["".join(row) for row in letters]


LETTERS = "abcdefghijklmnopqrstuvwxyz"
HONEST: dict[str, tuple[list[str], list[str]]] = {
    "capitals distinguish keys, and few days share any": (
        random_codes(LETTERS + LETTERS.upper() + "0123456789", 4, 60_000, 1),
        random_codes(LETTERS + LETTERS.upper() + "0123456789", 4, 60_000, 2),
    ),
    "capitals distinguish keys, and all come again": (
        [f"{sign}{n}" for n in range(300) for sign in "aA"],
        [f"{sign}{n}" for n in range(200, 500) for sign in "aA"],
    ),
    "both forms are always there": (
        [f"{'cC'[n % 2]}{n}" for n in range(400)],
        [f"{'cC'[n // 7 % 2]}{n}" for n in range(400)],
    ),
    "every key is new": ([f"c{n}" for n in range(500)], [f"C{n}" for n in range(500, 1000)]),
    "zeros count up": ([f"T{n:03d}" for n in range(900)], [f"T{n:03d}" for n in range(500, 1500)]),
    "a single value": (["EUR"], ["eur"]),
    "few of a few values": (["web", "shop", "atm"], ["WEB", "Moto", "Post"]),
    "one source of ten changes": (
        [f"s{n % 10}-c{n}" for n in range(1000)],
        [(f"s{n % 10}-c{n}").upper() if n % 10 == 0 else f"s{n % 10}-c{n}" for n in range(1000)],
    ),
    "prices as text": ([f"{n}.0x" for n in range(50)], [f"{n}.5x" for n in range(50)]),
}


@pytest.mark.parametrize("one, other", HONEST.values(), ids=HONEST)
def test_honest_days_fit(one: list[str], other: list[str]) -> None:
    assert clashes(spelt(*one), {MONDAY: spelt(*other)}) == []
    assert clashes(spelt(*other), {MONDAY: spelt(*one)}) == []


def test_a_sample_is_bounded_and_holds_no_value() -> None:
    sample = sample_of(distinct(f"card-{n}" for n in range(5000)))
    assert len(sample) == SAMPLED * 13
    assert set(sample) <= set("0123456789abcdef")
    assert sample == sample_of(distinct(f"card-{n}" for n in reversed(range(5000))))


def test_a_clash_names_the_latest_day_and_is_reported_alike_on_each_later_one():
    before = {MONDAY: spelt("742"), TUESDAY: spelt("743")}
    (clash,) = clashes(spelt("0742", "5411"), before)
    assert clash.words("MCC") == (
        "MCC is 4 digits with leading zeros, but whole numbers without leading zeros on 2024-03-05"
    )
    assert clashes(spelt("0001", "5411"), before)[0].words("MCC") == clash.words("MCC")


def test_a_key_keeps_its_type():
    text, whole = Identity(key_types={"card": "text"}), Identity(key_types={"card": "integer", "shop": "integer"})
    (clash,) = clashes(text, {WEDNESDAY: whole})
    assert clash.words("CARD (card)") == "CARD (card) is text, but integer on 2024-03-06"
    assert clashes(whole, {WEDNESDAY: Identity(key_types={"shop": "integer"})}) == []
