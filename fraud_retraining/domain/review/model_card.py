"""The model card of a version: what it is for, what it was made from, how good it is, and where it must not be trusted.

Here: what a card says, and the card as Markdown for the registry's description. Not here: the card as a page
(`adapters/pages/html.py`), and where the facts come from (`domain/audit/history.py`, `domain/review/report.py`).

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993). MLflow keeps 5,000 characters of a
description: what does not fit is left out by whole sections, and the card says so.
"""

import re
from collections.abc import Iterator

from fraud_retraining.domain.audit.history import ReleaseHistory, why
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import gates_grid, metrics_grid, slices_grid, threshold_lines
from fraud_retraining.domain.values.plain_tables import Grid, share, span

MOST_CHARACTERS = 5000
DECIDED = frozenset({"approved", "rejected", "rolled back", "expired", "withdrawn", "approval recorded"})
NAMED = 5
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")
SHORTENED = "*Shortened; the whole card is `model_card.html` of the MLflow run.*"


def markdown(text: object) -> str:
    """A text of the record as Markdown that shows it as it is: no markup, no line breaks, nothing unprintable."""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return _SPECIAL.sub(r"\\\1", " ".join(shown.split())).replace("&", "&amp;")


def purpose(history: ReleaseHistory, review_report: ReviewReport | None) -> str:
    """Return the purpose of the model, and what it is not for."""
    alerts = (
        f" Each day the {review_report.alert_budget} {review_report.alert_entity}s with the highest scores are meant "
        "to be looked at."
        if review_report
        else ""
    )
    own = f" of which {history.segment}" if history.segment else ""
    return (
        f"{history.release.model} gives each payment transaction{own} the probability that it is fraud.{alerts} "
        "A score is no proof; the model is not made for any other decision about people."
    )


def data(history: ReleaseHistory) -> Iterator[str]:
    """What it learnt from and was judged on."""
    window = history.window
    if window is None:
        yield "The record does not say what it learnt from."
        return
    days = window.days
    rate = f" ({window.frauds / window.rows:.2%})" if window.rows else ""
    if history.imported is not None:
        yield f"Learnt from {history.learnt_from}."
        yield f"Drift of later days is measured from {days.training.start} to {days.training.end}."
    else:
        yield (
            f"Learnt from {days.training.start} to {days.training.end} ({days.strategy}, {len(window.training)} days): "
            f"{window.rows:,} transactions, {window.frauds:,} frauds{rate}."
        )
    refit = history.evaluation.refit if history.evaluation is not None else None
    if refit is not None:
        yield f"After the verdict {refit.summary}."
    mapping = history.evaluation.released_mapping if history.evaluation is not None else None
    if mapping is not None:
        yield f"Score mapping ({mapping.contract.replace('_', ' ')}): {mapping.summary}."
    yield (
        f"Judged on {days.holdout.start} to {days.holdout.end}: {window.holdout_rows:,} transactions, "
        f"{window.holdout_frauds:,} frauds; neither model had learnt from a row that compares them."
    )
    yield (
        f"Labels as they were known on {days.as_of}, believed {window.label_delay_days} days after the transaction; "
        "rows without a label neither teach nor judge."
    )
    if history.imported is None:
        yield f"{len(window.features)} features; data digest {history.data_digest}."


def limits(history: ReleaseHistory, review_report: ReviewReport | None) -> tuple[str, ...]:
    """Where the model must not be trusted more than it was tested."""
    return (
        *_time_limits(history),
        *_selection_limits(history),
        *_comparison_limits(history),
        *_slice_limits(review_report),
        *_gate_limits(history),
        *_other(review_report),
    )


def _time_limits(history: ReleaseHistory) -> Iterator[str]:
    if history.evaluation is not None and history.evaluation.fixed_age is not None:
        yield history.evaluation.fixed_age.summary
    if history.window is None:
        return
    second = history.evaluation.second_fit if history.evaluation is not None else None
    as_of, last = history.window.days.as_of, (history.imported or second or history.window.days).training.end
    yield f"It has seen no fraud that happened after {last}, {(as_of - last).days} days before its as-of day."
    if history.evaluation is not None and history.evaluation.aged is not None:
        yield history.evaluation.aged.summary
    if history.window.missing:
        yield f"Days that were missing: {', '.join(map(str, history.window.missing))}."
    if history.rewritten:
        yield f"It cannot be made again: {', '.join(history.rewritten)} hold other rows now."


def _selection_limits(history: ReleaseHistory) -> Iterator[str]:
    selected = history.evaluation.evidence.candidate.selected if history.evaluation else None
    if selected is not None:
        yield f"It was judged on a selection: {selected.summary}"


def _comparison_limits(history: ReleaseHistory) -> Iterator[str]:
    comparison = history.evaluation.evidence.comparison if history.evaluation else None
    if not isinstance(comparison, Comparison):
        reason = comparison.reason if comparison else "the rows could not compare the two"
        yield f"It was not compared with a champion: {reason}."
    elif comparison.difference.low <= 0:
        yield (
            "It is not shown to be better than the champion: average precision differs by "
            f"{comparison.difference.value:+.4f}, {comparison.confidence:.0%} interval "
            f"{span(comparison.difference, '+.4f')}."
        )


