"""What a candidate's scores are made to mean, and the score mapping that does it.

Here: the settings, the two fits, and what is recorded of a fit. Not here: the mapping as a function
(`domain/training/score_mapping.py`), and which rows it is fitted on (`orchestration/assets/score_contract.py`).

`alert_rate`: a score of the candidate becomes the score above which the champion alerted on as many of the same rows,
so that a threshold keeps its number of alerts. Where the two numbers differ by no more than chance, the score stays as
it is: a mapping that followed single rows would learn their noise, each version that of the one before. `probability`:
the scores become the share of frauds among the labels, by
beta calibration (Kull, Silva Filho & Flach 2017, "Beta calibration", PMLR 54).
"""

from datetime import date
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Floats, Integers, Judged
from fraud_retraining.domain.evaluation.metrics import calibration
from fraud_retraining.domain.training.score_mapping import ScoreMapping, through
from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.digests import digest

Contract = Literal["alert_rate", "probability", "none"]

KNOTS = 200
"""Ranks at which a mapping is fitted: each of the highest, and fewer and fewer below."""
SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")
SMALLEST = 1e-12
RIDGE = 1e-9
STEPS = 100
LONGEST_STEP = 2.0
SETTLED = 1e-8
LEAST_FRAUDS = 50
"""Fewer frauds tell less about the scores than the estimator knows already."""


class ScoresPolicy(Policy):
    """What the scores of a new version mean."""

    contract: Contract = Field(
        "alert_rate",
        description="alert_rate: what the champion's mean, so that thresholds keep their alerts; probability: the "
        "share of frauds, as labels show it; none: what the estimator gives. The first version has no champion to "
        "follow: with alert_rate it is fitted as probability.",
    )


class MappingRecord(Value):
    """What a score mapping was fitted on, to what, and what it does; as it stands in the artifact and in the ledger."""

    contract: Literal["alert_rate", "probability"]
    matched_to: Literal["champion", "labels", "judged_fit"] = Field(
        description="Whose scores the mapped ones follow; a second fit follows those of the judged one."
    )
    champion_version: int | None = Field(None, description="The champion that it follows.")
    champion_digest: str | None = Field(None, description="Digest of that champion's artifact.")
    days: tuple[tuple[date, str], ...] = Field(description="Days of its rows, with the digest of their features.")
    rows: int
    frauds: int | None = Field(None, description="Frauds among them, where labels were read.")
    knots: int = Field(description="0: the scores are those of the estimator.")
    reason: str = Field("", description="Why there is no mapping, where there is none.")
    error_before: float | None = Field(None, description="Calibration error of the estimator's scores on the rows.")
    error_after: float | None = Field(
        None, description="The same of mapped scores, each half of the rows mapped by a fit on the other half."
    )
    mapping_digest: str = Field("", description="Digest of the knots; empty without any.")

    @property
    def summary(self) -> str:
        """What the scores mean, and by which rows."""
        if not self.knots:
            return f"the scores are those of the estimator: {self.reason}"
        days = [day for day, _ in self.days]
        on = f"fitted on {self.rows:,} rows of {min(days)} to {max(days)}"
        if self.matched_to == "champion":
            return f"scores mean what those of version {self.champion_version} mean; {on}, which neither had learnt"
        if self.matched_to == "judged_fit":
            return f"scores mean what those of the judged fit mean; {on}, which neither fit had learnt"
        return f"scores are probabilities by the labels of {self.frauds:,} frauds; {on}, which it had not learnt"


class FittedMapping(NamedTuple):
    """A mapping, None where there is none, and its record."""

    mapping: ScoreMapping | None
    record: MappingRecord


def recorded(scores: Floats, mapped: Floats, record: MappingRecord) -> FittedMapping:
    """The mapping through the points, with its record inside."""
    fitted_on = record.model_dump(mode="json", exclude={"knots", "reason", "mapping_digest"})
    mapping = through(scores.tolist(), mapped.tolist(), fitted_on)
    if not mapping.scores:
        return unmapped(record, "no score leaves room for another one above it")
    found = {"knots": len(mapping.scores), "mapping_digest": digest([mapping.scores, mapping.mapped])}
    return FittedMapping(mapping, record.model_copy(update=found))


def unmapped(record: MappingRecord, reason: str) -> FittedMapping:
    """No mapping, and why."""
    return FittedMapping(None, record.model_copy(update={"knots": 0, "reason": reason}))


def matched(candidate: Floats, followed: Floats, record: MappingRecord) -> FittedMapping:
    """The mapping by which a threshold gives as many alerts as by the scores that are followed.

    At a score t the candidate alerts on a rows and the followed one on b; d rows are alerted on by one of them alone,
    which is the variance of b - a where neither alerts more (McNemar 1947). Of the difference the share
    max(0, 1 - d / (b - a)^2) is taken for real: the positive part of James and Stein's estimate, in one dimension. So
    noise is not handed on from version to version, and another scale of the scores is followed in full.

    Args:
        candidate: the candidate's scores without a mapping.
        followed: the scores, as they are served, of whom it follows, on the same rows in the same order.
        record: what is recorded of the fit.

    Raises:
        ValueError: the two do not have the same number of rows.
    """
    if len(candidate) != len(followed):
        raise ValueError(f"{len(candidate)} scores of the candidate, {len(followed)} of whom it follows")
    if not len(candidate):
        return unmapped(record, "there are no rows that neither had learnt")
    if not (np.isfinite(candidate).all() and np.isfinite(followed).all()):
        return unmapped(record, "some scores are not numbers")
    scores = np.unique(np.sort(candidate)[::-1][_ranks(len(candidate))])
    above, from_it = _alerts(candidate, scores)
    their_above, their_from = _alerts(followed, scores)
    both_above, both_from = _alerts(np.minimum(candidate, followed), scores)
    # Rows of one score are alerted on together: they count by half.
    own, theirs = (above + from_it) / 2, (their_above + their_from) / 2
    alone = np.maximum(above + their_above - 2 * both_above, from_it + their_from - 2 * both_from)
    difference = theirs - own
    with np.errstate(divide="ignore", invalid="ignore"):
        real = np.where(difference != 0, np.maximum(0.0, 1.0 - np.maximum(alone, 1) / difference**2), 0.0)
    places = np.clip(np.ceil(theirs - real * difference).astype(np.int64) - 1, 0, len(followed) - 1)
    return recorded(scores, np.where(real > 0, np.sort(followed)[::-1][places], scores), record)


