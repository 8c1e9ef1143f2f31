"""Pictures and tables for Dagster's metadata.

Here: PNG bytes from judged rows and measured numbers, and table metadata. Not here: measuring (`domain/metrics.py`)
and deciding (`domain/gates.py`).

Candidate is blue and solid, champion orange and dashed; the two colours and the two dashes stay apart for colour-blind
readers and in grey (Okabe and Ito).
"""

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from dagster import MarkdownMetadataValue, MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from fraud_retraining.domain.comparison import Comparison
from fraud_retraining.domain.gates import Verdict
from fraud_retraining.domain.judged import Floats, Judged
from fraud_retraining.domain.metrics import Calibration, Metrics, average_precision
from fraud_retraining.domain.windows import TrainingWindow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measured = TypeVar("Measured", Judged, Metrics)


class Look(NamedTuple):
    """How one of two things is drawn."""

    color: str
    dash: str
    layer: int


CANDIDATE = Look("#0072B2", "-", layer=3)
CHAMPION = Look("#D55E00", "--", layer=2)
GREY = "#6B6B6B"
CURVE_POINTS = 400
HISTOGRAM_BINS = 40


def markdown_image(png: bytes, alt: str) -> MarkdownMetadataValue:
    """A picture as metadata that Dagster's UI shows, carried within the text."""
    return MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def precision_recall_png(candidate: Judged, champion: Judged | None = None) -> bytes:
    """Precision over recall of both models; the horizontal line is what alerts drawn at random would reach."""
    curves = [(name, _precision_recall(judged), look) for name, judged, look in _models(candidate, champion)]
    with _figure("Precision and recall") as (png, axes):
        for name, (recall, precision, area), look in curves:
            label = f"{name}, average precision {area:.4f}"
            axes.step(recall, precision, where="pre", label=label, color=look.color, ls=look.dash, zorder=look.layer)
        rate = candidate.frauds / max(len(candidate), 1)
        axes.axhline(rate, color=GREY, linewidth=1, linestyle=":", label=f"at random {rate:.4f}")
        axes.set(xlabel="Recall (share of frauds caught)", ylabel="Precision (share of alerts right)")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        crowded = any(np.any(precision[recall > 0.45] > 0.75) for _, (recall, precision, _), _ in curves)
        axes.legend(frameon=False, loc="lower left" if crowded else "upper right")
    return png.getvalue()


def _precision_recall(judged: Judged) -> tuple[Floats, Floats, float]:
    """Precision at increasing recall, thinned to what a picture shows, and the area under all of it."""
    from sklearn.metrics import precision_recall_curve

    area = average_precision(judged)
    if area is None:
        return np.array([0.0]), np.array([np.nan]), float("nan")
    precision, recall, _ = precision_recall_curve(judged.labels, judged.scores)
    precision, recall = np.r_[precision[-2], precision[-2::-1]], recall[::-1]
    shown = np.unique(np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS)))
    return recall[shown], precision[shown], area


def score_histogram_png(judged: Judged, name: str = "Candidate") -> bytes:
    """How often each score was given, frauds and the others apart, with counts on a logarithmic axis."""
    with _figure(f"{name} scores") as (png, axes):
        edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
        scores = np.clip(judged.scores[np.isfinite(judged.scores)], 0, 1)
        labels = judged.labels[np.isfinite(judged.scores)]
        for label, what, look in ((0, "not fraud", CANDIDATE), (1, "fraud", CHAMPION)):
            counts, _ = np.histogram(scores[labels == label], edges)
            named = f"{what} ({counts.sum():,})"
            axes.stairs(counts, edges, baseline=0.5, fill=True, alpha=0.15, color=look.color, linewidth=0)
            axes.stairs(counts, edges, baseline=0.5, linewidth=1.6, label=named, color=look.color, ls=look.dash)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)
        axes.set(xlabel="Score", ylabel="Transactions (log scale)", xlim=(0, 1))
        axes.legend(frameon=False, loc="upper right")
    return png.getvalue()


