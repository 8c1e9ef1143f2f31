"""The tables that people read about a candidate, each made once and shown alike everywhere.

Here: the grids of gates, metrics and the review report. Not here: how a grid is printed: in Dagster
(`orchestration/rendering.py`), in HTML (`adapters/pages/html.py`), on a terminal
(`commands/implementation/audit_tables.py`).
"""

from collections.abc import Iterator, Mapping, Sequence

from fraud_retraining.domain.evaluation.alert_volume import AlertChange, Change
from fraud_retraining.domain.evaluation.cost_curve import CostCurve
from fraud_retraining.domain.evaluation.gates import GateResult, Verdict
from fraud_retraining.domain.evaluation.metric_intervals import MetricIntervals
from fraud_retraining.domain.evaluation.metrics import Metrics, reading_order
from fraud_retraining.domain.monitoring.drift_tables import drift_grid
from fraud_retraining.domain.review.report import QUANTILES, MatureDay, ReviewReport
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.plain_tables import NONE, Grid, grid, number, share, span

COUNT = 10
METHODS = {
    "shap": "exact SHAP values",
    "linear": "the terms of the linear model",
    "permutation": "each feature shuffled among the rows (this estimator gives no SHAP values)",
    None: "not measured",
}


def gates_grid(verdict: Verdict) -> Grid:
    """Every gate with its value, threshold, margin and sentence."""
    rows = (
        (gate.name, outcome(gate), _figure(gate.value), _figure(gate.threshold), _figure(gate.margin), gate.message)
        for gate in verdict.gates
    )
    return grid("gates", "Gates", ("gate", "result", "value", "threshold", "margin", "message"), rows)


def _figure(value: float | None) -> str:
    """What a gate judges: a share or a difference, or a count, which is whole and large."""
    counted = value is not None and abs(value) >= COUNT and value == int(value)
    return number(value, ",.0f" if counted else ".4f")


def outcome(gate: GateResult) -> str:
    """What a gate came to, in words."""
    if not gate.applicable:
        return "not applicable"
    if gate.passed:
        return "passed"
    return "failed" if gate.severity == "error" else "warning"


def metrics_grid(
    candidate: Metrics, champion: Metrics | None = None, intervals: Mapping[str, MetricIntervals] | None = None
) -> Grid:
    """Every metric with its interval, of both models, and their difference if they were measured on the same rows."""
    known = intervals or {}
    selected = candidate.selected
    columns = ["metric", "candidate", *(["interval"] if known else [])]
    columns += ["if blocked were genuine"] if selected is not None else []
    columns += ["least to most"] if selected is not None and not selected.corrected else []
    if champion is not None:
        columns += ["champion", *(["champion's interval"] if known else []), "difference"]
        columns += ["difference's interval"] if known else []
    rows = (tuple(_metric(name, candidate, champion, known)) for name in sorted(candidate.values, key=reading_order))
    shared = "Both on the same" if champion is not None else "On"
    note = f"{shared} {candidate.rows:,} rows with {candidate.frauds_words} frauds."
    note += f" {selected.summary}" if selected is not None else ""
    return grid("metrics", "Metrics on the holdout", tuple(columns), rows, note)


def _metric(
    name: str, candidate: Metrics, champion: Metrics | None, known: Mapping[str, MetricIntervals]
) -> Iterator[str]:
    value, interval = candidate.values[name], known.get(name)
    yield name
    yield number(value)
    if known:
        yield span(interval.candidate if interval else None)
    if candidate.selected is not None:
        yield number(candidate.selected.naive.get(name))
        if not candidate.selected.corrected:
            least, most = candidate.selected.bounds.get(name, (None, None))
            yield f"{number(least)} to {number(most)}" if least is not None else NONE
    if champion is None:
        return
    other = champion.values.get(name)
    same = (candidate.rows, candidate.frauds) == (champion.rows, champion.frauds)
    yield number(other)
    if known:
        yield span(interval.champion if interval else None)
    yield number(value - other if same and value is not None and other is not None else None, "+.4f")
    if known:
        yield span(interval.difference if interval else None, "+.4f")


