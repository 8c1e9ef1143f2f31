"""What a retrain may take: the tightest limit counts, and an end that is foreseen too late is not waited for."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_retraining.domain.retraining.budget import (
    Allowance,
    BudgetPolicy,
    Rounds,
    Spending,
    Spent,
    allowance,
    projected,
    require_projection,
    require_time,
    spent_in_month,
)
from fraud_retraining.domain.values.errors import BudgetExceeded

NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)
HOUR = 3600.0


def spent(hours: float, cost: float = 0, at: datetime = NOW, status: str = "promoted") -> Spent:
    spending = Spending(dagster_run_id="r", trigger="schedule", status=status, seconds=hours * HOUR, cost=cost)
    return Spent(at, date(2026, 11, 23), spending)


class TestTheTightestLimitCounts:
    @pytest.mark.parametrize(
        ("changes", "past", "hours", "limit"),
        [
            ({}, [], 4, "max_hours"),
            ({"max_hours": 0.5}, [], 0.5, "max_hours"),
            ({"max_ratio_to_median": 3}, [spent(1), spent(0.5), spent(9)], 3, "median"),
            ({"max_ratio_to_median": 9}, [spent(1), spent(0.5), spent(9)], 4, "max_hours"),
            ({"max_monthly_cost": 100, "price_per_hour": 50}, [spent(1, 60)], 0.8, "what is left"),
            ({"max_monthly_cost": 1000, "price_per_hour": 50}, [spent(1, 60)], 4, "max_hours"),
            ({"max_monthly_cost": 1000}, [], 4, "max_hours"),
        ],
        ids=["hours", "fewer hours", "median", "wide median", "what is left", "enough left", "no price"],
    )
    def test_of_all_that_are_set(self, changes: dict[str, float], past: list[Spent], hours: float, limit: str) -> None:
        allowed = allowance(BudgetPolicy(**changes), past, NOW)
        assert allowed.seconds == pytest.approx(hours * HOUR)
        assert limit in allowed.limit

    def test_two_past_retrains_are_no_measure(self) -> None:
        policy = BudgetPolicy(max_ratio_to_median=2)
        assert allowance(policy, [spent(0.1), spent(0.1)], NOW).seconds == 4 * HOUR

    @pytest.mark.parametrize("status", ["failed", "lost", "incomplete", "already_trained"])
    def test_only_retrains_that_gave_a_model_are_a_measure(self, status: str) -> None:
        past = [spent(0.01, status=status)] * 5 + [spent(1)] * 3
        assert allowance(BudgetPolicy(max_ratio_to_median=2), past, NOW).seconds == 2 * HOUR

    def test_the_measure_follows_the_latest_twenty(self) -> None:
        past = [spent(0.1)] * 30 + [spent(1)] * 20
        assert allowance(BudgetPolicy(max_ratio_to_median=2), past, NOW).seconds == 2 * HOUR


class TestTheMonth:
    def test_every_retrain_counts_failed_ones_too(self) -> None:
        assert spent_in_month([spent(1, 10), spent(1, 5, status="failed"), spent(1, 1, status="lost")], NOW) == 16

    @pytest.mark.parametrize(
        ("at", "counts"),
        [
            (datetime(2026, 11, 1, tzinfo=UTC), True),
            (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), False),
            (datetime(2025, 11, 24, tzinfo=UTC), False),
        ],
        ids=["the first second", "the second before", "a year ago"],
    )
    def test_is_the_calendar_month(self, at: datetime, counts: bool) -> None:
        assert (spent_in_month([spent(1, 10, at)], NOW) == 10) is counts

    def test_once_used_up_no_retrain_begins(self) -> None:
        policy = BudgetPolicy(max_monthly_cost=100, price_per_hour=50)
        with pytest.raises(BudgetExceeded, match="November 2026 is used up") as refused:
            allowance(policy, [spent(2, 100)], NOW)
        assert refused.value.exit_code == 6

    def test_the_next_one_begins_with_a_fresh_budget(self) -> None:
        policy = BudgetPolicy(max_monthly_cost=100, price_per_hour=50)
        assert allowance(policy, [spent(2, 100)], NOW + timedelta(days=7)).seconds == 2 * HOUR

    @given(st.lists(st.floats(0, 50), max_size=30), st.floats(1, 500), st.floats(0.1, 500))
    def test_is_never_overdrawn_by_a_retrain_that_keeps_to_its_allowance(
        self, costs: list[float], most: float, price: float
    ) -> None:
        policy = BudgetPolicy(max_monthly_cost=most, price_per_hour=price)
        past = [spent(1, cost) for cost in costs]
        try:
            allowed = allowance(policy, past, NOW)
        except BudgetExceeded:
            assert sum(costs) >= most
        else:
            assert sum(costs) + policy.cost(allowed.seconds) <= most * (1 + 1e-9)


class TestTheDeadline:
    def test_is_reached_when_it_is_passed(self) -> None:
        allowed = Allowance(seconds=60, limit="budget.max_hours")
        require_time(allowed, 60)
        with pytest.raises(BudgetExceeded, match=r"took 60\.5 s and may take 60\.0 s") as refused:
            require_time(allowed, 60.5)
        assert "limit: budget.max_hours" in refused.value.culprits


class TestTheProjection:
    ALLOWED = Allowance(seconds=100, limit="budget.max_hours")

    @pytest.mark.parametrize(
        ("done", "total", "timed"),
        [(9, 20, 9), (10, 200, 10), (11, 20, 9)],
        ids=["fewer than ten rounds", "fewer than a tenth", "ten of which nine were timed"],
    )
    def test_waits_until_it_is_fair(self, done: int, total: int, timed: int) -> None:
        rounds = Rounds(done=done, total=total, timed=timed, seconds=1e6)
        assert projected(50, rounds) is None
        require_projection(self.ALLOWED, 50, rounds)

    def test_adds_the_rounds_that_are_left_to_what_was_taken_so_far(self) -> None:
        assert projected(30, Rounds(done=20, total=100, timed=10, seconds=5)) == 30 + 80 * 0.5

    def test_ends_a_retrain_that_will_not_end_in_time_long_before(self) -> None:
        rounds = Rounds(done=20, total=100, timed=19, seconds=38)
        with pytest.raises(BudgetExceeded, match=r"would take .* ended after 42\.0 s") as refused:
            require_projection(self.ALLOWED, 42, rounds)
        assert "round 20 of 100" in refused.value.culprits

    def test_forgives_a_tenth(self) -> None:
        require_projection(self.ALLOWED, 20, Rounds(done=10, total=100, timed=10, seconds=9.9))
        with pytest.raises(BudgetExceeded):
            require_projection(self.ALLOWED, 20, Rounds(done=10, total=100, timed=10, seconds=10.1))

    @given(st.integers(1, 10), st.floats(0.01, 10), st.integers(100, 1000))
    def test_of_steady_rounds_is_exact(self, start: int, pace: float, total: int) -> None:
        done = total // 2
        rounds = Rounds(done=done, total=total, timed=done - 1, seconds=(done - 1) * pace)
        assert projected(start + done * pace, rounds) == pytest.approx(start + total * pace)
