"""Whatever is done to recorded parts of the serving log is seen, and what came later is not taken for it."""

from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.serving.log_parts import changed_ranges, ranges_of

NAMES = st.builds("{}-{:03d}".format, st.sampled_from(["a", "a-b", "b"]), st.integers(0, 999))
PARTS = st.dictionaries(NAMES, st.sampled_from(["x", "y", "z"]), min_size=1, max_size=20)


@given(PARTS, PARTS)
def test_parts_that_stand_are_as_recorded_and_later_ones_are_no_change(parts, more):
    ranges = ranges_of(parts)
    assert sum(one.parts for one in ranges) == len(parts)
    assert not list(changed_ranges(ranges, parts))
    ends = {one.last.rpartition("-")[0]: one.last for one in ranges}
    later = {name: what for name, what in more.items() if name > ends.get(name.rpartition("-")[0], "")}
    assert not list(changed_ranges(ranges, {**later, **parts}))


@given(PARTS, st.data())
def test_a_part_that_was_changed_removed_or_put_between_is_seen(parts, data):
    ranges = ranges_of(parts)
    name = data.draw(st.sampled_from(sorted(parts)))
    without = {other: what for other, what in parts.items() if other != name}
    for found in ({**parts, name: "w"}, without, {}):
        (*changed,) = changed_ranges(ranges, found)
        assert any(one.first <= name <= one.last for one in changed)
    wide = next((one for one in ranges if one.parts > 1), None)
    if wide is not None:
        between = f"{wide.first}0"
        assert list(changed_ranges(ranges, {**parts, between: "x"})) == [wide]


def test_a_range_names_its_parts():
    one, two = ranges_of({"a-1": "x", "b-2": "y", "b-1": "z"})
    assert (one.summary, two.summary) == ("a-1", "b-1 to b-2")
