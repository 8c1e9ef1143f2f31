"""The timeline of one policy: day by day the decision about a retrain, its model, the verdict, and who serves.

Here: the state that follows from each decision. Not here: reading, fitting and judging. A timeline is a generator: it
yields a question, is sent the answer, and returns what happened, so that the questions of several timelines can be
answered at the same time, and one answer can serve several of them.

A day A is decided at the hour of the schedule on the next morning, when its transactions are in. What is promoted then
serves from day A + 1 on. Nothing is asked about days after A.
"""

from collections.abc import Generator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from pydantic import Field

from fraud_retraining.domain.replay.replaceable_settings import ReplayPolicy
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.drift import DriftDay, DriftRetrain
from fraud_retraining.domain.retraining.triggers.labels import ServedFrauds
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.domain.retraining.triggers.registry import TriggerInputs, TriggerPolicy
from fraud_retraining.domain.retraining.triggers.schedule import due_at
from fraud_retraining.domain.retraining.triggers.values import Decision, Retrain, Trigger
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import DataInvalid

DAY = timedelta(days=1)
ALL_DAYS = 0
Outcome = Literal["promoted", "refused", "asked", "failed"]


class ReplayedModel(Value):
    """A model that a timeline knows: its fingerprint, as-of day, training days, and what its fit took."""

    fingerprint: str
    as_of: date
    training: DayRange
    seconds: float = Field(description="Seconds of the fit.")
    judged: str | None = Field(None, description="Fingerprint of the judged fit, where this is a second fit of it.")


class Look(Value):
    """Question: what is known at the end of a day, under the champion of then."""

    as_of: date
    champion: ReplayedModel
    served: tuple[tuple[date, str], ...] = Field(description="Days served so far, with the fingerprint of each model.")
    last_as_of: date
    drift_days: int | None = Field(description="Last days whose drift is asked for; 0 for all, None for none.")


class Seen(Value):
    """Answer to `Look`."""

    unready: str = Field("", description="Why no window can be built as of the day; nothing where one can.")
    new_rows: int = 0
    drift: tuple[DriftDay, ...] = ()
    performance: LivePerformance | None = None
    matured: LivePerformance | None = Field(None, description="The latest mature week, where `performance` is another.")
    served: tuple[ServedFrauds, ...] = Field((), description="Known frauds of served days, for the trigger `labels`.")
    label_times: bool = True


class Train(Value):
    """Question: the model as of a day."""

    as_of: date


class NotTrained(Value):
    """Answer to `Train`: there is no model, with the reason."""

    reason: str


class Judge(Value):
    """Question: whether a candidate may replace the champion."""

    candidate: ReplayedModel
    champion: ReplayedModel | None
    releases: tuple[str, ...] = Field(
        (),
        description="Fingerprints of what has served up to the champion, in order: the scores of each follow those of "
        "the one before. None where scores need not keep what they mean.",
    )


class Judgement(Value):
    """Answer to `Judge`."""

    outcome: Literal["promoted", "refused", "asked"]
    reason: str = ""
    seconds: float = 0.0


class FitAgain(Value):
    """Question: the second fit of a candidate that passed its gates (`window.refit`), beside what serves."""

    judged: ReplayedModel
    champion: ReplayedModel | None = None


class SecondFit(Value):
    """Answer to `FitAgain`: the second fit where it serves in place of the judged one, and why it does or does not.

    `asks` says why a person has to decide: the judged fit would take back what the champion has learnt.
    """

    serves: ReplayedModel | None
    reason: str
    asks: str = ""
    seconds: float = 0.0


Question = Look | Train | Judge | FitAgain
Answer = Seen | ReplayedModel | NotTrained | Judgement | SecondFit


class Step(Value):
    """The decision as of a day: a retrain with its outcome, or the reason for none."""

    as_of: date
    reason: str
    triggers: tuple[str, ...] = ()
    outcome: Outcome | None = Field(None, description="Null where no retrain was requested.")
    verdict: str = Field("", description="Why it was refused, asked about or failed.")
    fingerprint: str | None = None
    second_fit: str = Field("", description="Which fit serves and why, where a second one was asked for.")


