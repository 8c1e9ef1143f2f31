"""Tables of the audit on a terminal: events, the history of a version, the chain, exports and archives.

Not here: their content (`domain/audit/history.py`, `adapters/`). Texts of the record are untrusted: they are shown as
they are, and nothing in them is taken for markup or for control sequences of the terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud_retraining.adapters.ledger.signed_rows import NOT_BEGUN, REMEDY
from fraud_retraining.adapters.ledger.verification import Verification
from fraud_retraining.domain.audit.archiving import Archived
from fraud_retraining.domain.audit.history import ReleaseHistory, Step, about, why
from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.ledger.events import Event
from fraud_retraining.domain.ledger.hash_chain import Row
from fraud_retraining.domain.releases.candidate import Environment, Refit
from fraud_retraining.domain.review.report import ReviewReport
from fraud_retraining.domain.review.tables import gates_grid, metrics_grid, thresholds_grid
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import RecordAltered
from fraud_retraining.domain.values.plain_tables import Cell, Grid, span
from fraud_retraining.services.exports import Export

MOST_DAYS = 48
MOST_STEPS = 8
MOST_SPANS = 20
MOST_SHOWN, MOST_CELL = 200, 40
MOST_CHANGES = 6
DIGITS = 12
RESULT_STYLES = {"passed": "green", "failed": "red", "warning": "yellow", "not applicable": "dim"}


def plain(text: object) -> str:
    r"""A text of the record without control characters.

    >>> plain("ok\x1b[2J")
    'ok·[2J'
    """
    return "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in str(text))


def as_stored(row: Row) -> dict[str, str | int | None]:
    """The columns of a row that counts for nothing, bounded: what is in them is shown, and not read."""
    return {name: value[:MOST_SHOWN] if isinstance(value, str) else value for name, value in row._asdict().items()}


def print_events(rows: Sequence[Row], out: Console, not_acted_on: Mapping[int, str] = MappingProxyType({})) -> None:
    """Print rows of the ledger, a line each; `not_acted_on` says by their number why some count for nothing."""
    if not rows:
        out.print("The ledger has no such event.", highlight=False)
        return
    table = Table("no.", "at (UTC)", "event", "as of", "version", "by", "about")
    for row in rows:
        cells = _doubted(row, not_acted_on[row.seq]) if row.seq in not_acted_on else _listed(Event.of(row))
        table.add_row(f"{row.seq}", *(Text(plain(text)) for text in cells))
    out.print(table)


def _listed(event: Event) -> tuple[object, ...]:
    who = f"{event.actor} ({event.channel})" if event.channel else event.actor
    kind = event.kind.replace("_", " ")
    return f"{event.at:%Y-%m-%d %H:%M:%S}", kind, event.as_of or "", event.version or "", who, about(event)


def _doubted(row: Row, why: str) -> tuple[object, ...]:
    who = f"{row.actor[:MOST_CELL]} ({row.channel[:MOST_CELL]})"
    what = f"NOT ACTED ON, {why}; {row.payload[:MOST_CELL]}"
    return row.at[:19], row.kind[:MOST_CELL], (row.as_of or "")[:10], row.version or "", who, what


def print_history(history: ReleaseHistory, review_report: ReviewReport | None, out: Console) -> None:
    """Print on one screen why a version is live; the review report adds the intervals of all metrics."""
    out.print(Text(plain(why(history)), "bold"), highlight=False)
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in (
        *_facts(history),
        *(() if review_report else (("interval", _interval(history)),)),
        *_surroundings(history),
    ):
        facts.add_row(name, Text(plain(text)))
    out.print(facts)
    _print_days(history, out)
    if history.evaluation is not None:
        evidence = history.evaluation.evidence
        intervals = review_report.intervals if review_report else None
        out.print(_table(metrics_grid(evidence.beside, evidence.champion, intervals)))
        if isinstance(evidence.alerts, AlertChange):
            out.print(_table(thresholds_grid(evidence.alerts)))
        out.print(_gates(history))
    _print_steps("What happened", history.steps[-MOST_STEPS:], out)
    _print_steps("Alerts", history.alerts[-MOST_STEPS:], out)


def _facts(history: ReleaseHistory) -> Iterable[tuple[str, str]]:
    request, release = history.asked, history.release
    if request is not None:
        reason = f": {request.reason}" if request.reason else ""
        yield "requested", f"{request.trigger}{reason} ({request.by}, {request.via}, {request.at:%Y-%m-%d %H:%M} UTC)"
    else:
        yield "requested", f"trigger {release.trigger}"
    if history.window is not None:
        yield from _window(history, history.window)
    if history.evaluation is not None and history.evaluation.refit is not None:
        yield "released fit", _released_fit(history.evaluation.refit)
    if history.evaluation is not None and history.evaluation.released_mapping is not None:
        yield "score mapping", history.evaluation.released_mapping.summary
    if history.making is not None:
        yield "parameters", _parameters(history)
        yield "made by", _environment(history.making.environment)
    yield "fingerprint", release.fingerprint
    yield "artifact", release.artifact_digest
    if history.model is not None:
        yield "MLflow run", history.model.run_id


def _window(history: ReleaseHistory, window: TrainingWindow) -> Iterable[tuple[str, str]]:
    days = window.days
    if history.segment:
        yield "transactions", history.segment
    yield "learnt from", history.learnt_from
    if history.imported is None:
        yield "data digest", history.data_digest or ""
    yield (
        "judged on",
        (
            f"{days.holdout.start} to {days.holdout.end}: {window.holdout_rows:,} rows, {window.holdout_frauds:,} "
            f"frauds; labels as known on {days.as_of}, believed after {window.label_delay_days} days"
        ),
    )
    if window.missing:
        yield "missing days", ", ".join(map(str, window.missing))


def _released_fit(refit: Refit) -> str:
    run = f" (MLflow run {refit.fit.run_id})" if refit.fit is not None else ""
    return f"{refit.summary}{run}"


def _parameters(history: ReleaseHistory) -> str:
    assert history.making is not None
    if history.imported is not None:
        return f"those of the imported {history.imported.format} file"
    values = " ".join(f"{name}={value}" for name, value in history.making.parameters.items())
    fitted = history.model.determined_by.model if history.model else {}
    return (
        f"{fitted.get('estimator', '')} {values} seed={fitted.get('seed', '-')} downsample={fitted.get('downsample')}"
    )


def _environment(made_by: Environment) -> str:
    lock = made_by.lock_digest[:DIGITS] if made_by.lock_digest else "none"
    return (
        f"code {made_by.code_version}, lock {lock}, installed {made_by.installed_digest[:DIGITS]}, "
        f"Python {made_by.python}"
    )


def _interval(history: ReleaseHistory) -> str:
    """The confidence intervals of the comparison with the champion."""
    comparison = history.evaluation.evidence.comparison if history.evaluation else None
    if not isinstance(comparison, Comparison):
        return f"none: {comparison.reason if comparison else 'the rows could not compare the two'}"
    both = (("candidate", comparison.candidate), ("champion", comparison.champion))
    values = ", ".join(f"{name} {one.value:.4f} ({span(one)})" for name, one in both)
    difference = f"{comparison.difference.value:+.4f} ({span(comparison.difference, '+.4f')})"
    return f"average precision at {comparison.confidence:.0%}: {values}, difference {difference}"


def _surroundings(history: ReleaseHistory) -> Iterable[tuple[str, str]]:
    if history.matured is not None:
        yield "judged again", history.matured.outcome.replace("_", " ")
    if history.shadow is not None:
        yield "in shadow", " ".join([history.shadow.summary, *(f"{line}." for line in history.shadow.lines)])
    if history.watch is not None:
        yield "watched live", history.watch.standing
    if history.rewritten:
        yield "rewritten", f"days that hold other rows now, so it cannot be made again: {', '.join(history.rewritten)}"
    changed = [f"{one.what}: {one.before} -> {one.after}" for one in history.changed] + list(history.inputs_changed)
    if changed:
        more = f"; and {len(changed) - MOST_CHANGES} more" if len(changed) > MOST_CHANGES else ""
        yield "changed since", f"the champion: {'; '.join(changed[:MOST_CHANGES])}{more}"
    if history.served:
        spans = (
            f"{since:%Y-%m-%d %H:%M} to {f'{until:%Y-%m-%d %H:%M}' if until else 'now'}"
            for since, until in history.served
        )
        yield "served", f"{'; '.join(spans)} (UTC)"
        yield "replaced", "none: there was no champion" if history.replaced is None else f"version {history.replaced}"


def _print_days(history: ReleaseHistory, out: Console) -> None:
    shown = [f"{day.day} {day.digest[:8]}{'*' if use != 'training' else ' '}" for use, day in history.days]
    if not shown:
        return
    left = len(shown) - MOST_DAYS
    out.print(Text("Day digests (* judges it; whole digests: --json, `audit export`)", "italic"), highlight=False)
    in_a_line = max(1, (out.width - 2) // (len(shown[0]) + 1))
    for first in range(0, min(len(shown), MOST_DAYS), in_a_line):
        out.print(Text("  " + " ".join(shown[first : first + in_a_line])), highlight=False)
    if left > 0:
        out.print(f"  and {left} more", highlight=False)


def _gates(history: ReleaseHistory) -> Table:
    """Every gate without its sentence, which would not fit beside the numbers."""
    assert history.evaluation is not None
    grid = gates_grid(history.evaluation.verdict)
    return _table(grid.model_copy(update={"columns": grid.columns[:-1], "rows": tuple(row[:-1] for row in grid.rows)}))


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for place, name in enumerate(grid.columns):
        table.add_column(plain(name), justify="left" if place == 0 or name == "result" else "right")
    for row in grid.rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(cell: Cell) -> Text:
    text = f"{cell:,}" if isinstance(cell, int) else plain(cell)
    return Text(text, RESULT_STYLES.get(text, ""))


def _print_steps(title: str, steps: Sequence[Step], out: Console) -> None:
    if not steps:
        return
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    for step in steps:
        who = f"{step.by} ({step.via})" if step.via else step.by
        table.add_row(
            f"{step.seq}", f"{step.at:%Y-%m-%d %H:%M}", *(Text(plain(t)) for t in (step.what, who, step.reason))
        )
    out.print(table)


def print_verification(found: Verification, out: Console) -> None:
    """Print that the chain is whole."""
    moved = f"; rows up to {found.archived} were archived" if found.archived else ""
    moved += f"; row {found.pinned.seq} was pinned outside of it" if found.pinned else "; no head is pinned yet"
    moved += f"; signed from row {found.signed_from} on" if found.signed_from else ""
    moved += f"; void: row {row_spans(found.void)}" if found.void else ""
    out.print(
        f"{found.count} events, the chain is whole{moved}; head {found.head.seq}:{found.head.hash}", highlight=False
    )
    for warning in found.warnings[:MOST_STEPS]:
        out.print(f"To be looked at: {plain(warning)}.", highlight=False, markup=False)
    if len(found.warnings) > MOST_STEPS:
        out.print(f"and {len(found.warnings) - MOST_STEPS} more", highlight=False)


def row_spans(rows: Sequence[int]) -> str:
    """Numbers of rows, those that follow each other as a span.

    >>> row_spans((3, 5, 6, 7, 12))
    '3, 5..7, 12'
    """
    spans: list[list[int]] = []
    for row in sorted(rows):
        if spans and row == spans[-1][1] + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    shown = [f"{first}" if first == last else f"{first}..{last}" for first, last in spans[:MOST_SPANS]]
    return ", ".join([*shown, *([f"and {len(spans) - MOST_SPANS} spans more"] if len(spans) > MOST_SPANS else [])])


def changed(found: Verification) -> RecordAltered:
    """The error of a record that was changed, or that is not signed yet."""
    if found.problems == (NOT_BEGUN,):
        return RecordAltered("The ledger is not signed.", culprits=[NOT_BEGUN], remedy=REMEDY)
    return RecordAltered(
        f"The ledger was changed: {found.why}.",
        culprits=[*([f"row {found.first_bad}"] if found.first_bad else []), *found.releases, *found.guards],
        remedy="compare with an exported head and a backup; nothing that follows can be relied on. Where only rows of "
        "the table of releases differ, `fraud-retraining audit restore` writes them anew from the chain; a row that "
        "only lacks a signature is taken out of the record by `fraud-retraining audit void ROW`.",
    )


def beside(problems: Sequence[str]) -> RecordAltered:
    """The error of a whole ledger beside the MLflow of another one."""
    return RecordAltered(
        "The ledger is whole, but MLflow does not belong to it.",
        culprits=problems,
        remedy="If the ledger was lost or replaced, restore it from a backup; if MLflow was changed, undo what is "
        "named. A champion that was moved by hand is recorded by champion_sensor.",
    )


def print_restored(restored: Sequence[str], out: Console) -> None:
    """Print what was written anew in the table of releases."""
    out.print("The table of releases is what the chain says; nothing was written." if not restored else "Written anew:")
    for problem in restored:
        out.print(f"  {problem}", highlight=False, markup=False)


def print_archived(archived: Archived | None, folder: Path, out: Console) -> None:
    """Print what was moved out of the ledger, or that nothing was old enough."""
    if archived is None:
        out.print("Nothing is older than ledger.retention_days; nothing was moved.", highlight=False)
        return
    days = f"{archived.oldest:%Y-%m-%d} to {archived.newest:%Y-%m-%d}"
    out.print(
        f"Rows {archived.first} to {archived.through.seq} ({days}) are in "
        f"{folder / archived.file} and no longer in the ledger; SHA-256 {archived.file_digest}",
        highlight=False,
        soft_wrap=True,
    )


def print_export(export: Export, out: Console) -> None:
    """Print what was exported, where, and the head to keep."""
    whole = "the chain is whole" if export.chain_ok else f"the chain is NOT whole (row {export.first_bad})"
    names = ", ".join([*export.files, "head.json"])
    text = f"{export.events} events of {plain(export.about)} in {export.folder}: {names}; {whole}"
    out.print(Text(text), soft_wrap=True)
    out.print(Text(f"head {export.head.seq}:{export.head.hash}"), soft_wrap=True)