def _alerts(scores: Floats, thresholds: Floats) -> tuple[Integers, Integers]:
    """How many scores are above each threshold, and how many reach it."""
    rising = np.sort(scores)
    above, reach = (len(rising) - np.searchsorted(rising, thresholds, side=side) for side in SIDES)
    return above, reach


def _ranks(rows: int) -> Any:
    """Places in a falling order: every one of the first, then ever more apart."""
    return np.unique(np.geomspace(1, rows, min(KNOTS, rows)).round().astype(np.int64)) - 1


def calibrated(judged: Judged, record: MappingRecord) -> FittedMapping:
    """The mapping by which scores become the share of frauds, from rows with labels that the model has not learnt.

    Where labels are used as known, a known fraud counts as often as there are frauds of its age.
    """
    record = record.model_copy(update={"rows": judged.rows, "frauds": judged.frauds})
    if judged.frauds < LEAST_FRAUDS:
        return unmapped(record, f"{judged.frauds} frauds are too few to fit it on; {LEAST_FRAUDS} are needed")
    if not judged.probable:
        return unmapped(record, "some scores are no probabilities")
    curve = _beta_calibration(judged)
    if curve is None:
        return unmapped(record, "frauds do not become more frequent with the score")
    before = calibration(judged)
    record = record.model_copy(
        update={"error_before": before.error if before else None, "error_after": _error_after(judged)}
    )
    scores = np.unique(np.sort(judged.scores)[::-1][_ranks(len(judged))])
    return recorded(scores, curve(scores), record)


class _BetaCurve(NamedTuple):
    """P(fraud) by score: the log-odds are rise * ln(s) - fall * ln(1 - s) + level."""

    rise: float
    fall: float
    level: float

    def __call__(self, scores: Floats) -> Floats:
        below, above = _logarithms(scores)
        odds = self.rise * below + self.fall * above + self.level
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)), np.float64)


def _logarithms(scores: Floats) -> tuple[Floats, Floats]:
    inside = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return np.log(inside), -np.log1p(-inside)


def _beta_calibration(judged: Judged) -> _BetaCurve | None:
    """The curve that the labels make most likely; None where it does not rise with the score.

    As in the paper, a term whose coefficient would be negative is left out. A known fraud of weight w is one row with
    the label w: it counts as w frauds, and w - 1 rows of its kind that are not known as fraud are taken off.
    """
    below, above = _logarithms(judged.scores)
    reports = np.ones(len(judged)) if judged.report_weights is None else judged.report_weights
    labels: Floats = np.where(judged.labels == 1, reports, 0.0)
    for columns in ((below, above), (below,), (above,)):
        found = _logistic(np.column_stack([*columns, np.ones(len(judged))]), labels, judged.row_weights)
        if found is not None and (found[:-1] > 0).all():
            rise = found[0] if columns[0] is below else 0.0
            fall = found[-2] if columns[-1] is above else 0.0
            return _BetaCurve(float(rise), float(fall), float(found[-1]))
    return None


def _logistic(columns: Floats, labels: Floats, counts: Floats | None = None) -> Floats | None:
    """Coefficients of the logistic regression, by Newton's method; None where it does not settle. `counts` say how many
    rows each one stands for.

    scikit-learn's takes no labels above 1; the likelihood is concave with them too.
    """
    found = np.zeros(columns.shape[1])
    found[-1] = _log_odds(float(np.average(labels, weights=counts)))
    ridge = RIDGE * len(labels) * np.eye(len(found))
    for _ in range(STEPS):
        share = 0.5 * (1.0 + np.tanh(0.5 * (columns @ found)))
        spread, missing = share * (1 - share), labels - share
        if counts is not None:
            spread, missing = spread * counts, missing * counts
        curvature = (columns * spread[:, None]).T @ columns + ridge
        step = np.linalg.solve(curvature, columns.T @ missing - ridge @ found)
        # A long step may overshoot where the curve is flat.
        found = found + step / max(1.0, float(np.abs(step).max()) / LONGEST_STEP)
        if np.abs(step).max() < SETTLED:
            return found
    return None


def _log_odds(share: float) -> float:
    inside = min(max(share, SMALLEST), 1 - SMALLEST)
    return float(np.log(inside / (1 - inside)))


def _error_after(judged: Judged) -> float | None:
    """Calibration error of scores that are mapped by a fit on other rows: those of the other half of the customers."""
    half = judged.customers % 2 == 0
    scores = np.empty(len(judged))
    for mask in (half, ~half):
        fitted_on = judged.where(~mask)
        curve = _beta_calibration(fitted_on) if 0 < fitted_on.frauds < fitted_on.rows else None
        if curve is None:
            return None
        scores[mask] = curve(judged.scores[mask])
    found = calibration(judged.with_scores(scores))
    return found.error if found else None
