"""What the command line says: as one JSON object, or as tables.

Here: shapes and words of answers. Not here: how they are come by (`commands/runs.py`, `commands/state.py`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fraud_retraining.commands.history import History
from fraud_retraining.commands.runs import Retrained
from fraud_retraining.commands.state import State
from fraud_retraining.domain.candidate import Evaluation, RetrainStatus
from fraud_retraining.domain.events import Event
from fraud_retraining.domain.gates import Evidence
from fraud_retraining.domain.metrics import Metrics
from fraud_retraining.domain.windows import TrainingWindow

Answer = dict[str, Any]
STYLES = {
    RetrainStatus.PROMOTED: "bold green",
    RetrainStatus.AWAITING_APPROVAL: "bold cyan",
    RetrainStatus.ALREADY_TRAINED: "cyan",
    RetrainStatus.SUPERSEDED: "yellow",
    RetrainStatus.GATE_FAILED: "bold red",
    RetrainStatus.DATA_INVALID: "bold red",
}


def retrain_answer(done: Retrained) -> Answer:
    """The JSON object of one retrain."""
    model, outcome, error = done.model, done.outcome, done.error
    return {
        "as_of": done.as_of,
        "status": done.status.value,
        "model_version": outcome.version if outcome else None,
        "fingerprint": model.fingerprint if model else None,
        "mlflow_run_id": model.run_id if model else None,
        "dagster_run_id": done.dagster_run_id,
        "trigger": done.trigger.value,
        "window": _window(done.window) if done.window else None,
        "metrics": _metrics(done.evaluation),
        "gates": [gate.model_dump(mode="json") for gate in done.evaluation.verdict.gates] if done.evaluation else [],
        "message": done.message,
        "error": None
        if error is None
        else {"kind": type(error).__name__, "message": error.what, "culprits": error.culprits, "remedy": error.remedy},
    }


def _window(window: TrainingWindow) -> Answer:
    days = window.days
    return {
        "strategy": days.strategy,
        "train_start": days.training.start,
        "train_end": days.training.end,
        "holdout_start": days.holdout.start,
        "holdout_end": days.holdout.end,
        "rows": window.rows,
        "frauds": window.frauds,
        "holdout_rows": window.holdout_rows,
        "holdout_frauds": window.holdout_frauds,
        "missing_days": window.missing,
    }


def _metrics(evaluation: Evaluation | None) -> Answer:
    if evaluation is None:
        return {"candidate": None, "champion": None}
    evidence = evaluation.evidence
    judged = {"candidate": evidence.candidate, "champion": evidence.champion}
    if _partly_compared(evidence):
        judged["candidate_compared"] = evidence.candidate_compared
    if evidence.fixed_candidate is not None:
        judged |= {"fixed_candidate": evidence.fixed_candidate, "fixed_champion": evidence.fixed_champion}
    return {name: metrics.values if metrics else None for name, metrics in judged.items()}


def print_retrain(done: Retrained, out: Console) -> None:
    """One retrain for a person."""
    style = STYLES[done.status]
    out.print(f"As of {done.as_of}: [{style}]{_words(done.status)}[/]", highlight=False)
    if done.error is None and done.message:
        out.print(done.message, highlight=False, markup=False)
    if done.window is not None:
        days = done.window.days
        out.print(
            f"Learnt from {days.training.start} to {days.training.end} ({done.window.rows:,} rows, "
            f"{done.window.frauds:,} frauds), judged on {days.holdout.start} to {days.holdout.end} "
            f"({done.window.holdout_rows:,} rows, {done.window.holdout_frauds:,} frauds).",
            highlight=False,
        )
    if done.evaluation is not None:
        out.print(*_metrics_tables(done.evaluation))
        out.print(_gates_table(done.evaluation))
    if done.model is not None:
        version = f"version {done.outcome.version}, " if done.outcome else ""
        out.print(
            f"{version}fingerprint {done.model.fingerprint[:12]}, MLflow run {done.model.run_id}", highlight=False
        )


def _words(status: RetrainStatus) -> str:
    return status.value.replace("_", " ")


def _metrics_tables(evaluation: Evaluation) -> Iterator[Table]:
    evidence = evaluation.evidence
    where = "On the holdout"
    if _partly_compared(evidence):
        where = f"On the {len(evaluation.compared_days)} holdout days that the champion has not learnt from"
    yield _metrics_table(where, evidence.candidate_compared or evidence.candidate, evidence.champion)
    if evidence.fixed_candidate is not None:
        yield _metrics_table("On the fixed evaluation days", evidence.fixed_candidate, evidence.fixed_champion)


def _partly_compared(evidence: Evidence) -> bool:
    """Whether the champion has learnt from some of the holdout, so that only the rest compares the two."""
    compared = evidence.candidate_compared
    return compared is not None and compared.rows != evidence.candidate.rows


def _metrics_table(title: str, candidate: Metrics, champion: Metrics | None) -> Table:
    table = Table("metric", "candidate", "champion", title=title)
    for name, value in candidate.values.items():
        table.add_row(name, _number(value), _number(champion.values.get(name) if champion else None))
    return table


def _gates_table(evaluation: Evaluation) -> Table:
    table = Table("gate", "result", "why", title="Gates")
    for gate in evaluation.verdict.gates:
        result = "[green]passed[/]" if gate.passed else "[red]failed[/]"
        table.add_row(gate.name, result if gate.applicable else "not compared", gate.message)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_backfill(done: Sequence[Retrained], out: Console) -> None:
    """Every retrain of a backfill, a line each."""
    table = Table("as of", "status", "version", "average precision", "why", title=f"{len(done)} retrains")
    for one in done:
        values = one.evaluation.evidence.candidate.values if one.evaluation else {}
        table.add_row(
            str(one.as_of),
            f"[{STYLES[one.status]}]{_words(one.status)}[/]",
            str(one.outcome.version) if one.outcome else "-",
            _number(values.get("average_precision")),
            one.message.splitlines()[0] if one.message else "",
        )
    out.print(table)


def print_state(state: State, out: Console) -> None:
    """Where everything stands, for a person."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, told in state.told():
        table.add_row(name, told)
    out.print(table)
    if state.runs:
        runs = Table("requested", "as of", "trigger", "came to", title="Last retrains")
        for run in state.runs:
            runs.add_row(f"{run.requested_at:%Y-%m-%d %H:%M}", str(run.as_of), run.trigger, run.came_to)
        out.print(runs)


