"""A day that was rewritten speaks against the models that used it; a day that is only read otherwise does not."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.data.reproducibility import Reproducibility, StoredDay, rewritten_days

FIRST, SECOND = date(2024, 2, 28), date(2024, 2, 29)


def stored(*steps: tuple[str, bool]) -> StoredDay:
    """A day that began as `a` and was then read again: (digest, whether from the same files)."""
    day = StoredDay(digest="a")
    for digest, same_files in steps:
        day = day.followed_by(digest, same_files=same_files)
    return day


@pytest.mark.parametrize(
    ("day", "pinned", "same_rules", "holds"),
    [
        (stored(), "a", True, True),
        (stored(("b", False)), "a", True, False),
        (stored(("b", False)), "b", True, True),
        (stored(("b", False)), "a", False, False),
        (stored(("b", True)), "a", False, True),
        (stored(("b", True), ("c", False)), "a", False, False),
        (stored(("b", False), ("a", False)), "a", True, True),
        (stored(("b", False), ("a", False)), "b", True, False),
        (StoredDay(digest="b"), "a", True, False),
        (StoredDay(digest="b"), "a", False, None),
    ],
    ids=[
        "untouched",
        "rewritten",
        "rewritten before it was used",
        "rewritten, and the settings changed later",
        "the same files under other settings",
        "read under other settings, then rewritten",
        "rewritten and put back",
        "the rows in between are gone",
        "nothing remembered, made by the same settings",
        "nothing remembered, made by other settings",
    ],
)
def test_a_day_holds_what_was_used_unless_other_files_took_its_place(
    day: StoredDay, pinned: str, same_rules: bool, holds: bool | None
) -> None:
    assert day.still_holds(pinned, same_rules=same_rules) is holds


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=12))
def test_a_day_always_holds_what_it_is_and_never_forgets_what_it_was(steps: list[tuple[str, bool]]) -> None:
    day = stored(*steps)
    assert day.still_holds(day.digest, same_rules=True)
    ever = {"a", *(digest for digest, _ in steps)}
    assert ever == {day.digest, *day.alike, *day.rewritten}


def test_rewritten_days_are_named_with_both_digests_and_days_that_are_not_stored_tell_nothing() -> None:
    used = {FIRST: "a", SECOND: "a", date(2024, 3, 1): "a"}
    found = rewritten_days(used, {FIRST: stored(), SECOND: stored(("b", False))}, same_rules=True)
    assert [(change.day, change.before, change.after) for change in found] == [(SECOND, "a", "b")]


class TestVersion:
    used = {FIRST: "a", SECOND: "a"}

    def after(self, before: Reproducibility, **days: StoredDay) -> Reproducibility:
        named = {"first": FIRST, "second": SECOND}
        return before.judged_again(self.used, {named[name]: day for name, day in days.items()}, same_rules=True)

    def test_it_is_reproducible_while_its_days_are_intact(self) -> None:
        found = self.after(Reproducibility(), first=stored(), second=stored())
        assert (found.reproducible, found.reason) == (True, "")

    def test_a_rewritten_day_is_the_reason(self) -> None:
        found = self.after(Reproducibility(), second=stored(("b", False)))
        assert (found.reproducible, found.reason) == (False, "day 2024-02-29 was rewritten")

    def test_what_was_found_earlier_stands_until_that_day_is_back(self) -> None:
        before = Reproducibility(rewritten=(FIRST,))
        assert self.after(before, second=stored(("b", False))).rewritten == (FIRST, SECOND)
        assert self.after(before, first=stored(("b", False))).rewritten == (FIRST,)
        assert self.after(before, first=stored(("b", False), ("a", False))).reproducible

    def test_many_days_are_not_all_named(self) -> None:
        days = tuple(date(2024, 3, n) for n in range(1, 8))
        assert Reproducibility(rewritten=days).reason == (
            "days 2024-03-01, 2024-03-02, 2024-03-03 and 4 more were rewritten"
        )
