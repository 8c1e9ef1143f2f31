"""One holder at a time, a higher token with every taking, and nothing for whoever lost it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fraud_retraining.domain.retraining.lease_rules import (
    Claim,
    Lease,
    LeasePolicy,
    Owner,
    Process,
    Purpose,
    abandoned,
    give_back,
    renew,
    require,
    take,
)
from fraud_retraining.domain.values.errors import Busy, Conflict

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = LeasePolicy(expires_seconds=120)
PURPOSE = Purpose(as_of=date(2026, 11, 23), trigger="drift")


def owner(run: str = "a", pid: int = 1) -> Owner:
    return Owner(run_id=run, process=Process(host="worker-1", pid=pid))


def taken(current: Lease | None = None, by: Owner | None = None, at: datetime = NOON, gone: bool = False) -> Lease:
    claim = Claim(name="retrain", owner=by or owner(), purpose=PURPOSE)
    return take(current, claim, POLICY, at, gone=gone)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class TestTaking:
    def test_the_first_gets_it(self) -> None:
        lease = taken()
        assert (lease.token, lease.owner, lease.expires_at) == (1, owner(), later(120))

    def test_the_second_is_refused_with_who_for_what_and_since_when(self) -> None:
        with pytest.raises(Busy) as refused:
            taken(taken(), owner("b"), later(30))
        message = str(refused.value)
        assert refused.value.exit_code == 5
        for part in ("run a", "process 1 on worker-1", "as of 2026-11-23", "drift", "2026-11-24 12:00:00 UTC"):
            assert part in message

    def test_the_same_owner_gets_the_same_token_and_more_time(self) -> None:
        again = taken(taken(), at=later(100))
        assert (again.token, again.taken_at, again.expires_at) == (1, NOON, later(220))

    @pytest.mark.parametrize(
        ("by", "at", "gone", "why"),
        [
            (owner("b"), 120, False, "it has expired to the second"),
            (owner("b"), 10, True, "its process has ended"),
            (owner("a", pid=2), 10, False, "another process executes the same run, so the first one was given up"),
            (owner("a"), 120, False, "even the same owner begins anew once it has expired"),
        ],
    )
    def test_it_passes_on_with_a_higher_token(self, by: Owner, at: float, gone: bool, why: str) -> None:
        passed_on = taken(taken(), by, later(at), gone)
        assert (passed_on.token, passed_on.owner, passed_on.taken_at) == (2, by, later(at)), why

    def test_a_token_is_never_given_twice_even_after_giving_back(self) -> None:
        first = taken()
        free = give_back(first, first, later(1))
        assert free is not None
        assert not free.held(later(1))
        assert taken(free, owner("b"), later(2)).token == 2


class TestKeeping:
    def test_a_sign_of_life_gives_more_time(self) -> None:
        lease = taken()
        assert renew(lease, lease, POLICY, later(119)).expires_at == later(239)

    def test_an_expired_one_is_lost_even_if_nobody_took_it(self) -> None:
        lease = taken()
        with pytest.raises(Conflict, match="no sign of life"):
            renew(lease, lease, POLICY, later(120))

    def test_whoever_was_overtaken_learns_by_whom(self) -> None:
        mine = taken()
        current = taken(mine, owner("b"), later(600))
        for refused in (lambda: renew(current, mine, POLICY, later(601)), lambda: require(current, mine, later(601))):
            with pytest.raises(Conflict, match=r"run b .* took it at 2026-11-24 12:10:00"):
                refused()

    def test_one_that_was_given_back_does_not_count(self) -> None:
        mine = taken()
        with pytest.raises(Conflict, match="given back"):
            require(give_back(mine, mine, later(1)), mine, later(2))

    def test_nobody_gives_back_what_is_another_ones(self) -> None:
        mine = taken()
        current = taken(mine, owner("b"), later(600))
        assert give_back(current, mine, later(601)) is None
        assert give_back(None, mine, later(601)) is None

    def test_a_lease_of_a_ledger_that_lost_its_table_does_not_count(self) -> None:
        with pytest.raises(Conflict, match="knows no lease"):
            require(None, taken(), NOON)


@pytest.mark.parametrize(
    ("at", "gone", "expected"),
    [(119, False, False), (120, False, True), (10, True, True)],
    ids=["alive", "silent", "dead"],
)
def test_an_owner_that_fell_silent_or_died_has_abandoned_it(at: float, gone: bool, expected: bool) -> None:
    assert abandoned(taken(), later(at), gone=gone) is expected


def test_a_free_lease_is_not_abandoned() -> None:
    mine = taken()
    assert not abandoned(give_back(mine, mine, later(1)), later(500), gone=False)
    assert not abandoned(None, NOON, gone=False)


@given(st.floats(0.06, 3600))
def test_several_signs_of_life_may_be_lost(seconds: float) -> None:
    assert LeasePolicy(expires_seconds=seconds).beat_seconds <= seconds / 5


class OneHolder(RuleBasedStateMachine):
    """Workers take, beat, stop for a while and go on, in any order: never two of them may write."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.current: Lease | None = None
        self.mine: dict[str, Lease] = {}
        self.tokens: list[int] = []

    @rule(seconds=st.integers(0, 200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(run=st.sampled_from("abc"), gone=st.booleans())
    def takes(self, run: str, gone: bool) -> None:
        before = self.current
        try:
            self.current = taken(self.current, owner(run), self.now, gone)
        except Busy:
            assert before is not None
            assert before.held(self.now)
            return
        self.mine[run] = self.current
        if before is None or self.current.token != before.token:
            self.tokens.append(self.current.token)

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def beats(self, data: Any) -> None:
        run = data.draw(st.sampled_from(sorted(self.mine)))
        try:
            self.current = renew(self.current, self.mine[run], POLICY, self.now)
        except Conflict:
            return
        self.mine[run] = self.current

    @precondition(lambda self: self.mine)
    @rule(data=st.data())
    def gives_back(self, data: Any) -> None:
        run = data.draw(st.sampled_from(sorted(self.mine)))
        self.current = give_back(self.current, self.mine[run], self.now) or self.current

    @invariant()
    def at_most_one_may_write(self) -> None:
        assert len([run for run, lease in self.mine.items() if self.may_write(lease)]) <= 1

    @invariant()
    def tokens_only_grow(self) -> None:
        assert self.tokens == sorted(set(self.tokens))

    def may_write(self, lease: Lease) -> bool:
        try:
            require(self.current, lease, self.now)
        except Conflict:
            return False
        return True


TestOneHolder = OneHolder.TestCase