def print_events(events: Sequence[Event], out: Console) -> None:
    """Events of the ledger, a line each."""
    table = Table("no.", "at (UTC)", "event", "as of", "version", "by", "about")
    for event in events:
        table.add_row(
            str(event.seq),
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            event.kind.replace("_", " "),
            str(event.as_of or ""),
            str(event.version or ""),
            f"{event.actor} ({event.channel})" if event.channel else event.actor,
            _about(event),
        )
    out.print(table)


def _about(event: Event) -> str:
    payload = event.payload
    told = [str(payload[key]) for key in ("trigger", "what", "to", "reason") if payload.get(key)]
    return ": ".join([*([event.subject] if event.subject else []), *told])


def print_history(history: History, out: Console) -> None:
    """One version: what it learnt from, how it was judged, who let it serve, what it replaced."""
    release = history.release
    state = release.state.replace("_", " ")
    out.print(f"[bold]Version {release.version}[/] as of {release.as_of}: {state}", highlight=False)
    rows = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows.add_row("asked for by", f"trigger {release.trigger}")
    if history.window is not None:
        days, window = history.window.days, history.window
        rows.add_row("learnt from", f"{days.training.start} to {days.training.end}: {window.rows:,} rows, "
                     f"{window.frauds:,} frauds")  # fmt: skip
        rows.add_row("judged on", f"{days.holdout.start} to {days.holdout.end}: {window.holdout_rows:,} rows, "
                     f"{window.holdout_frauds:,} frauds")  # fmt: skip
    rows.add_row("fingerprint", release.fingerprint)
    if history.not_reproducible_because:
        rows.add_row("not reproducible", f"{history.not_reproducible_because} since it was trained")
    rows.add_row("artifact", release.artifact_digest)
    replaced = release.champion_before
    rows.add_row("champion before", f"version {replaced}" if replaced else "none")
    rows.add_row(
        "last moved", f"{release.moved_at:%Y-%m-%d %H:%M} UTC by {release.moved_by}: {release.reason or state}"
    )
    if release.decided_by:
        rows.add_row(
            "decided", f"{release.decided_at:%Y-%m-%d %H:%M} UTC by {release.decided_by}, {release.decided_via}"
        )
    out.print(rows)
    if history.evaluation is not None:
        out.print(*_metrics_tables(history.evaluation))
        out.print(_gates_table(history.evaluation))
    print_events(history.events, out)