def _slice_limits(review_report: ReviewReport | None) -> Iterator[str]:
    if review_report is None:
        return
    unmeasured = [f"{one.slice} {one.value}" for one in review_report.slices if one.average_precision is None]
    worse = [f"{one.slice} {one.value} ({one.difference:+.3f})" for one in review_report.slices if (one.high or 0) < 0]
    if unmeasured:
        yield f"Slices with too few frauds to be judged: {_some(unmeasured)}."
    if worse:
        yield f"Slices in which it is worse than the champion, and not by chance: {_some(worse)}."


def _gate_limits(history: ReleaseHistory) -> Iterator[str]:
    warned = [gate.name for gate in history.gates if not gate.passed]
    if warned:
        yield f"Gates that did not pass: {', '.join(warned)}."


def _other(review_report: ReviewReport | None) -> Iterator[str]:
    if review_report is None:
        return
    drifted = list(review_report.drift.over()) if review_report.drift is not None else []
    if review_report.drift is not None and drifted:
        yield f"What had drifted by {review_report.drift.day} from what the champion learnt from: {_some(drifted)}."
    if review_report.features and (review_report.features[0].effect or 0) > 0.5:
        first = review_report.features[0]
        yield f"{share(first.effect)} of its scores' movement comes from {first.name} alone."


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def lineage(history: ReleaseHistory) -> Iterator[tuple[str, str]]:
    """What determined it, by name and digest."""
    release = history.release
    yield "as-of day", str(release.as_of)
    yield "trigger", history.asked.summary if history.asked else release.trigger
    yield "fingerprint", release.fingerprint
    yield "artifact", release.artifact_digest
    if history.making is not None:
        made_by = history.making.environment
        yield "code", made_by.code_version
        yield "lock file", made_by.lock_digest or "none: not made from a checkout"
        yield "installed", made_by.installed_digest
    if history.model is not None:
        yield "MLflow run", history.model.run_id
    yield "replaced", f"version {history.replaced}" if history.replaced is not None else "no version"


def approvals(history: ReleaseHistory) -> Iterator[str]:
    """Return who approved or rejected it, and why."""
    for step in history.steps:
        if step.what in DECIDED or step.what.endswith("refused"):
            reason = f": {step.reason}" if step.reason else ""
            yield f"{step.at:%Y-%m-%d %H:%M} UTC: {step.what} by {step.by} ({step.via}){reason}"


# ---------------------------------------------------------------- as Markdown


def card_markdown(history: ReleaseHistory, review_report: ReviewReport | None) -> str:
    """The card, at most `MOST_CHARACTERS` long; the least important sections are the last."""
    title = f"# {markdown(history.release.model)} version {history.release.version}"
    kept, left = [title], MOST_CHARACTERS - len(title) - len(SHORTENED) - 4
    sections = list(_sections(history, review_report))
    for section in sections:
        if len(section) + 2 <= left:
            kept.append(section)
            left -= len(section) + 2
    shortened = len(kept) <= len(sections)
    return "\n\n".join([*kept, *([SHORTENED] if shortened else [])])


def _sections(history: ReleaseHistory, review_report: ReviewReport | None) -> Iterator[str]:
    yield _section("Why it stands where it stands", markdown(why(history)[:1000]))
    yield _section("Purpose", markdown(purpose(history, review_report)))
    yield _section("Data", _listed(data(history)))
    if history.evaluation is not None:
        evidence = history.evaluation.evidence
        yield _section(
            "Metrics",
            _grid(metrics_grid(evidence.beside, evidence.champion, review_report.intervals if review_report else None)),
        )
        if isinstance(evidence.alerts, AlertChange):
            yield _section("Thresholds", _listed(threshold_lines(evidence.alerts)))
        gates = gates_grid(history.evaluation.verdict)
        yield _section("Gates", _grid(_without_last_column(gates)))
    yield _section("Limits", _listed(limits(history, review_report)))
    yield _section("Lineage", "\n".join(f"- {name}: {markdown(text)}" for name, text in lineage(history)))
    if decided := tuple(approvals(history)):
        yield _section("Approvals", _listed(decided))
    if review_report is not None:
        yield _section("Slices", _grid(slices_grid(review_report)))


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _listed(sentences: Iterator[str] | tuple[str, ...]) -> str:
    return "\n".join(f"- {markdown(sentence)}" for sentence in sentences)


def _without_last_column(grid: Grid) -> Grid:
    return grid.model_copy(update={"columns": grid.columns[:-1], "rows": tuple(row[:-1] for row in grid.rows)})


def _grid(grid: Grid) -> str:
    lines = [grid.columns, ["---"] * len(grid.columns), *grid.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(cell: object) -> str:
    return "---" if cell == "---" else f"{cell:,}" if isinstance(cell, int) else markdown(cell)