def calibration_png(candidate: Metrics, champion: Metrics | None = None) -> bytes:
    """Fraud rate over mean score, a point a bin, both logarithmic because frauds are rare.

    The bars are one Poisson deviation of the bin's frauds; a bin without a fraud is not drawn.
    """
    measured = [
        (f"{name}, calibration error {metrics.calibration.error:.5f}", _reliability(metrics.calibration), look)
        for name, metrics, look in _models(candidate, champion)
        if metrics.calibration is not None
    ]
    with _figure("Calibration") as (png, axes):
        low = min((float(min(x.min(), y.min())) for _, (x, y, _), _ in measured if x.size), default=1e-4) / 2
        axes.plot([low, 1], [low, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
        for label, (score, rate, deviation), look in measured:
            bars = [np.minimum(deviation, rate * 0.9), deviation]
            drawn = axes.errorbar(score, rate, yerr=bars, marker="o", markersize=4, elinewidth=0.8, color=look.color)
            drawn.lines[0].set(label=label, linestyle=look.dash, zorder=look.layer)
        axes.set(xscale="log", yscale="log", xlim=(low, 1.1), ylim=(low, 1.4))
        axes.set(xlabel="Mean score of the bin (log scale)", ylabel="Fraud rate of the bin (log scale)")
        axes.legend(frameon=False, loc="upper left")
    return png.getvalue()


def _reliability(calibration: Calibration) -> tuple[Floats, Floats, Floats]:
    """Mean score, fraud rate and the rate's deviation of every bin that has frauds, expected and observed."""
    bins = [one for one in calibration.bins if one.observed and one.expected]
    rows, expected, observed = np.array([(one.rows, one.expected, one.observed) for one in bins]).reshape(-1, 3).T
    return expected / rows, observed / rows, np.sqrt(observed) / rows


def _models(candidate: Measured, champion: Measured | None) -> list[tuple[str, Measured, Look]]:
    named: list[tuple[str, Measured | None, Look]] = [
        ("Candidate", candidate, CANDIDATE),
        ("Champion", champion, CHAMPION),
    ]
    return [(name, measured, look) for name, measured, look in named if measured is not None]


@contextmanager
def _figure(title: str) -> Iterator[tuple[io.BytesIO, "Axes"]]:
    """Axes in the project's look, and the buffer that holds the PNG once the block is left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    png = io.BytesIO()
    yield png, axes
    figure.savefig(png, format="png", metadata={"Software": None})


def gates_table(verdict: Verdict) -> TableMetadataValue:
    """Every gate with its value, threshold and sentence."""
    records = [
        TableRecord(
            {
                "gate": result.name,
                "result": _outcome(result.passed, result.applicable, result.severity),
                "value": _number(result.value),
                "threshold": _number(result.threshold),
                "margin": _number(result.margin),
                "message": result.message,
            }
        )
        for result in verdict.gates
    ]
    return _table(records, ("gate", "result", "value", "threshold", "margin", "message"))


def _outcome(passed: bool, applicable: bool, severity: str) -> str:
    if not applicable:
        return "not applicable"
    if passed:
        return "passed"
    return "failed" if severity == "error" else "warning"


def metrics_table(candidate: Metrics, champion: Metrics | None = None) -> TableMetadataValue:
    """Every metric of both models, and their difference if they were measured on as many rows and frauds."""
    columns = ("metric", "candidate") if champion is None else ("metric", "candidate", "champion", "difference")
    records = []
    for name, value in candidate.values.items():
        record = {"metric": name, "candidate": _number(value)}
        if champion is not None:
            other = champion.values.get(name)
            same = (candidate.rows, candidate.frauds) == (champion.rows, champion.frauds)
            apart = value - other if same and value is not None and other is not None else None
            record |= {"champion": _number(other), "difference": _number(apart, "+.4f")}
        records.append(TableRecord(record))
    return _table(records, columns)


def slices_table(metrics: Metrics, comparison: Comparison | None = None) -> TableMetadataValue:
    """Every slice of the candidate; where the champion was compared, its average precision and the interval."""
    compared = {(one.slice, one.value): one for one in comparison.slices} if comparison else {}
    columns = ("slice", "value", "rows", "frauds", "log_loss", "average_precision")
    records = []
    for one in metrics.slices:
        record: dict[str, str | int] = {
            "slice": one.slice,
            "value": one.value,
            "rows": one.rows,
            "frauds": one.frauds,
            "log_loss": _number(one.log_loss),
            "average_precision": _number(one.average_precision),
        }
        if comparison:
            other = compared.get((one.slice, one.value))
            span = f"{other.difference.low:+.3f} to {other.difference.high:+.3f}" if other else "-"
            record |= {
                "champion": _number(other.champion if other else None),
                "difference": _number(other.difference.value if other else None, "+.4f"),
                "interval": span,
            }
        records.append(TableRecord(record))
    return _table(records, (*columns, "champion", "difference", "interval") if comparison else columns)


def importance_table(importance: Mapping[str, float]) -> TableMetadataValue:
    """Every feature's importance, greatest first."""
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))
    return _table(
        [TableRecord({"feature": name, "importance": _number(value)}) for name, value in ranked],
        ("feature", "importance"),
    )


def window_table(window: TrainingWindow) -> TableMetadataValue:
    """Every day of a manifest, in order, with what it is for and how much of it there is."""
    uses = (("training", window.training), ("holdout", window.holdout), ("fixed evaluation", window.fixed))
    records = [
        TableRecord(
            {
                "day": day.day.isoformat(),
                "use": use,
                "rows": day.rows,
                "frauds": day.frauds,
                "weight": f"{day.weight:g}",
                "digest": day.digest[:12],
            }
        )
        for use, days in uses
        for day in days
    ]
    return _table(records, ("day", "use", "rows", "frauds", "weight", "digest"))


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _table(records: list[TableRecord], columns: tuple[str, ...]) -> TableMetadataValue:
    """A table whose schema is given, so that one without rows is a table too."""
    kinds = {"rows": "int", "frauds": "int"}
    schema = TableSchema(columns=[TableColumn(name, kinds.get(name, "string")) for name in columns])
    return MetadataValue.table(records=records, schema=schema)
