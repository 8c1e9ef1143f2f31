"""The first screen of a reviewer: how the candidate stands against the champion, its gates, and what it is made by.

Here: what is said first, in words and figures that every medium prints. Not here: the tables and pictures that follow
(`domain/review/tables.py`, `adapters/pages/pictures.py`) and how a page looks (`adapters/pages/html.py`).

Figures that stand beside each other are of the same rows: those that neither model has learnt from.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from pydantic import Field

from fraud_retraining.domain.audit.history import ReleaseHistory, libraries_line
from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.gates import GATES, NO_CHAMPION, GateResult, NotCompared
from fraud_retraining.domain.evaluation.metrics import CALIBRATION_ERROR, reading_order
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import number, span

AVERAGE_PRECISION = "average_precision"
FIRST_METRICS = (AVERAGE_PRECISION, "card_precision", "recall", "expected")
LOWER_IS_BETTER = ("brier", "expected", "log_loss")
FAILED_SHOWN = 3

METRICS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        AVERAGE_PRECISION: (
            "average precision",
            "Share of alerts that are right, averaged over every possible number of alerts; the higher, the better.",
        ),
        "roc_auc": (
            "ROC AUC",
            "Chance that a fraud has a higher score than a transaction that is none; the higher, the better.",
        ),
        "card_precision": (
            "card precision",
            "Share of right alerts where each day those with the highest scores are looked at, as many as the alert "
            "budget allows; the higher, the better.",
        ),
        "recall": (
            "recall at 1% FPR",
            "Share of frauds caught while 1% of the other transactions is flagged; the higher, the better.",
        ),
        "brier": ("Brier score", "Mean squared error of the scores as probabilities; the lower, the better."),
        "expected": (
            "calibration error",
            "Mean distance of the scores from the fraud rate that was seen; the lower, the better.",
        ),
        "log_loss": ("log loss", "Mean surprise about the labels, in nats; the lower, the better."),
    }
)
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "champion": "The version that serves now.",
        "candidate": "The version under decision.",
        "gate": "A rule that a candidate must pass before a reviewer decides.",
        "interval": "Where the value would lie in 95 of 100 other draws of customers, or as many as the settings say.",
        "holdout": "The days after the training window that both models are judged on.",
    }
)


class Standing(StrEnum):
    """The candidate against the champion."""

    BETTER = "better"
    WORSE = "worse"
    UNPROVEN = "no clear difference"
    NOT_COMPARED = "not compared"
    FIRST = "first"


TITLES: Mapping[Standing, str] = MappingProxyType(
    {
        Standing.BETTER: "Better than the champion",
        Standing.WORSE: "Worse than the champion",
        Standing.UNPROVEN: "No clear difference from the champion",
        Standing.NOT_COMPARED: "Not compared with the champion",
        Standing.FIRST: "There is no champion to compare with",
    }
)


class Difference(Value):
    """One metric of both models on the same rows."""

    metric: str = Field(description="Name in the record.")
    name: str = Field(description="Name for people.")
    candidate: str
    champion: str
    difference: str
    interval: str
    standing: Standing


class GateLine(Value):
    """A gate that did not simply pass, in a line."""

    name: str
    result: str = Field(description="failed, warning or not applicable.")
    message: str


class ReviewSummary(Value):
    """The first screen of a reviewer."""

    standing: Standing
    title: str
    sentence: str
    rows: str = Field("", description="On which rows the figures were measured.")
    differences: tuple[Difference, ...] = ()
    gates: str = Field(description="How many gates passed, in words.")
    lines: tuple[GateLine, ...] = Field((), description="The gates that did not simply pass, failed ones first.")
    passed: tuple[str, ...] = Field((), description="Names of the gates that passed, for people.")
    libraries: str


def review_summary(history: ReleaseHistory, review_report: ReviewReport | None) -> ReviewSummary | None:
    """The first screen of a version; none where the record has no verdict about it."""
    judged = history.evaluation
    if judged is None:
        return None
    standing, sentence = _standing(judged)
    return ReviewSummary(
        standing=standing,
        title=TITLES[standing],
        sentence=sentence,
        rows=_rows(judged, review_report, history.segment),
        differences=tuple(_differences(judged, review_report)),
        gates=_counted(history.gates),
        lines=tuple(_gate_lines(history.gates)),
        passed=tuple(gate_name(gate.name) for gate in history.gates if gate.passed and gate.applicable),
        libraries=libraries_line(history),
    )


def _standing(judged: Evaluation) -> tuple[Standing, str]:
    comparison = judged.evidence.comparison
    if isinstance(comparison, Comparison):
        standing = _of_interval(comparison.difference)
        said = (
            f"Version {judged.champion_version} serves. Average precision differs by "
            f"{comparison.difference.value:+.4f}; {comparison.confidence:.0%} interval "
            f"{span(comparison.difference, '+.4f')}"
        )
        return standing, f"{said}{', which holds 0' if standing is Standing.UNPROVEN else ''}."
    if comparison == NO_CHAMPION:
        return Standing.FIRST, "It would be the first version that serves."
    reason = comparison.reason if isinstance(comparison, NotCompared) else "the rows could not compare the two"
    return Standing.NOT_COMPARED, f"{reason[:1].upper()}{reason[1:]}."


def _of_interval(difference: Interval, lower_is_better: bool = False) -> Standing:
    """What a difference shows; an interval that holds 0 shows nothing."""
    if difference.low <= 0 <= difference.high:
        return Standing.UNPROVEN
    return Standing.BETTER if (difference.low > 0) is not lower_is_better else Standing.WORSE


def _rows(judged: Evaluation, review_report: ReviewReport | None, segment: str) -> str:
    measured = judged.evidence.candidate_compared or judged.evidence.candidate
    span_of_days = f" of {review_report.first_day} to {review_report.last_day}" if review_report else ""
    own = f"; the model is for those of which {segment}" if segment else ""
    return f"{measured.rows:,} transactions{span_of_days}, {measured.frauds_words} of them frauds{own}"


def _differences(judged: Evaluation, review_report: ReviewReport | None) -> Iterator[Difference]:
    """The metrics that matter first; average precision has the interval that the gate decided by."""
    evidence = judged.evidence
    candidate, champion = evidence.candidate_compared or evidence.candidate, evidence.champion
    for name in sorted(candidate.values, key=reading_order):
        if not name.startswith(FIRST_METRICS):
            continue
        interval = _interval(name, judged, review_report)
        other = champion.values.get(name) if champion else None
        yield Difference(
            metric=name,
            name=metric_name(name),
            candidate=_figure(name, candidate.values[name]),
            champion=_figure(name, other),
            difference=_figure(name, interval.value, "+") if interval else "",
            interval=span(interval, f"+.{_digits(name)}f") if interval else "",
            standing=_of_interval(interval, name.startswith(LOWER_IS_BETTER)) if interval else Standing.NOT_COMPARED,
        )


def _interval(name: str, judged: Evaluation, review_report: ReviewReport | None) -> Interval | None:
    comparison = judged.evidence.comparison
    if name == AVERAGE_PRECISION and isinstance(comparison, Comparison):
        return comparison.difference
    known = review_report.intervals.get(name) if review_report else None
    return known.difference if known else None


def _digits(name: str) -> int:
    """Calibration errors are small where frauds are rare."""
    return 5 if name == CALIBRATION_ERROR else 4


def _figure(name: str, value: float | None, sign: str = "") -> str:
    return number(value, f"{sign}.{_digits(name)}f")


def _counted(gates: tuple[GateResult, ...]) -> str:
    applicable = [gate for gate in gates if gate.applicable]
    failed = [gate for gate in applicable if not gate.passed and gate.severity == "error"]
    passed = sum(gate.passed for gate in applicable)
    said = (
        f"{len(failed)} of {len(applicable)} gates failed" if failed else f"{passed} of {len(applicable)} gates passed"
    )
    skipped = len(gates) - len(applicable)
    return said + (f", {skipped} did not apply" if skipped else "")


def _gate_lines(gates: tuple[GateResult, ...]) -> Iterator[GateLine]:
    order = ("failed", "warning", "not applicable")
    found = [(_result(gate), gate) for gate in gates if not (gate.passed and gate.applicable)]
    for result, gate in sorted(found, key=lambda one: order.index(one[0])):
        yield GateLine(name=gate_name(gate.name), result=result, message=gate.message)


def _result(gate: GateResult) -> str:
    if not gate.applicable:
        return "not applicable"
    return "failed" if gate.severity == "error" else "warning"


def metric_name(name: str) -> str:
    """A metric as people call it; Card Precision with its budget."""
    words = next((title for start, (title, _) in METRICS.items() if name.startswith(start)), name.replace("_", " "))
    return f"{words}@{name.rsplit('_', 1)[1]}" if name.startswith("card_precision") else words


def gate_name(name: str) -> str:
    """A gate as people call it."""
    return name.replace("_", " ").replace("roc auc", "ROC AUC")


def glossary() -> tuple[tuple[str, str], ...]:
    """Every word of the first screen with what it means."""
    metrics = METRICS.values()
    gates = ((f"gate: {gate_name(name)}", gate.description) for name, gate in GATES.items())
    return (*WORDS.items(), *metrics, *gates)
