"""Windows and thresholds that fit the volumes of a lake, each with the counts that it rests on.

Here: arithmetic over rows and frauds a day. Not here: what a threshold does (the policy that holds it).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from statistics import median
from typing import Any, NamedTuple

from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy
from fraud_retraining.domain.labels.reporting_delays import FraudsByDelay
from fraud_retraining.domain.proposal.facts import DayFacts
from fraud_retraining.domain.values.errors import DataInvalid

LEAST_DAYS = 8
USUAL_WINDOW, USUAL_HOLDOUT, FRESH_HOLDOUT, USUAL_DELAY = 30, 7, 3, 7
RANDOM_FACTOR = 10
"""The average precision that a first model has to reach, as a multiple of what guessing gets."""
MOST_REJECTED = 0.2
"""Above this share of a day's rows the wrong column was named, or its sign is turned."""
LEAST_BUDGET, USUAL_BUDGET = 5, 100
LONG_DELAYS = (10, 14, 21, 30)
"""Label delays that are proposed where the usual one is over before `MOST_REPORTS` of the frauds are reported."""
MOST_REPORTS = 0.9
LEAST_DELAYS = 20
"""Frauds of days old enough, below which nothing is said of how late reports come."""


class Proposed(NamedTuple):
    """A value of a setting, and why it is proposed."""

    value: Any
    why: str


class Volumes(NamedTuple):
    """Settings by their dotted names, and the first as-of day that they allow."""

    settings: dict[str, Proposed]
    windows_days: tuple[int, ...]
    last_day: date