def thresholds_grid(alerts: AlertChange) -> Grid:
    """What each threshold does: alerts, money stopped and customers disturbed a day, and what changes."""
    columns = (
        "threshold",
        "from score",
        "alerts a day",
        "champion's",
        "change",
        "its interval",
        "money stopped a day",
        "change in money",
        "genuine customers disturbed a day",
        "change in customers",
    )
    rows = (
        (
            one.name,
            number(one.at),
            number(one.candidate / alerts.days, ",.1f"),
            number(one.champion / alerts.days, ",.1f"),
            number(one.ratio.value - 1 if one.ratio else None, "+.1%"),
            f"{one.ratio.low - 1:+.1%} to {one.ratio.high - 1:+.1%}" if one.ratio else NONE,
            number(one.money.candidate if one.money else None, ",.0f"),
            _change(one.money, ",.0f"),
            number(one.disturbed.candidate if one.disturbed else None, ",.1f"),
            _change(one.disturbed, ",.1f"),
        )
        for one in alerts.thresholds
    )
    judged = f"; money and customers on {alerts.judged_days} days with labels" if alerts.judged_days else ""
    note = (
        f"Alerts on {alerts.rows:,} transactions of {alerts.first} to {alerts.last}, labelled or not{judged}; "
        f"intervals of {alerts.confidence:.0%}."
    )
    return grid("thresholds", "What thresholds do", columns, rows, note)


def costs_grid(curves: Sequence[CostCurve]) -> Grid:
    """The score that was chosen for each decision with costs, and what it costs a day."""
    columns = ("decision", "from score", "alerts a day", "missed frauds", "alerts", "customers disturbed", "together")
    rows = (
        (
            curve.name,
            number(curve.at),
            number(curve.chosen.alerts, ",.1f"),
            *(
                number(cost, ",.0f")
                for cost in (
                    curve.chosen.missed,
                    curve.chosen.alerting,
                    curve.chosen.disturbed,
                    curve.chosen.total,
                )
            ),
        )
        for curve in curves
    )
    note = f"Costs a day on {curves[0].days} judged days, in the currency of the amounts; the cheapest score is chosen."
    return grid("costs", "What decisions cost", columns, rows, note)


def threshold_lines(alerts: AlertChange) -> Iterator[str]:
    """The same in a line a threshold."""
    for one in alerts.thresholds:
        changes = [f"{one.name} from {one.at:.4g} on: {one.candidate / alerts.days:,.1f} alerts a day"]
        if one.ratio is not None:
            changes.append(f"{one.ratio.value - 1:+.1%} ({one.ratio.low - 1:+.1%} to {one.ratio.high - 1:+.1%})")
        if one.money is not None:
            changes.append(f"money stopped {_change(one.money, ',.0f')} a day")
        if one.disturbed is not None:
            changes.append(f"genuine customers disturbed {_change(one.disturbed, ',.1f')} a day")
        yield ", ".join(changes)


def _change(change: Change | None, form: str) -> str:
    """A difference with its interval."""
    if change is None:
        return NONE
    found = change.difference
    return f"{found.value:+{form}} ({found.low:+{form}} to {found.high:+{form}})"


def window_grid(window: TrainingWindow) -> Grid:
    """Every day of a manifest with what it is for, how much of it there is, and its whole digest."""
    uses = (("training", window.training), ("holdout", window.holdout), ("fixed evaluation", window.fixed))
    rows = (
        (day.day.isoformat(), use, day.rows, day.frauds, f"{day.weight:g}", day.digest)
        for use, days in uses
        for day in days
    )
    return grid("window", "Days", ("day", "use", "rows", "frauds", "weight", "day digest"), rows)


def importance_grid(importance: Mapping[str, float]) -> Grid:
    """Every feature's share of the gain, greatest first."""
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    rows = ((name, number(value)) for name, value in ranked)
    return grid("importance", "Importance (share of the gain)", ("feature", "importance"), rows)


# ---------------------------------------------------------------- the review report


def review_grids(review_report: ReviewReport) -> tuple[Grid, ...]:
    """Return the tables of a report in reading order, without those that were not measured."""
    found = (
        costs_grid(review_report.costs) if review_report.costs else None,
        alerts_grid(review_report),
        scores_grid(review_report),
        features_grid(review_report),
        slices_grid(review_report),
        drift_grid(review_report.drift) if review_report.drift is not None else None,
        maturity_grid(review_report),
        disagreements_grid(review_report),
    )
    return tuple(one for one in found if one is not None)


def left_out(review_report: ReviewReport) -> tuple[str, ...]:
    """Return what the report does not show, and why."""
    reasons = []
    if review_report.drift is None:
        reasons.append("Drift: no day before this retrain has a drift report under the champion.")
    if review_report.not_compared:
        reasons.append(f"Comparison with a champion: {review_report.not_compared}.")
    return tuple(reasons)


