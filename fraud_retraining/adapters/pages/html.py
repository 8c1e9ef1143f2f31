"""Pages for readers: the model card, reports of a version, a period or a replay, and review reports in any page.

Here: laying out what the domain says, in HTML that needs nothing from elsewhere. Not here: what is said
(`domain/audit/history.py`, `domain/review/model_card.py`, `domain/audit/period.py`, `domain/review/tables.py`) and
drawing (`adapters/pages/pictures.py`).

Reasons, names and categories may hold anything: the templates escape every text, no page has a script, and its
content policy forbids everything but its own style and pictures.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fraud_retraining.adapters.pages import replay_pictures
from fraud_retraining.adapters.pages.pictures import (
    CAPTIONS,
    HEIGHT,
    SHADOW,
    SHADOW_CAPTION,
    WIDTH,
    pictures,
    shadow_picture,
)
from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.audit import period
from fraud_retraining.domain.audit.history import ReleaseHistory, about, why
from fraud_retraining.domain.audit.period import Period
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.ledger.events import Event
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.monitoring.candidate_shadow import shadow_grid
from fraud_retraining.domain.release_messages.request import NAME_PLACEHOLDER, approve_command, registry_address
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.replay.results import Replay
from fraud_retraining.domain.replay.tables import tables
from fraud_retraining.domain.review import model_card as card
from fraud_retraining.domain.review.first_screen import glossary, review_summary
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import (
    gates_grid,
    left_out,
    metrics_grid,
    review_grids,
    thresholds_grid,
    window_grid,
)
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.plain_tables import Cell, Grid, grid

if TYPE_CHECKING:
    from jinja2 import Environment

PACKAGE, FOLDER = "fraud_retraining", "templates"
TEMPLATES = {file.name: file.read_text(encoding="utf-8") for file in files(PACKAGE).joinpath(FOLDER).iterdir()}
"""Read together with the code that fills them: an upgrade under a running process gives it no others."""
FIGURE = re.compile(r"[+-]?[\d,.]+%?( to [+-]?[\d,.]+%?)?|-")
SHORT, LONG = 24, 60
FEW_COLUMNS, FEW_ROWS = 4, 10
OUTCOMES = frozenset({"passed", "failed", "warning"})
_CAPTIONS = {**CAPTIONS, SHADOW: SHADOW_CAPTION}
NO_REPORT = "No review report was made for this version."


class Exported(Value):
    """When a page was made from the record, and where the chain then ended."""

    at: datetime
    head: Head
    chain_ok: bool
    doubted: int = 0
    """Rows in the files beside the page that are not acted on, and not on the page."""
    doubts: tuple[str, ...] = ()
    """Why, of the first of them."""


class DecisionForm(Value):
    """The form of a decision: to whom it is shown, the link that proves it, and what was typed when it came back."""

    who: str
    link: str = ""
    decision: str = ""
    reason: str = ""
    problem: str = ""


class Picture(Value):
    """A picture of a page: where it comes from, what it shows, and its size in pixels."""

    source: str
    caption: str
    width: int = WIDTH
    height: int = HEIGHT


def releases_html(waiting: Sequence[Release], releases: Sequence[Release]) -> str:
    """What waits for a decision, and every release before, the newest first."""
    return _template("releases.html.j2").render(title="Releases", served=True, waiting=waiting, releases=releases)


def release_html(
    history: ReleaseHistory,
    review_report: ReviewReport | None,
    form: DecisionForm | None,
    links: LinkPolicy,
    shown: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """One release with its review report, and the form for a reviewer who may decide.

    `shown` are addresses of pictures.
    """
    release = history.release
    return _template("release.html.j2").render(
        title=f"{release.model} version {release.version}, as of {release.as_of}",
        served=True,
        opened=False,
        history=history,
        why=why(history),
        form=form,
        consequences=_consequences(history),
        registry=registry_address(release, links),
        command=approve_command(release.version, form.who if form else NAME_PLACEHOLDER),
        headline=_headline(history),
        changes=_changes(history),
        shadow=_shadow(history),
        pictures=[Picture(source=address, caption=_CAPTIONS[name]) for name, address in shown.items()],
        **_facts(history, review_report),
    )


def _consequences(history: ReleaseHistory) -> dict[str, str]:
    """What each answer does, in the words of the page on which it is confirmed."""
    version, champion = history.release.version, history.evaluation.champion_version if history.evaluation else None
    place = f" in place of version {champion}" if champion is not None else ""
    missed = history.release.floors_missed
    excepted = f", as an exception: it misses {missed}" if missed else ""
    stays = f"version {champion} goes on serving" if champion is not None else "nothing serves"
    return {
        "approve": f"Version {version} becomes champion at once{place}{excepted}.",
        "reject": f"Version {version} is turned down for good; {stays}.",
    }


def answer_html(title: str, text: str) -> str:
    """A page that says one thing."""
    return _template("answer.html.j2").render(title=title, served=True, lines=text.splitlines())


def card_html(
    history: ReleaseHistory, review_report: ReviewReport | None, drawn: Mapping[str, bytes] | None = None
) -> str:
    """The model card as a page of its own; `drawn` are the pictures of the report, where they were drawn."""
    title = f"{history.release.model} version {history.release.version}: model card"
    return _template("card.html.j2").render(
        title=title,
        opened=True,
        why=why(history),
        pictures=_inline(review_report, drawn),
        **_facts(history, review_report),
    )


def version_html(
    history: ReleaseHistory, review_report: ReviewReport | None, events: Sequence[Event], exported: Exported
) -> str:
    """The whole history of a version as a page."""
    release = history.release
    return _template("version.html.j2").render(
        title=f"{release.model} version {release.version}, as of {release.as_of}",
        opened=True,
        history=history,
        why=why(history),
        headline=_headline(history),
        changes=_changes(history),
        shadow=_shadow(history),
        pictures=[*_inline(review_report), *_inline_shadow(history)],
        days=window_grid(history.window) if history.window else None,
        events=events,
        **_facts(history, review_report),
        **_chain(exported),
    )


def period_html(
    model: str,
    span: Period,
    events: Sequence[Event],
    before: Mapping[str, Mapping[str, Any]],
    exported: Exported,
) -> str:
    """What happened in a period, as a page; `before` are settings and environment when it began."""
    return _template("period.html.j2").render(
        title=f"{model}: {span.first} to {span.last}",
        summary=period.summary(span, events),
        grids=period.grids(events, before),
        events=events,
        **_chain(exported),
    )


def replay_html(found: Replay) -> str:
    """A replay as a page that needs nothing from elsewhere; it ends in the conclusion."""
    picture = Picture(
        source=_within_page(replay_pictures.replay_png(found)),
        caption="Average precision of each served day, and the amount caught beyond the present settings.",
        width=replay_pictures.WIDTH,
        height=replay_pictures.HEIGHT,
    )
    return _template("replay.html.j2").render(
        title=f"Replay of {found.first} to {found.last}",
        found=found,
        days=len(found.policies[0].days),
        pictures=[picture],
        grids=tables(found),
    )


def _chain(exported: Exported) -> dict[str, Any]:
    doubts = {"doubted": exported.doubted, "doubts": exported.doubts}
    return {"head": exported.head, "exported_at": exported.at, "chain_ok": exported.chain_ok, **doubts}


def _inline(review_report: ReviewReport | None, drawn: Mapping[str, bytes] | None = None) -> list[Picture]:
    """The pictures of a page that needs nothing from elsewhere."""
    if drawn is None:
        drawn = pictures(review_report) if review_report else {}
    return [Picture(source=_within_page(png), caption=CAPTIONS[name]) for name, png in drawn.items()]


def _inline_shadow(history: ReleaseHistory) -> list[Picture]:
    drawn = shadow_picture(history.shadow) if history.shadow is not None else None
    return [Picture(source=_within_page(drawn), caption=SHADOW_CAPTION)] if drawn is not None else []


def _within_page(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _shadow(history: ReleaseHistory) -> Grid | None:
    """Alerts of the days that it scored while it waited."""
    return shadow_grid(history.shadow) if history.shadow is not None else None


def _facts(history: ReleaseHistory, review_report: ReviewReport | None) -> dict[str, Any]:
    judged = history.evaluation
    evidence = judged.evidence if judged else None
    intervals = review_report.intervals if review_report else None
    return {
        "purpose": card.purpose(history, review_report),
        "data": list(card.data(history)),
        "metrics": metrics_grid(evidence.beside, evidence.champion, intervals) if evidence else None,
        "gates": gates_grid(judged.verdict) if judged else None,
        "thresholds": thresholds_grid(evidence.alerts)
        if evidence and isinstance(evidence.alerts, AlertChange)
        else None,
        "limits": card.limits(history, review_report),
        "approvals": list(card.approvals(history)),
        "lineage": list(card.lineage(history)),
        "parameters": _parameters(history),
        "summary": review_summary(history, review_report),
        "glossary": glossary(),
        "review_report": review_report,
        "no_review_report": NO_REPORT,
    }


def _parameters(history: ReleaseHistory) -> list[tuple[str, str]]:
    if history.making is None:
        return []
    fitted = history.model.determined_by.model if history.model is not None else {}
    beside = [(name, str(fitted[name])) for name in ("estimator", "seed", "downsample") if name in fitted]
    return [*beside, *((name, str(value)) for name, value in history.making.parameters.items())]


def _headline(history: ReleaseHistory) -> list[tuple[str, str]]:
    asked = history.asked
    spans = [
        f"{since:%Y-%m-%d %H:%M} to {f'{until:%Y-%m-%d %H:%M}' if until else 'now'}" for since, until in history.served
    ]
    lines = [("state", str(history.release.state).replace("_", " "))]
    if asked is not None:
        lines.append(("asked for", f"{asked.summary} ({asked.by}, {asked.via}, {asked.at:%Y-%m-%d %H:%M} UTC)"))
    if history.evaluation is not None:
        against = history.evaluation.champion_version
        lines.append(
            ("judged against", f"version {against}" if against is not None else "nobody: there was no champion")
        )
    if history.matured is not None:
        lines.append(("judged again", history.matured.outcome.replace("_", " ")))
    if history.shadow is not None:
        lines.append(("what would change", history.shadow.summary))
    if history.watch is not None:
        lines.append(("watched live", history.watch.standing))
    if history.served:
        lines += [("served (UTC)", "; ".join(spans))]
        lines += [("took the place of", f"version {history.replaced}" if history.replaced is not None else "nobody")]
    return lines


def _changes(history: ReleaseHistory) -> Grid:
    rows: list[tuple[Cell, ...]] = [(one.what, one.before, one.after) for one in history.changed]
    rows += [(f"fingerprint: {one}", "", "") for one in history.inputs_changed]
    rows += [(f"day {day} was rewritten since", "", "") for day in history.rewritten]
    title = "What was otherwise than for the champion"
    return grid("changes", title, ("what", "before", "now"), rows)


@cache
def _templates() -> "Environment":
    from jinja2 import DictLoader, Environment, StrictUndefined

    made = Environment(
        loader=DictLoader(TEMPLATES),
        autoescape=True,
        # A name that is misspelt in a template fails; by default it would show as nothing, on a page that is evidence.
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["served"] = False
    return made


def _template(name: str) -> Any:
    return _templates().get_template(name)


def _shown(value: Any) -> Any:
    """What a page shows of a value: no control characters, no marks that turn the direction of writing."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in value)


