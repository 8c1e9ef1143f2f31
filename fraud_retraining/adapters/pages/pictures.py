"""The pictures of a review report, as PNG.

Here: drawing the values of a report. Not here: measuring them (`domain/review/assembly.py`), tables
(`domain/review/tables.py`) and where a picture is shown.

Candidate is blue and solid, champion orange and dashed; the two colours and the two dashes stay apart for colour-blind
readers and in grey (Okabe and Ito). The same report gives the same bytes.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fraud_retraining.domain.evaluation.cost_curve import CostCurve
from fraud_retraining.domain.evaluation.judged import Floats
from fraud_retraining.domain.evaluation.metric_intervals import CurvePoint
from fraud_retraining.domain.evaluation.metrics import Calibration
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow, ShadowIntervals, ShadowThreshold
from fraud_retraining.domain.review.report import ReviewReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """How one of the two models is drawn."""

    name: str
    color: str
    dash: str
    layer: int


CANDIDATE = Look("Candidate", "#0072B2", "-", layer=3)
CHAMPION = Look("Champion", "#D55E00", "--", layer=2)
GREY = "#6B6B6B"
FEATURES_SHOWN = 12
NAME_SHOWN = 30
COLORS = 64
INCHES, DOTS = (4.8, 3.84), 150
WIDTH, HEIGHT = (int(side * DOTS) for side in INCHES)
"""Pixels of a picture. Its texts are large against it, so that they can be read on a phone."""


def picture_names(review_report: ReviewReport) -> tuple[str, ...]:
    """The names of its pictures, in the order in which they are looked at; nothing is drawn."""
    return tuple(name for name in CAPTIONS if name != "costs" or review_report.costs)


def pictures(review_report: ReviewReport) -> dict[str, bytes]:
    """Every picture of a report by its name, as PNG, in the order in which they are looked at."""
    return {name: _png(figure) for name, figure in figures(review_report).items()}


def figures(review_report: ReviewReport) -> "dict[str, Figure]":
    """The same before they are written as PNG."""
    return {
        "precision_recall": precision_recall(review_report),
        "scores": scores(review_report),
        "calibration": calibration(review_report),
        "features": features(review_report),
        **({"costs": costs(review_report.costs)} if review_report.costs else {}),
    }


def _png(figure: "Figure") -> bytes:
    """A figure in few colours: no visible difference, and a third of the size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    png = io.BytesIO()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    drawn.quantize(COLORS, dither=Image.Dither.NONE).save(png, format="png", optimize=True)
    return png.getvalue()


CAPTIONS = {
    "precision_recall": "Precision and recall, with the interval of the precision",
    "scores": "Scores of the transactions that are no fraud, and of the frauds",
    "calibration": "Fraud rate against score",
    "features": "What moves the scores",
    "costs": "Costs a day of each decision, by the alerts that its score gives",
}


SHADOW = "shadow"
SHADOW_CAPTION = "Alerts a day at each threshold while it waited, with the interval of the candidate's difference"
SHADOW_PANELS = 3


def shadow_picture(found: CandidateShadow) -> bytes | None:
    """Alerts a day of a waiting candidate and the champion, as PNG; None where they were not counted."""
    return _png(shadow(found.intervals)) if found.intervals is not None else None


def shadow(found: ShadowIntervals) -> "Figure":
    """Alerts of each shadow day, a panel a threshold, the first ones; the band is the interval of the difference."""
    shown = found.thresholds[:SHADOW_PANELS]
    figure, panels = _figure("Alerts a day, in shadow", panels=len(shown))
    for axes, threshold in zip(panels, shown, strict=True):
        _draw_shadow(axes, threshold)
    panels[0].set(ylabel="Alerts")
    return figure


