"""The picture of a drift report, as PNG.

Here: reference and day side by side. Not here: measuring (`domain/monitoring/drift.py`) and the pictures of a
review report (`adapters/pages/pictures.py`).
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fraud_retraining.adapters.pages.pictures import CANDIDATE, GREY
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import DriftReport, FeatureDrift, FeatureProfile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST = 4


def worst_png(report: DriftReport, profiles: Mapping[str, FeatureProfile]) -> bytes:
    """Reference and day of the features that are farthest apart, share by bin, without the bins that neither fills."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in report.features if one.name in profiles][:WORST]
    figure = Figure(figsize=(9, 5.6), dpi=100)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.88, bottom=0.13, hspace=0.75, wspace=0.15)
    FigureCanvasAgg(figure)
    for number, one in enumerate(shown, start=1):
        _draw(figure.add_subplot(2, WORST // 2, number), one, profiles[one.name])
    if shown:
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="upper right"
        )
    title = f"{report.day} beside what champion version {report.version} has learnt from"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw(axes: "Axes", one: FeatureDrift, profile: FeatureProfile) -> None:
    reference, day = _shares(profile.counts), _shares(one.counts)
    shown = np.flatnonzero((reference > 0) | (day > 0))
    places = np.arange(len(shown))
    axes.bar(places - 0.2, reference[shown], 0.4, color=GREY, label="reference")
    axes.bar(places + 0.2, day[shown], 0.4, color=CANDIDATE.color, label="day")
    axes.set_xticks(places, [_ticks(profile.bins)[at] for at in shown], rotation=45, ha="right", fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{one.name}: drift {one.drift:.3f}", loc="left", fontsize=9)


def _shares(counts: Sequence[int]) -> np.ndarray[Any, Any]:
    rows = np.asarray(counts, np.float64)
    return rows / max(rows.sum(), 1)


def _ticks(bins: Bins) -> tuple[str, ...]:
    return tuple(label if len(label) <= 14 else f"{label[:13]}…" for label in bins.labels)