def alerts_grid(review_report: ReviewReport) -> Grid | None:
    """Card precision at the budget, day by day."""
    if not review_report.alerts:
        return None
    budget, against = review_report.alert_budget, review_report.alerts[0].champion is not None
    columns = ("day", "right", "precision", *(("champion's right", "champion's precision", "same") if against else ()))
    rows = (
        (
            day.day.isoformat(),
            day.candidate,
            share(day.candidate / budget),
            *((day.champion or 0, share((day.champion or 0) / budget), day.same or 0) if against else ()),
        )
        for day in review_report.alerts
    )
    note = f"Of {budget} alerts a day, each about one {review_report.alert_entity}: how many were right."
    same = f" 'same' counts {review_report.alert_entity}s that both models alert on." if against else ""
    return grid("alerts", f"Card precision@{budget}", columns, rows, note + same)


def scores_grid(review_report: ReviewReport) -> Grid:
    """Quantiles of both models' scores, and how far they moved."""
    scores = review_report.scores
    columns = ("share of the rows below", "candidate", *(("champion",) if scores.champion else ()))
    champion = scores.champion.quantiles if scores.champion else ()
    rows = (
        (f"{level:.1%}", number(value, ".6f"), *((number(champion[at], ".6f"),) if champion else ()))
        for at, (level, value) in enumerate(zip(QUANTILES, scores.candidate.quantiles, strict=False))
    )
    note = (
        f"Shift against the champion's scores on the same rows: population stability index "
        f"{scores.stability_index:.3f}, Kolmogorov-Smirnov distance {scores.distance:.3f}."
        if scores.stability_index is not None and scores.distance is not None
        else ""
    )
    return grid("score_quantiles", "Score distribution", columns, rows, note)


def features_grid(review_report: ReviewReport) -> Grid:
    """What matters to the model, and what matters more or less than to the champion."""
    against = review_report.champion_version is not None and any(
        one.champion_gain is not None for one in review_report.features
    )
    columns = ("feature", "gain", "effect", *(("champion's gain", "champion's effect", "shift") if against else ()))
    rows = (
        (
            one.name,
            share(one.gain),
            share(one.effect),
            *((share(one.champion_gain), share(one.champion_effect), number(one.shift, "+.1%")) if against else ()),
        )
        for one in review_report.features
    )
    note = (
        f"Gain: share of the loss reduction. Effect: share of the mean absolute effect on the log-odds of "
        f"{review_report.effects.rows:,} rows, by {METHODS[review_report.effects.candidate]}"
    )
    if against:
        note += f"; the champion's by {METHODS[review_report.effects.champion]}"
    return grid("feature_effects", "Features", columns, rows, f"{note}.")


def slices_grid(review_report: ReviewReport) -> Grid:
    """Every slice with its counts, and the difference from the champion where there are frauds enough."""
    against = any(one.champion is not None for one in review_report.slices)
    columns = ("slice", "value", "rows", "frauds", "log loss", "average precision")
    more = ("champion", "difference", "interval") if against else ()
    rows = (
        (
            one.slice,
            one.value,
            one.rows,
            one.frauds,
            number(one.log_loss),
            number(one.average_precision),
            *((number(one.champion), number(one.difference, "+.4f"), _bounds(one.low, one.high)) if against else ()),
        )
        for one in review_report.slices
    )
    return grid("slices", "Slices", (*columns, *more), rows)


def _bounds(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def maturity_grid(review_report: ReviewReport) -> Grid:
    """How many labels of each day were known."""
    rows = (
        (
            day.day.isoformat(),
            day.use,
            day.age_days,
            day.rows if day.rows is not None else NONE,
            day.labelled,
            _labelled(day),
            day.frauds,
            share(day.frauds / day.labelled if day.labelled else None),
        )
        for day in review_report.maturity
    )
    columns = ("day", "use", "age in days", "rows", "labelled", "share", "frauds", "fraud rate")
    note = "Rows without a known label neither train nor judge."
    return grid("maturity", f"Label maturity as of {review_report.as_of}", columns, rows, note)


def _labelled(day: MatureDay) -> str:
    return share(day.labelled / day.rows if day.rows else None)


def disagreements_grid(review_report: ReviewReport) -> Grid | None:
    """The transactions that the two models score most differently."""
    if not review_report.disagreements:
        return None
    rows = (
        (
            one.transaction_id,
            f"{one.at:%Y-%m-%d %H:%M}",
            one.entity,
            f"{one.amount:,.2f}",
            "fraud" if one.is_fraud else "",
            number(one.candidate),
            number(one.champion),
            ", ".join(one.because) or NONE,
        )
        for one in review_report.disagreements
    )
    columns = (
        "transaction",
        "at (UTC)",
        review_report.alert_entity,
        "amount",
        "label",
        "candidate",
        "champion",
        "because of",
    )
    title = f"The {len(review_report.disagreements)} transactions on which candidate and champion disagree most"
    return grid("disagreements", title, columns, rows)
