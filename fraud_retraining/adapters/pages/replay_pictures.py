"""The picture of a replay, as PNG: average precision by day, and the amount caught beyond the present settings.

Here: drawing. Not here: the numbers (`domain/replay/results.py`).
"""

import io
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.pages.pictures import GREY
from fraud_retraining.domain.replay.replaceable_settings import NEVER, PRESENT
from fraud_retraining.domain.replay.results import PolicyResult, Replay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES, DOTS = (10.0, 6.4), 100
WIDTH, HEIGHT = int(INCHES[0] * DOTS), int(INCHES[1] * DOTS)
SIZE = 8
LONGEST = 40


def replay_png(found: Replay) -> bytes:
    """Two panels over the served days, a line a policy; the present settings are black, no retrain is grey."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    present = next(policy for policy in found.policies if policy.name == PRESENT.name)
    for number, policy in enumerate(found.policies):
        style = _style(policy, number)
        days = [day.day for day in policy.days]
        above.plot(days, [day.average_precision for day in policy.days], **style)
        gained = [one.amount_caught - other.amount_caught for one, other in zip(policy.days, present.days, strict=True)]
        below.plot(days, list(accumulate(gained)), **style)
    _dress(above, "average precision of the day")
    _dress(below, "amount caught beyond the present settings, so far")
    above.set_ylim(0, 1)
    above.legend(frameon=False, fontsize=SIZE, ncols=3, loc="lower left")
    below.tick_params(axis="x", rotation=30)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _style(policy: PolicyResult, number: int) -> dict[str, Any]:
    # Names are data: $ would be read as mathematics, and a leading _ hides a line from the legend.
    name = "".join(letter if letter.isprintable() else " " for letter in policy.name)
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    label = name.replace("$", r"\$").removeprefix("_")
    if policy.name == PRESENT.name:
        return {"label": label, "color": "black", "linewidth": 1.8}
    if policy.name == NEVER.name:
        return {"label": label, "color": GREY, "linewidth": 1.8}
    return {"label": label, "color": f"C{number}", "linewidth": 1.2}


def _dress(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=SIZE + 1)
    axes.tick_params(labelsize=SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", linewidth=0.4)