def _is_figure(cell: Cell) -> bool:
    return isinstance(cell, int) or bool(FIGURE.fullmatch(cell))


def _figures(grid: Grid) -> list[bool]:
    """Which columns hold nothing but figures."""
    return [all(_is_figure(row[place]) for row in grid.rows) for place in range(len(grid.columns))]


def _stacks(grid: Grid) -> bool:
    """Whether each row becomes a block of its own on a phone: sentences stand in it, or it is short but wide."""
    sentences = any("long" in _looks(cell).split() for row in grid.rows for cell in row)
    return sentences or (len(grid.columns) > FEW_COLUMNS and len(grid.rows) <= FEW_ROWS)


def _looks(cell: Cell, figure: bool = False) -> str:
    """The classes of a cell: figures to the right, short texts on one line, sentences wide, outcomes in colour."""
    text = str(cell)
    facts = (
        ("figure", figure),
        ("short", len(text) <= SHORT),
        ("long", len(text) >= LONG and " " in text),
        (text, text in OUTCOMES),
    )
    return " ".join(name for name, one in facts if one)


FILTERS: dict[str, Callable[..., Any]] = {
    "about": about,
    "minute": lambda at: f"{at:%Y-%m-%d %H:%M}",
    "at": lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
    "cell": lambda cell: f"{cell:,}" if isinstance(cell, int) else cell,
    "figures": _figures,
    "looks": _looks,
    "stacks": _stacks,
    "document": lambda value: json.dumps(value, indent=1, ensure_ascii=True),
    "grids": review_grids,
    "left_out": left_out,
    "words": lambda text: str(text).replace("_", " "),
}
