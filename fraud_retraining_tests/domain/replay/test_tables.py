"""The tables of a replay."""

from fraud_retraining.domain.replay.tables import tables
from fraud_retraining_tests.support.replay_results import replay_of, result_of


def test_policies_stand_side_by_side_with_differences_and_decisions() -> None:
    found = replay_of(result_of("present settings", [0.5, 0.5]), result_of("daily", [0.6, None]))
    worth, effort, days, *decisions = tables(found)
    assert worth.rows[1][:4] == ("daily", "0.6000", "+0.1000", "+0.1000 to +0.1000")
    assert effort.rows[0][0] == "present settings"
    assert "cost" not in effort.columns
    assert days.rows[1] == ("2024-03-02", 10, 1, "0.5000", "-")
    assert [one.title for one in decisions] == ["Retrains: present settings", "Retrains: daily"]
    assert decisions[0].rows == (("2024-03-01", "refused", "schedule: it is due", "calibration: too far off"),)


def test_costs_are_shown_where_an_hour_has_a_price() -> None:
    priced = result_of("present settings", [0.5]).model_copy(update={"cost": 12.5})
    assert tables(replay_of(priced))[1].rows[0][-1] == "12.50"