def _draw_shadow(axes: "Axes", threshold: ShadowThreshold) -> None:
    days = threshold.days
    places = np.arange(len(days))
    champion = np.array([day.champion for day in days])
    low, high = (champion + np.array([getattr(day.difference, end) for day in days]) for end in ("low", "high"))
    axes.fill_between(places, np.maximum(low, 0), high, color=CANDIDATE.color, alpha=0.15, linewidth=0)
    for look, counts in ((CANDIDATE, [day.candidate for day in days]), (CHAMPION, champion)):
        axes.plot(places, counts, marker="o", ms=3, label=look.name, color=look.color, ls=look.dash, zorder=look.layer)
    ticks = places[:: max(1, -(-len(days) // 4))]
    axes.set_xticks(ticks, [f"{days[place].day:%m-%d}" for place in ticks], fontsize=8)
    axes.set_ylim(bottom=0, top=1.35 * max(1.0, float(high.max()), float(champion.max())))
    # Several names of 40 characters would not stand beside each other on one line.
    axes.set_xlabel(textwrap.fill(threshold.name, NAME_SHOWN // 2).replace("$", r"\$"), fontsize=9)
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def precision_recall(review_report: ReviewReport) -> "Figure":
    """Precision over recall of both models; the horizontal line is what alerts drawn at random would reach."""
    figure, (axes,) = _figure("Precision and recall")
    curves = ((CANDIDATE, review_report.curve), (CHAMPION, review_report.champion_curve))
    for look, points in curves:
        if points:
            _draw_curve(axes, look, points, review_report)
    rate = review_report.frauds / max(review_report.rows, 1)
    axes.axhline(rate, color=GREY, linewidth=1, linestyle=":", label=f"at random {rate:.4f}")
    axes.set(xlabel="Recall (frauds caught)", ylabel="Precision (alerts that are right)")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    crowded = any(point.recall > 0.45 and point.precision > 0.75 for _, points in curves for point in points)
    axes.legend(frameon=False, loc="lower left" if crowded else "upper right")
    return figure


def _draw_curve(axes: "Axes", look: Look, points: Sequence[CurvePoint], review_report: ReviewReport) -> None:
    recall, precision, low, high = np.array([(p.recall, p.precision, p.low, p.high) for p in points]).T
    found = review_report.intervals.get("average_precision")
    interval = None if found is None else found.candidate if look is CANDIDATE else found.champion
    label = look.name + (f", average precision {interval.value:.4f}" if interval else "")
    axes.fill_between(recall, low, high, color=look.color, alpha=0.15, linewidth=0, zorder=look.layer - 1)
    axes.plot(recall, precision, label=label, color=look.color, ls=look.dash, zorder=look.layer)


def scores(review_report: ReviewReport) -> "Figure":
    """How often each score was given, to frauds and to the others, both axes logarithmic."""
    found = review_report.scores
    figure, panels = _figure("Scores", panels=2)
    for axes, what in zip(panels, ("others", "frauds"), strict=True):
        for look, counts in ((CANDIDATE, found.candidate), (CHAMPION, found.champion)):
            if counts is not None:
                heights = getattr(counts, what)
                axes.stairs(heights, found.edges, baseline=0.5, label=look.name, color=look.color, ls=look.dash, lw=1.6)
        axes.set(xscale="log", yscale="log", xlabel="Score (log scale)")
        axes.set_ylim(bottom=0.5)
    panels[0].set(ylabel="Transactions (log scale)")
    for axes, name in zip(panels, ("Not fraud", "Fraud"), strict=True):
        axes.set_title(name, loc="right", fontsize=9)
    panels[1].legend(frameon=False, loc="best", fontsize=9)
    return figure


def calibration(review_report: ReviewReport) -> "Figure":
    """Fraud rate over mean score, a point a bin, both logarithmic because frauds are rare.

    The bars are one Poisson deviation of the bin's frauds; a bin without a fraud is not drawn.
    """
    measured = [
        (f"{look.name}, calibration error {known.error:.5f}", _reliability(known), look)
        for look, known in ((CANDIDATE, review_report.calibration), (CHAMPION, review_report.champion_calibration))
        if known is not None
    ]
    figure, (axes,) = _figure("Calibration")
    low = min((float(min(x.min(), y.min())) for _, (x, y, _), _ in measured if x.size), default=1e-4) / 2
    axes.plot([low, 1], [low, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
    for label, (score, rate, deviation), look in measured:
        bars = [np.minimum(deviation, rate * 0.9), deviation]
        drawn = axes.errorbar(score, rate, yerr=bars, marker="o", markersize=4, elinewidth=0.8, color=look.color)
        drawn.lines[0].set(label=label, linestyle=look.dash, zorder=look.layer)
    axes.set(xscale="log", yscale="log", xlim=(low, 1.1), ylim=(low, 1.4))
    axes.set(xlabel="Mean score (log scale)", ylabel="Fraud rate (log scale)")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _reliability(calibration: Calibration) -> tuple[Floats, Floats, Floats]:
    """Mean score, fraud rate and the rate's deviation of every bin that has frauds, expected and observed."""
    bins = [one for one in calibration.bins if one.observed and one.expected]
    rows, expected, observed = np.array([(one.rows, one.expected, one.observed) for one in bins]).reshape(-1, 3).T
    return expected / rows, observed / rows, np.sqrt(observed) / rows


def features(review_report: ReviewReport) -> "Figure":
    """The features that matter most in either model, by their share of the mean absolute effect."""
    shown = review_report.features[:FEATURES_SHOWN][::-1]
    figure, (axes,) = _figure("What moves the scores")
    places = np.arange(len(shown))
    axes.barh(places + 0.2, [one.effect or 0 for one in shown], 0.38, color=CANDIDATE.color, label=CANDIDATE.name)
    if review_report.effects.champion is not None:
        values = [one.champion_effect or 0 for one in shown]
        axes.barh(places - 0.2, values, 0.38, color=CHAMPION.color, label=CHAMPION.name, hatch="///", alpha=0.8)
    axes.set_yticks(places, [_plain(one.name) for one in shown], fontsize=8)
    axes.set(xlabel=f"Share of the effect on the log-odds\n(mean absolute, {review_report.effects.rows:,} rows)")
    axes.legend(frameon=False, loc="lower right")
    return figure


def costs(curves: Sequence[CostCurve]) -> "Figure":
    """Costs a day over alerts a day, a panel a decision; the vertical line is the score that was chosen."""
    figure, panels = _figure("Costs a day", panels=len(curves))
    for axes, curve in zip(panels, curves, strict=True):
        points = [point for point in curve.points if point.alerts > 0]
        alerts = [point.alerts for point in points]
        parts = ("missed", "alerting", "disturbed")
        for part, dash in zip(parts, ("--", ":", "-."), strict=True):
            axes.plot(alerts, [getattr(point, part) for point in points], color=GREY, ls=dash, lw=1.2, label=part)
        axes.plot(alerts, [point.total for point in points], color=CANDIDATE.color, label="together", zorder=3)
        if curve.chosen.alerts > 0:
            chosen = f"from {curve.at:.4g} on"
            axes.axvline(curve.chosen.alerts, color=CHAMPION.color, lw=1.2, label=chosen)
        if curve.alerts_per_day is not None:
            axes.axvspan(curve.alerts_per_day, max(alerts, default=1), color=GREY, alpha=0.12, lw=0)
        axes.set(xscale="log", xlabel="Alerts a day (log scale)")
        axes.set_title(_plain(curve.name), loc="right", fontsize=9)
        axes.legend(frameon=False, loc="best", fontsize=8)
    panels[0].set(ylabel="Costs, in the currency of the amounts")
    return figure


def _plain(name: str) -> str:
    """A name that matplotlib draws as it is, a long one on two lines: a dollar sign would begin a formula."""
    shown = name if len(name) <= 2 * NAME_SHOWN else f"{name[:NAME_SHOWN]}…{name[1 - NAME_SHOWN :]}"
    if len(shown) > NAME_SHOWN:
        end = shown.rfind("_", NAME_SHOWN // 2, NAME_SHOWN) + 1 or NAME_SHOWN
        shown = f"{shown[:end]}\n{shown[end:]}"
    return shown.replace("$", r"\$")


def _figure(title: str, panels: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure in the project's look, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it keeps figures in a global list and is not safe in a server's threads.
    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    drawn = [figure.add_subplot(1, panels, place + 1) for place in range(panels)]
    for axes in drawn:
        axes.spines[["top", "right"]].set_visible(False)
    drawn[0].set_title(title, loc="left", fontsize=11, fontweight="bold")
    return figure, drawn
