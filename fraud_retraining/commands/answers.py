"""What the command line says: as one JSON object, or as tables.

Here: shapes and words of answers. Not here: how they are come by (`commands/runs.py`, `commands/state.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fraud_retraining.commands.decisions import Waiting
from fraud_retraining.commands.runs import Retrained
from fraud_retraining.commands.state import State
from fraud_retraining.domain.evaluation.metrics import Metrics
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.lifecycle import Release, ReleaseState
from fraud_retraining.domain.retraining.pauses import Pause
from fraud_retraining.domain.retraining.statuses import RetrainStatus
from fraud_retraining.domain.training.windows import TrainingWindow

JsonAnswer = dict[str, Any]
ON_HOLDOUT = "On the holdout"
STYLES = {
    RetrainStatus.PROMOTED: "bold green",
    RetrainStatus.AWAITING_APPROVAL: "bold cyan",
    RetrainStatus.ALREADY_TRAINED: "cyan",
    RetrainStatus.SUPERSEDED: "yellow",
    RetrainStatus.JUDGED: "cyan",
    RetrainStatus.GATE_FAILED: "bold red",
    RetrainStatus.DATA_INVALID: "bold red",
}


def retrain_answer(done: Retrained) -> JsonAnswer:
    """The JSON object of one retrain."""
    model, outcome, error = done.model, done.outcome, done.error
    return {
        "as_of": done.as_of,
        "status": done.status.value,
        "model_version": outcome.version if outcome else None,
        "fingerprint": model.fingerprint if model else None,
        "mlflow_run_id": model.run_id if model else None,
        "dagster_run_id": done.dagster_run_id,
        "trigger": str(done.trigger),
        "window": _window(done.window) if done.window else None,
        "metrics": _metrics(done.evaluation),
        "gates": [gate.model_dump(mode="json") for gate in done.evaluation.verdict.gates] if done.evaluation else [],
        "message": done.message,
        "error": error.answer if error is not None else None,
    }


def _window(window: TrainingWindow) -> JsonAnswer:
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


def _metrics(evaluation: Evaluation | None) -> JsonAnswer:
    if evaluation is None:
        return {"candidate": None, "champion": None}
    evidence = evaluation.evidence
    judged = {"candidate": evidence.beside, "champion": evidence.champion}
    if evidence.partly_compared:
        judged["candidate_all_holdout"] = evidence.candidate
    if evidence.fixed_beside is not None:
        judged |= {"fixed_candidate": evidence.fixed_beside, "fixed_champion": evidence.fixed_champion}
    return {name: metrics.values if metrics else None for name, metrics in judged.items()}


def print_retrain(done: Retrained, out: Console) -> None:
    """One retrain for a person."""
    style = STYLES[done.status]
    out.print(
        f"{f'As of {done.as_of}' if done.as_of else 'No retrain'}: [{style}]{_words(done.status)}[/]", highlight=False
    )
    if done.error is None and done.message:
        out.print(done.message, highlight=False, markup=False)
    if done.window is not None and done.model is not None:
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
    where = ON_HOLDOUT
    if evidence.partly_compared:
        where = f"On the {len(evaluation.compared_days)} holdout days that the champion has not learnt from"
    yield _metrics_table(where, evidence.beside, evidence.champion)
    if evidence.fixed_beside is not None:
        yield _metrics_table("On the fixed evaluation days", evidence.fixed_beside, evidence.fixed_champion)


def _metrics_table(title: str, candidate: Metrics, champion: Metrics | None) -> Table:
    return _values_table(candidate.values, champion.values if champion else {}, title)


def _values_table(
    candidate: Mapping[str, float | None], champion: Mapping[str, float | None], title: str = ON_HOLDOUT
) -> Table:
    table = Table("metric", "candidate", "champion", title=title)
    for name, value in candidate.items():
        table.add_row(name, _number(value), _number(champion.get(name)))
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
    columns = ("as of", "status", "version", "average precision", "champion's", "why")
    table = Table(*columns, title=f"{len(done)} retrains")
    for one in done:
        evidence = one.evaluation.evidence if one.evaluation else None
        values = evidence.beside.values if evidence else {}
        beside = evidence.champion.values if evidence and evidence.champion else {}
        table.add_row(
            str(one.as_of),
            f"[{STYLES[one.status]}]{_words(one.status)}[/]",
            str(one.outcome.version) if one.outcome else "-",
            _number(values.get("average_precision")),
            _number(beside.get("average_precision")),
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


def print_decision(release: Release, out: Console) -> None:
    """Where a release stands after a decision, and who made it."""
    if release.state is ReleaseState.AWAITING_APPROVAL:
        out.print(
            f"version {release.version} was approved by {release.first_approval_by}; a second reviewer has to approve "
            f"before {release.deadline:%Y-%m-%d %H:%M} UTC",
            highlight=False,
        )
        return
    state = release.state.replace("_", " ")
    by = f"by {release.decided_by or release.moved_by} ({release.decided_via})" if release.decided_via else ""
    out.print(f"version {release.version} as of {release.as_of} is {state} {by}".rstrip(), highlight=False)


def print_pending(waiting: Sequence[Waiting], out: Console) -> None:
    """What waits, each with its numbers and what to type."""
    if not waiting:
        out.print("nothing waits for a reviewer", highlight=False)
    for one in waiting:
        release = one.release
        state = release.state.replace("_", " ")
        out.print(f"[bold]Version {release.version}[/] as of {release.as_of}: {state}", highlight=False)
        rows = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        rows.add_row("trigger", f"{release.trigger}, asked for by {release.requested_by or 'automation'}")
        rows.add_row("why it waits", release.reason)
        if one.seconds_left is not None and release.deadline is not None:
            left = f"{one.seconds_left / 3600:.1f} hours left"
            rows.add_row("decide before", f"{release.deadline:%Y-%m-%d %H:%M} UTC, {left}")
        if release.first_approval_by:
            rows.add_row("first approval", f"{release.first_approval_by}; a second reviewer has to approve")
        rows.add_row("artifact", release.artifact_digest)
        out.print(rows)
        out.print(_values_table(one.candidate, one.champion or {}))


def print_resumed(ended: Sequence[Pause], out: Console) -> None:
    """What goes on again."""
    if not ended:
        out.print("nothing is paused", highlight=False)
    for pause in ended:
        out.print(f"automatic {pause.subject} goes on; it was {pause.told}", highlight=False)
