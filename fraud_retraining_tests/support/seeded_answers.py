"""Answers to the questions of a replay's timeline from a seed, without data."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from fraud_retraining.domain.replay.replaceable_settings import ReplayPolicy
from fraud_retraining.domain.replay.timeline import (
    Answer,
    FitAgain,
    Judge,
    Judgement,
    Look,
    NotTrained,
    PolicyHistory,
    Question,
    ReplayedModel,
    RetrainRules,
    SecondFit,
    Seen,
    timeline,
)
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.values.days import DayRange

DAY = timedelta(days=1)
DAYS = DayRange(start=date(2024, 3, 1), end=date(2024, 3, 30))


@dataclass
class SeededAnswers:
    """Drift, failures and verdicts by day: those of a day follow from its seed alone."""

    seeds: Mapping[date, int]
    asked: list[Question] = field(default_factory=list)

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        if isinstance(question, Look):
            days = _drift_days(question)
            unready = "a day is missing" if self._draw("ready", question.as_of) < 0.1 else ""
            drift = tuple(DriftDay(day=day, value=0.5 * self._draw("drift", day)) for day in days)
            return Seen(unready=unready, drift=drift, new_rows=1000 * len(days))
        if isinstance(question, Judge):
            drawn = self._draw("verdict", question.candidate.as_of)
            return Judgement(outcome="promoted" if drawn < 0.6 else "refused" if drawn < 0.9 else "asked", seconds=1)
        if isinstance(question, FitAgain):
            drawn, serving = self._draw("second fit", question.judged.as_of), question.champion
            asks = "it would take back days" if drawn > 0.8 and serving is not None and serving.judged else ""
            serves = second_of(question.judged) if drawn < 0.6 else None
            return SecondFit(serves=serves, reason="drawn", asks=asks, seconds=7)
        if self._draw("fit", question.as_of) < 0.1 and question.as_of >= DAYS.start:
            return NotTrained(reason="a day failed its checks")
        return model_of(question.as_of)

    def _draw(self, what: str, day: date) -> float:
        return random.Random(f"{what} {day} {self.seeds.get(day, 0)}").random()


def model_of(as_of: date) -> ReplayedModel:
    training = DayRange(start=as_of - 33 * DAY, end=as_of - 4 * DAY)
    return ReplayedModel(fingerprint=f"model {as_of}", as_of=as_of, training=training, seconds=10)


def second_of(judged: ReplayedModel) -> ReplayedModel:
    training = DayRange(start=judged.training.start, end=judged.training.end + 3 * DAY)
    return judged.model_copy(
        update={"fingerprint": f"{judged.fingerprint} again", "training": training, "judged": judged.fingerprint}
    )


def _drift_days(look: Look) -> list[date]:
    if look.drift_days is None:
        return []
    since = [look.champion.training.end + n * DAY for n in range(1, 60)]
    days = [day for day in since if day <= look.as_of]
    return days[-look.drift_days :]


def history_under(
    policy: ReplayPolicy,
    triggers: TriggerPolicy,
    answer: Callable[[Question], Answer],
    days: DayRange = DAYS,
    *,
    fits_again: bool = False,
    keeps_alerts: bool = False,
) -> PolicyHistory:
    """The history under a policy, whose questions a function answers."""
    rules = RetrainRules(triggers=triggers, learns_after_days=14, fits_again=fits_again, keeps_alerts=keeps_alerts)
    running = timeline(policy, rules, days)
    question = next(running)
    while True:
        try:
            question = running.send(answer(question))
        except StopIteration as done:
            history: PolicyHistory = done.value
            return history
