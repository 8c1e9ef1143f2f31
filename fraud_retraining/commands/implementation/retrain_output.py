"""Output of retrains: the JSON object, and tables for people.

Not here: what a retrain does (`pipeline.py` beside it).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fraud_retraining.commands.implementation.pipeline import Retrained
from fraud_retraining.commands.support.output import metric_text, metrics_table
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.training.windows import TrainingWindow

JsonAnswer = dict[str, Any]
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
        "labels_arrived": done.labels_arrived,
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
    """Print one retrain: status, window, metrics, gates, and where its record is."""
    style = STYLES[done.status]
    out.print(
        f"{f'As of {done.as_of}' if done.as_of else 'No retrain'}: [{style}]{_words(done.status)}[/]", highlight=False
    )
    if done.error is None and done.message:
        out.print(done.message, highlight=False, markup=False)
    if done.window is not None and done.model is not None:
        days, imported = done.window.days, done.model.determined_by.imported
        learnt = (
            f"Learnt through {imported.trained_through}, as is claimed"
            if imported
            else f"Learnt from {days.training.start} to {days.training.end} ({done.window.rows:,} rows, "
            f"{done.window.frauds:,} frauds)"
        )
        out.print(
            f"{learnt}, judged on {days.holdout.start} to {days.holdout.end} "
            f"({done.window.holdout_rows:,} rows, {done.window.holdout_frauds:,} frauds).",
            highlight=False,
        )
    if done.labels_arrived is False:
        out.print(f"Labels of {done.as_of} have not arrived: no report of that day is known.", highlight=False)
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
    title = "On the holdout"
    if evidence.partly_compared:
        title = f"On the {len(evaluation.compared_days)} holdout days that the champion has not learnt from"
    yield metrics_table(evidence.beside.values, evidence.champion.values if evidence.champion else {}, title)
    if evidence.fixed_beside is not None:
        fixed_champion = evidence.fixed_champion.values if evidence.fixed_champion else {}
        yield metrics_table(evidence.fixed_beside.values, fixed_champion, "On the fixed evaluation days")


def _gates_table(evaluation: Evaluation) -> Table:
    table = Table("gate", "result", "why", title="Gates")
    for gate in evaluation.verdict.gates:
        result = "[green]passed[/]" if gate.passed else "[red]failed[/]"
        table.add_row(gate.name, result if gate.applicable else "not compared", gate.message)
    return table


def print_backfill(done: Sequence[Retrained], out: Console) -> None:
    """Print the retrains of a backfill, a line each."""
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
            metric_text(values.get("average_precision")),
            metric_text(beside.get("average_precision")),
            one.message.splitlines()[0] if one.message else "",
        )
    out.print(table)
