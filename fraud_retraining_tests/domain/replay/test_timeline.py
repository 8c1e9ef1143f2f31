"""Timelines: laws that hold whatever the days bring."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.replay.replaceable_settings import NEVER, PRESENT
from fraud_retraining.domain.replay.timeline import ALL_DAYS, FitAgain, Judge, Look, NotTrained, Seen, Train
from fraud_retraining.domain.retraining.triggers.drift import DriftTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.schedule import SchedulePolicy
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.seeded_answers import DAY, DAYS, SeededAnswers, history_under, model_of

EVERY_DAY = [DAYS.start + n * DAY for n in range(-40, len(DAYS))]
seeds = st.lists(st.integers(0, 5), min_size=len(EVERY_DAY), max_size=len(EVERY_DAY))
triggers = st.builds(
    TriggerPolicy,
    schedule=st.one_of(st.none(), st.builds(SchedulePolicy, every_hours=st.sampled_from([24, 48, 168]))),
    drift=st.one_of(st.none(), st.builds(DriftTriggerPolicy, threshold=st.sampled_from([0.2, 0.4]))),
)


def seeded(drawn: list[int]) -> SeededAnswers:
    return SeededAnswers(dict(zip(EVERY_DAY, drawn, strict=True)))


@given(seeds, seeds, triggers, st.integers(1, len(DAYS) - 1))
@settings(max_examples=60, deadline=None)
def test_a_decision_does_not_change_with_what_comes_after_its_day(
    before: list[int], after: list[int], policy: TriggerPolicy, cut: int
) -> None:
    as_of = DAYS.start + cut * DAY
    other = [b if day <= as_of else a for day, b, a in zip(EVERY_DAY, before, after, strict=True)]
    histories = [history_under(PRESENT, policy, seeded(drawn).answer) for drawn in (before, other)]
    known = [[step for step in history.steps if step.as_of <= as_of] for history in histories]
    assert known[0] == known[1]
    served = [[one for one in history.served if one[0] <= as_of + DAY] for history in histories]
    assert served[0] == served[1]


@given(seeds, triggers)
@settings(max_examples=40, deadline=None)
def test_no_question_is_about_a_day_after_the_one_that_is_decided(drawn: list[int], policy: TriggerPolicy) -> None:
    asked = seeded(drawn)
    history = history_under(PRESENT, policy, asked.answer)
    looks = [one for one in asked.asked if isinstance(one, Look)]
    assert [one.as_of for one in looks] == sorted(one.as_of for one in looks)
    assert all(day <= one.as_of for one in looks for day, _ in one.served)
    assert all(history.as_of[fingerprint] < day for day, fingerprint in history.served)


@given(seeds, triggers)
@settings(max_examples=30, deadline=None)
def test_without_retrains_the_first_model_serves_throughout(drawn: list[int], policy: TriggerPolicy) -> None:
    asked = seeded(drawn)
    history = history_under(NEVER, policy, asked.answer)
    first = DAYS.start - DAY
    assert asked.asked == [Train(as_of=first)]
    assert history.served == tuple((day, model_of(first).fingerprint) for day in DAYS)
    assert not history.steps


@given(seeds, triggers)
@settings(max_examples=40, deadline=None)
def test_asking_for_fewer_days_of_drift_first_changes_no_decision(drawn: list[int], policy: TriggerPolicy) -> None:
    def with_every_day(question: object) -> object:
        if isinstance(question, Look) and question.drift_days is not None:
            question = question.model_copy(update={"drift_days": ALL_DAYS})
        return seeded(drawn).answer(question)  # type: ignore[arg-type]

    lazy, eager = history_under(PRESENT, policy, seeded(drawn).answer), history_under(PRESENT, policy, with_every_day)  # type: ignore[arg-type]
    assert [(one.outcome, one.triggers) for one in lazy.steps] == [(one.outcome, one.triggers) for one in eager.steps]
    assert lazy.served == eager.served


@given(seeds, triggers)
@settings(max_examples=40, deadline=None)
def test_a_second_fit_serves_where_it_agrees_and_the_judged_one_where_not(
    drawn: list[int], policy: TriggerPolicy
) -> None:
    asked = seeded(drawn)
    history = history_under(PRESENT, policy, asked.answer, fits_again=True)
    passed = [step for step in history.steps if step.second_fit]
    second = [one for one in asked.asked if isinstance(one, FitAgain)]
    assert [one.judged.as_of for one in second] == [DAYS.start - DAY, *(step.as_of for step in passed)]
    answers = [seeded(drawn).answer(one) for one in second]
    asks = [one.asks for one in answers[1:]]  # type: ignore[union-attr]
    assert [step.outcome for step in passed] == ["asked" if why else "promoted" for why in asks]
    assert [step.verdict for step in passed if step.outcome == "asked"] == [why for why in asks if why]
    released = [one.serves or asking.judged for one, asking in zip(answers, second, strict=True) if not one.asks]  # type: ignore[union-attr]
    assert set(dict(history.served).values()) <= {one.fingerprint for one in released}
    champions = [one.champion for one in asked.asked if isinstance(one, (Look, Judge)) and one.champion]
    assert all(one in released for one in champions), "drift and verdicts are about the fit that serves"
    assert all(step.second_fit for step in history.steps if step.outcome == "promoted")
    assert sum(7 for _ in second) <= history.seconds


@given(seeds, triggers, st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_candidate_is_judged_by_the_scores_of_everything_that_has_served(
    drawn: list[int], policy: TriggerPolicy, keeps_alerts: bool
) -> None:
    """The scores of a champion mean what those before it meant; without a contract other policies may share a
    verdict."""
    asked = seeded(drawn)
    history = history_under(PRESENT, policy, asked.answer, fits_again=True, keeps_alerts=keeps_alerts)
    order = list(dict.fromkeys(fingerprint for _, fingerprint in history.served))
    for one in (one for one in asked.asked if isinstance(one, Judge)):
        assert one.champion is not None
        until = order.index(one.champion.fingerprint) + 1
        assert one.releases == (tuple(order[:until]) if keeps_alerts else ())


def answer_well(question: object) -> object:
    if isinstance(question, Look):
        return Seen()
    if isinstance(question, Judge):
        return SeededAnswers({}).answer(question.model_copy(update={"candidate": model_of(date(2000, 1, 1))}))
    assert isinstance(question, Train)
    return model_of(question.as_of)


def test_the_schedule_gives_a_retrain_every_so_many_days_from_the_first_model_on() -> None:
    policy = TriggerPolicy(schedule=SchedulePolicy(every_hours=240), drift=None)
    history = history_under(PRESENT, policy, answer_well)  # type: ignore[arg-type]
    retrains = [step.as_of for step in history.steps if step.outcome]
    assert retrains == [DAYS.start - DAY + n * timedelta(days=10) for n in (1, 2)]
    assert history.seconds >= 30


def test_a_policy_without_a_first_model_is_refused_by_name() -> None:
    with pytest.raises(DataInvalid, match=r"present settings.*2024-02-29"):
        history_under(PRESENT, TriggerPolicy(), lambda _: NotTrained(reason="no such day"))