class PolicyHistory(Value):
    """What happened under one policy: its decisions, who served each day, and the seconds of compute."""

    policy: str
    steps: tuple[Step, ...]
    served: tuple[tuple[date, str], ...]
    as_of: dict[str, date] = Field(description="As-of day of each model that served.")
    seconds: float

    def count(self, outcome: Outcome) -> int:
        """Retrains with an outcome."""
        return sum(step.outcome == outcome for step in self.steps)


class State(Value):
    """A timeline between two decisions."""

    champion: ReplayedModel
    last_as_of: date
    releases: tuple[str, ...] = Field(description="Fingerprints of what has served so far, the champion last.")
    served: tuple[tuple[date, str], ...] = ()
    last_drift: DriftRetrain | None = None
    last_performance: date | None = None
    last_labels: date | None = None
    seconds: float = 0.0


Timeline = Generator[Question, Answer, PolicyHistory]


class RetrainRules(Value):
    """What a timeline knows of its policy's settings."""

    triggers: TriggerPolicy
    learns_after_days: int = Field(description="Days until a day enters the window, as the drift trigger has them.")
    fits_again: bool = Field(False, description="Whether a candidate is fitted again on window and holdout.")
    keeps_alerts: bool = Field(False, description="Whether a candidate's scores are to mean what the champion's mean.")


def timeline(policy: ReplayPolicy, rules: RetrainRules, days: DayRange) -> Timeline:
    """Go through the days that are served, from a first model as of the day before.

    The first model serves whatever its gates say, so that there is something to compare.

    Args:
        policy: the name, and whether it retrains at all.
        rules: when it retrains, and what serves then.
        days: the days that are served.

    Raises:
        DataInvalid: there is no first model.
    """
    judged = yield from _first(policy, days.start - DAY)
    second = yield from _second_fit(rules, judged, None)
    first, seconds = second.serves or judged, judged.seconds + second.seconds
    state = State(champion=first, last_as_of=first.as_of, releases=(first.fingerprint,), seconds=seconds)
    steps = []
    made = {first.fingerprint: first.as_of}
    for day in days:
        if policy.retrains and day > days.start:
            step, state = yield from _step(rules, state, day - DAY)
            steps.append(step)
            made[state.champion.fingerprint] = state.champion.as_of
        state = state.model_copy(update={"served": (*state.served, (day, state.champion.fingerprint))})
    return PolicyHistory(policy=policy.name, steps=tuple(steps), served=state.served, as_of=made, seconds=state.seconds)


def _first(policy: ReplayPolicy, as_of: date) -> Generator[Question, Answer, ReplayedModel]:
    answer = yield Train(as_of=as_of)
    if isinstance(answer, ReplayedModel):
        return answer
    reason = answer.reason if isinstance(answer, NotTrained) else "it was not answered"
    raise DataInvalid(
        f"policy {policy.name!r} has no first model as of {as_of}, the day before the first served day",
        culprits=[reason],
        remedy="begin with a later day (--from), or ingest the days before it.",
    )


def _step(rules: RetrainRules, state: State, as_of: date) -> Generator[Question, Answer, tuple[Step, State]]:
    decision = yield from _decision(rules, state, as_of)
    if not isinstance(decision, Retrain):
        return Step(as_of=as_of, reason=decision.reason), state
    step = Step(as_of=as_of, reason=decision.reason, triggers=decision.triggers)
    trained = yield Train(as_of=as_of)
    if not isinstance(trained, ReplayedModel):
        reason = trained.reason if isinstance(trained, NotTrained) else ""
        return step.model_copy(update={"outcome": "failed", "verdict": reason}), state
    releases = state.releases if rules.keeps_alerts else ()
    judgement = yield Judge(candidate=trained, champion=state.champion, releases=releases)
    assert isinstance(judgement, Judgement)
    step = step.model_copy(
        update={"outcome": judgement.outcome, "verdict": judgement.reason, "fingerprint": trained.fingerprint}
    )
    seconds, serves = trained.seconds + judgement.seconds, None
    if judgement.outcome == "promoted":
        second = yield from _second_fit(rules, trained, state.champion)
        seconds += second.seconds
        step = step.model_copy(update={"second_fit": second.reason})
        if second.asks:
            step = step.model_copy(update={"outcome": "asked", "verdict": second.asks})
        else:
            serves = second.serves or trained
    return step, _after(state, decision, trained.as_of, serves, seconds)