def proposed_volumes(
    days: Sequence[DayFacts], *, label_times: bool, frauds_by_delay: FraudsByDelay | None = None
) -> Volumes:
    """Settings that fit.

    Args:
        days: every day of the lake that has rows, oldest first.
        label_times: whether it is known when labels became known.
        frauds_by_delay: frauds by day of the transactions and days until the report, where a label feed says so.

    Raises:
        DataInvalid: there are too few days for a first model, none of its rows is labelled a fraud, or too many of a
            day would be rejected.
    """
    known = [day for day in days if day.labelled]
    if not known or not any(day.frauds for day in known):
        raise _without_frauds(has_feed=frauds_by_delay is not None)
    first, last = days[0].day, days[-1].day
    span = (last - first).days + 1
    if span < LEAST_DAYS:
        raise DataInvalid(
            f"{first} to {last} are {span} days, and a first model needs {LEAST_DAYS}",
            remedy="days to learn from, then days to judge on, then days whose labels are not final: give more days.",
        )
    reports = _reports(frauds_by_delay or {}, last, span)
    delay = _delay(span, reports)
    holdout = FRESH_HOLDOUT if label_times else (USUAL_HOLDOUT if span >= 3 * USUAL_HOLDOUT else max(2, span // 4))
    window = min(USUAL_WINDOW, span - delay - holdout)
    # As far as labels are mature, also where they are used as known: that is what is sure to be possible.
    judged_to = last - timedelta(days=0 if label_times else delay)
    judged_from = judged_to - timedelta(days=holdout - 1)
    learnt = [day for day in days if judged_from - timedelta(days=window) <= day.day < judged_from]
    judged = [day for day in days if judged_from <= day.day <= judged_to]
    settings: dict[str, Proposed] = {}
    settings["labels.delay_days"] = Proposed(delay, _delay_words(delay, span, reports))
    settings["window.days"] = Proposed(window, f"{span} days are there: {window} to learn from before the holdout")
    settings["holdout.days"] = Proposed(holdout, f"{_frauds(judged):,} frauds in the last {holdout} days to judge on")
    settings |= _validation(days, learnt, judged, window + holdout, span)
    settings |= _gates(learnt, judged)
    return Volumes(settings, (1, 7, 30) if span >= 45 else (1, 7) if span >= 20 else (1, 3), last)


def _without_frauds(*, has_feed: bool) -> DataInvalid:
    if has_feed:
        return DataInvalid(
            "the label feed reports no fraud of the days that were looked at",
            remedy="name its column and its values with --feed-label-column and --fraud-value.",
        )
    return DataInvalid(
        "no row is labelled a fraud",
        remedy="name the column and its values with --label-column and --fraud-value; where labels come later and "
        "from elsewhere, name the label feed with --labels (docs/labels.md).",
    )


class _Reports(NamedTuple):
    """Frauds by the days until they were reported, up to `reach` days, of days on which all of these could be seen."""

    reach: int
    by_delay: dict[int, int]

    def share(self, age: int) -> float:
        return sum(count for delay, count in self.by_delay.items() if delay <= age) / sum(self.by_delay.values())


def _reports(frauds: FraudsByDelay, last: date, span: int) -> _Reports | None:
    """How late reports come, as far as half of the days can say; None where that is too few frauds."""
    reach = min(max(LONG_DELAYS), span // 2)
    found: dict[int, int] = {}
    # Younger days have reported their fast frauds alone.
    for by_delay in (by_delay for day, by_delay in frauds.items() if (last - day).days >= reach):
        for delay, count in by_delay.items():
            if delay <= reach:
                found[delay] = found.get(delay, 0) + count
    return _Reports(reach, found) if sum(found.values()) >= LEAST_DELAYS else None


def _delay(span: int, reports: _Reports | None) -> int:
    if span < 3 * USUAL_DELAY:
        return max(1, span // 6)
    possible = [USUAL_DELAY, *(delay for delay in LONG_DELAYS if span >= 3 * delay)]
    if reports is None:
        return USUAL_DELAY
    return next((delay for delay in possible if reports.share(delay) >= MOST_REPORTS), possible[-1])


def _delay_words(delay: int, span: int, reports: _Reports | None) -> str:
    usual = "the usual week" if delay == USUAL_DELAY else f"short, because only {span} days are there"
    if delay > USUAL_DELAY:
        usual = "longer than the usual week, for reports come late"
    start = f"days until an unreported transaction counts as genuine: {usual}"
    if reports is None:
        return f"{start}; your chargebacks may need longer"
    ages = sorted({1, 3, USUAL_DELAY, delay} & set(range(reports.reach)))
    shares = ", ".join(f"{reports.share(age):.0%} within {age} day{'s' if age > 1 else ''}" for age in ages)
    return f"{start}; of frauds that the feed reports within {reports.reach} days it reports {shares}"


def _rows(days: Sequence[DayFacts]) -> int:
    return sum(day.labelled for day in days)


def _frauds(days: Sequence[DayFacts]) -> int:
    return sum(day.frauds for day in days)


def _rate(days: Sequence[DayFacts]) -> float:
    return _frauds(days) / _rows(days) if _rows(days) else 0.0


def _validation(
    days: Sequence[DayFacts], learnt: Sequence[DayFacts], judged: Sequence[DayFacts], needed: int, span: int
) -> dict[str, Proposed]:
    usual = ValidationPolicy()
    rows, rate = _rows(learnt), _rate(learnt)
    least_rows = min(usual.min_rows, max(1, rounded(rows / 2)))
    found = {
        "validation.min_rows": Proposed(
            least_rows, f"the training window has {rows:,} labelled rows; half of that would be a sign of lost data"
        )
    }
    low = usual.min_fraud_rate if rate >= 3 * usual.min_fraud_rate else rounded(rate / 3)
    high = usual.max_fraud_rate if rate <= usual.max_fraud_rate / 2 else min(1.0, rounded(2 * rate))
    words = f"{_frauds(learnt):,} of {rows:,} labelled rows of the window are frauds ({rate:.3%})"
    found["validation.min_fraud_rate"] = Proposed(low, f"{words}; fewer are a sign of lost labels")
    found["validation.max_fraud_rate"] = Proposed(high, f"{words}; more are a sign of lost genuine ones")
    worst = max((day.frauds / day.labelled for day in days if day.labelled), default=0.0)
    if worst > usual.max_day_fraud_rate / 2:
        most = min(1.0, rounded(2 * worst))
        found["validation.max_day_fraud_rate"] = Proposed(most, f"one day has {worst:.1%} frauds")
    frauds = _frauds(judged)
    least_frauds = usual.min_holdout_frauds if frauds >= 2 * usual.min_holdout_frauds else max(1, frauds // 2)
    few = (
        "" if least_frauds == usual.min_holdout_frauds else ": a verdict on so few is uncertain, longer days are better"
    )
    found["validation.min_holdout_frauds"] = Proposed(least_frauds, f"{frauds:,} frauds in the holdout{few}")
    if missing := span - len(days):
        allowed = min(missing, needed)
        found["validation.max_missing_days"] = Proposed(allowed, f"{missing} of {span} days have no rows")
    return found | _row_counts(days, usual) | _rejects(days, usual)


def _rejects(days: Sequence[DayFacts], usual: ValidationPolicy) -> dict[str, Proposed]:
    """How many rows of a day may be rejected, where the usual bound would refuse days that are there."""
    worst = max(days, key=lambda day: day.rejected / day.rows)
    share = worst.rejected / worst.rows
    if share > MOST_REJECTED:
        raise DataInvalid(
            f"{worst.rejected:,} of {worst.rows:,} rows of {worst.day} would be rejected: they have no id, no amount, "
            "or a negative one",
            remedy="name other columns (--amount-column, --transaction-id-column), or turn the sign; refunds are no "
            "payments.",
        )
    if share <= usual.max_reject_share / 1.5:
        return {}
    words = f"{worst.rejected:,} of {worst.rows:,} rows of {worst.day} have no id, no amount, or a negative one"
    return {"validation.max_reject_share": Proposed(rounded(2 * share), f"{words}; they are rejected by name")}


def _row_counts(days: Sequence[DayFacts], usual: ValidationPolicy) -> dict[str, Proposed]:
    """How far a day's rows may lie from the days before, where the usual bounds would refuse days that are there."""
    ratios = [
        day.rows / median(before.rows for before in days[max(0, place - usual.trailing_days) : place])
        for place, day in enumerate(days)
        if place
    ]
    found = {}
    if ratios and min(ratios) < 1.5 * usual.min_row_count_ratio:
        found["validation.min_row_count_ratio"] = Proposed(
            rounded(min(ratios) / 2, 1), f"one day has {min(ratios):.2f} times the rows of the days before it"
        )
    if ratios and max(ratios) > usual.max_row_count_ratio / 1.5:
        found["validation.max_row_count_ratio"] = Proposed(
            max(1.0, rounded(2 * max(ratios), 2)), f"one day has {max(ratios):.1f} times the rows of the days before it"
        )
    return found


def _gates(learnt: Sequence[DayFacts], judged: Sequence[DayFacts]) -> dict[str, Proposed]:
    usual, rate = GatePolicy(), _rate(judged) or _rate(learnt)
    floor = min(usual.min_average_precision, rounded(RANDOM_FACTOR * rate))
    a_day = _frauds(learnt) / max(1, len(learnt))
    budget = int(min(USUAL_BUDGET, max(LEAST_BUDGET, rounded(1.5 * a_day))))
    found = {
        "gates.min_average_precision": Proposed(
            floor,
            f"guessing gets {rate:.4f}, the share of frauds; raise it once the first model shows what is possible",
        ),
        "gates.alert_budget": Proposed(
            budget, f"about {a_day:,.1f} frauds a day; say how many alerts your people can look at"
        ),
    }
    frauds = _frauds(judged)
    if frauds < 2 * usual.min_compared_frauds:
        least = max(1, frauds // 2)
        found["gates.min_compared_frauds"] = Proposed(least, f"{frauds:,} frauds in the holdout")
    return found


def rounded(value: float, digits: int = 2) -> float:
    """A value cut to so many significant digits; a whole number where it is one.

    >>> rounded(123456), rounded(0.0084321), rounded(0)
    (120000, 0.0084, 0)
    """
    if not value:
        return 0
    text = f"{value:.{digits - 1}e}"
    cut = float(text)
    return int(cut) if cut.is_integer() else cut