def _second_fit(
    rules: RetrainRules, judged: ReplayedModel, champion: ReplayedModel | None
) -> Generator[Question, Answer, SecondFit]:
    """What becomes of the second fit of a candidate that passed; nothing where there is none."""
    if not rules.fits_again:
        return SecondFit(serves=None, reason="")
    second = yield FitAgain(judged=judged, champion=champion)
    assert isinstance(second, SecondFit)
    return second


def _after(state: State, decision: Retrain, as_of: date, serves: ReplayedModel | None, seconds: float) -> State:
    """The state after a retrain that had an outcome and took `seconds`; `serves` is what was promoted."""
    changes: dict[str, object] = {"last_as_of": as_of, "seconds": state.seconds + seconds}
    if serves is not None:
        changes["champion"] = serves
        if serves.fingerprint != state.champion.fingerprint:
            changes["releases"] = (*state.releases, serves.fingerprint)
    if Trigger.DRIFT in decision.triggers and decision.drift_since is not None:
        changes["last_drift"] = DriftRetrain(as_of=as_of, since=decision.drift_since)
    if Trigger.PERFORMANCE in decision.triggers:
        changes["last_performance"] = as_of
    if Trigger.LABELS in decision.triggers:
        changes["last_labels"] = as_of
    return state.model_copy(update=changes)


def _decision(rules: RetrainRules, state: State, as_of: date) -> Generator[Question, Answer, Decision]:
    """The decision of all triggers as of a day.

    Drift is first asked for the days alone that can fire; the days before them say only since when, and cost as much.
    """
    triggers = rules.triggers
    drift_days = triggers.drift.days[1] if triggers.drift else None
    while True:
        seen = yield Look(
            as_of=as_of,
            champion=state.champion,
            served=state.served,
            last_as_of=state.last_as_of,
            drift_days=drift_days,
        )
        assert isinstance(seen, Seen)
        if not drift_days or not _may_fire(triggers, seen.drift):
            return decide(triggers, _inputs(rules, state, as_of, seen))
        drift_days = ALL_DAYS


def _may_fire(triggers: TriggerPolicy, recent: Sequence[DriftDay]) -> bool:
    policy = triggers.drift
    return policy is not None and sum(day.value > policy.threshold for day in recent) >= policy.days[0]


def _inputs(rules: RetrainRules, state: State, as_of: date, seen: Seen) -> TriggerInputs:
    return TriggerInputs(
        now=decided_at(rules.triggers, as_of),
        ready={} if seen.unready else {as_of: as_of.isoformat()},
        unready={as_of: seen.unready} if seen.unready else {},
        last_as_of=state.last_as_of,
        new_rows=seen.new_rows,
        drift=seen.drift,
        last_drift=state.last_drift,
        performance=seen.performance,
        matured=seen.matured,
        last_performance=state.last_performance,
        served=seen.served,
        label_times=seen.label_times,
        learnt_until=state.champion.training.end,
        last_labels=state.last_labels,
        learns_after_days=rules.learns_after_days,
    )


def decided_at(triggers: TriggerPolicy, as_of: date) -> datetime:
    """When a day is decided: at the hour of the schedule on the next day, UTC; without a schedule when it has begun."""
    if triggers.schedule is not None:
        return due_at(triggers.schedule, as_of)
    return datetime.combine(as_of + DAY, time(), UTC)
