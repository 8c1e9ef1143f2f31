"""The demo: a simulated lake and label feed in which fraudsters change their tactics, and retrains every 48 hours.

Here: the as-of days, the mistakes made on purpose on some of them, and the table of results. Nothing is faked: every
line of the table is a retrain that ran through the same jobs as any other.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.commands.implementation.development_servers import LINKS
from fraud_retraining.commands.implementation.live_demonstration import ServedDay, serve_day
from fraud_retraining.commands.implementation.pipeline import Pipeline, Retrained
from fraud_retraining.commands.implementation.retrain_output import STYLES, retrain_answer
from fraud_retraining.commands.implementation.simulated_lake import FEED_FOLDER, write_simulated_lake
from fraud_retraining.commands.support.options import SimulatedLabels
from fraud_retraining.domain.alerts.notices import sentences
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import RetrainingError
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.settings import (
    CONFIG_VARIABLE,
    HOME_VARIABLE,
    Settings,
    home_folder,
    load_settings,
)
from fraud_retraining.simulation import SimulationPolicy

DAYS = 69
FIRST_AS_OF = 50
EVERY = 2
LAST_AS_OF = FIRST_AS_OF + (DAYS - 1 - FIRST_AS_OF) // EVERY * EVERY
MISTAKE_AT = 52
MISTAKEN_PARAMS = {"n_estimators": 3, "max_depth": 1}
REPEATED_AT = 54
SHIFT_AFTER = 56
ROWS_OF_DAYS = 15
"""Days whose rows a training window of the demo has at least, however few rows a day has."""
HOLDOUT_DAYS = 3
"""The holdout of labels as known, as it is shipped."""
REVIEWED_FROM = 0.3
"""Score from which the demo has a transaction reviewed."""
MARKER = "this-is-the-demo"


@dataclass
class DemoRun:
    """The retrains of the demo, in order."""

    home: Path
    lake: str
    shift_on: date
    transactions: int
    seconds: float = 0.0
    retrains: list[tuple[Retrained, str]] = field(default_factory=list)
    """Each with the reason for its result."""
    served: ServedDay | None = None
    skew: ServedSkew | None = None

    def answer(self) -> dict[str, Any]:
        """The run as one JSON object."""
        return {
            "home": self.home,
            "lake": self.lake,
            "shift_on": self.shift_on,
            "transactions": self.transactions,
            "seconds": round(self.seconds, 1),
            "retrains": [{**retrain_answer(done), "summary": reason} for done, reason in self.retrains],
            "served": self.served.answer() if self.served else None,
            "served_skew": self.skew,
        }

    def print(self, out: Console) -> None:
        """Print the retrains as a table, and how to look at it in Dagster."""
        table = Table(
            "as of", "learnt from", "candidate", "champion", "came to", "why", title="A retrain every 48 hours"
        )
        for done, reason in self.retrains:
            table.add_row(str(done.as_of), _training_days(done), *_both(done), _result(done), reason)
        out.print(table)
        out.print(
            "[bold]candidate[/] and [bold]champion[/]: average precision on the same holdout, the last 3 days. "
            f"Fraudsters changed tactics on {self.shift_on}. Their frauds are reported to a label feed over the next "
            "days, and each report counts from the next day on; the first days of the change are in the training "
            f"window from as-of day {self.shift_on + timedelta(days=HOLDOUT_DAYS)} on.",
            highlight=False,
        )
        if self.served:
            out.print(self.served.summary(), highlight=False, soft_wrap=True)
        if self.skew:
            out.print(f"Computed again in the batch: {self.skew.summary()}.", highlight=False, soft_wrap=True)
        out.print(
            f"{self.transactions:,} transactions, {len(self.retrains)} retrains, {self.seconds:.0f} s.", highlight=False
        )
        out.print(
            "\nLook around: [bold]make ui[/], then open http://127.0.0.1:3000 (lineage, partitions, checks)."
            f"\nOn the command line: [bold]FRAUD_RETRAINING_HOME={self.home} FRAUD_RETRAINING_CONFIG={self.home}/"
            "retraining.yaml fraud-retraining status[/]",
            highlight=False,
            soft_wrap=True,
        )


def run_demo(progress: Progress, transactions_per_day: int, seed: int, err: Console, *, verbose: bool) -> DemoRun:
    """Simulate the lake and run the retrains, in a folder `demo` of its own under the home."""
    started = monotonic()
    home = _fresh_home(transactions_per_day)
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    policy = SimulationPolicy(
        start=start,
        days=DAYS,
        transactions_per_day=transactions_per_day,
        seed=seed,
        shift_on=start + timedelta(days=SHIFT_AFTER),
    )
    with _at_home(home):
        settings = load_settings()
        message = f"Simulating {DAYS} days of transactions in {settings.lake_uri}, and reports of fraud"
        err.print(message, highlight=False, markup=False, soft_wrap=True)
        rows = write_simulated_lake(settings, policy, progress, labels=SimulatedLabels.FEED)
        demo = DemoRun(home, settings.lake_uri, policy.start + timedelta(days=SHIFT_AFTER), rows)
        pipeline = Pipeline(settings, progress, verbose=verbose)
        err.print("Ingesting the days before the first model", highlight=False)
        pipeline.ingest(DayRange(start=start, end=start + timedelta(days=FIRST_AS_OF)))
        for done, reason in _retrains(pipeline, settings, progress, start, verbose=verbose):
            demo.retrains.append((done, reason))
            line = f"As of {done.as_of}: {done.status.value.replace('_', ' ')}. {reason}"
            err.print(line, highlight=False, markup=False, soft_wrap=True)
            if done.as_of == start + timedelta(days=LAST_AS_OF - EVERY):
                demo.served = _serve(pipeline, settings, start + timedelta(days=LAST_AS_OF), err)
        if demo.served:
            demo.skew = pipeline.served_skew(demo.served.day)
    demo.seconds = monotonic() - started
    return demo


def _serve(pipeline: Pipeline, settings: Settings, day: date, err: Console) -> ServedDay | None:
    """The day scored live by the champion, before the last retrain ingests it; None where there is no champion."""
    if pipeline.ledger.champion() is None:
        return None
    before = day - timedelta(days=1)
    pipeline.ingest(DayRange(start=before, end=before))
    err.print(f"Scoring the transactions of {day} as they come in", highlight=False)
    return serve_day(settings, pipeline.lake, day)


def _retrains(
    pipeline: Pipeline, settings: Settings, progress: Progress, start: date, *, verbose: bool
) -> Iterator[tuple[Retrained, str]]:
    mistaken = settings.model_copy(
        update={"model": settings.model.model_copy(update={"params": MISTAKEN_PARAMS})}, deep=True
    )
    for offset in range(FIRST_AS_OF, DAYS, EVERY):
        as_of = start + timedelta(days=offset)
        if offset == MISTAKE_AT:
            pipeline_with_mistake = Pipeline(mistaken, progress, verbose=verbose)
            done = pipeline_with_mistake.retrain(as_of, Trigger.MANUAL, "a trial of three shallow trees")
            yield done, _reason(done, "Three shallow trees were set by mistake. ")
        done = pipeline.retrain(as_of, Trigger.SCHEDULE, "48 hours since the last as-of day")
        yield done, _reason(done)
        if offset == REPEATED_AT:
            done = pipeline.retrain(as_of, Trigger.MANUAL, "requested again, with nothing changed")
            yield done, _reason(done, "Requested again, nothing changed. ")


def _reason(done: Retrained, before: str = "") -> str:
    if isinstance(done.error, RetrainingError):
        return before + sentences(*(culprit.split(": ", 1)[-1] for culprit in done.error.culprits[:2]))
    if done.evaluation is not None and done.outcome is not None and done.status.value == "promoted":
        return before + next(g.message for g in done.evaluation.verdict.gates if g.name == "no_regression")
    return before + sentences(done.message)


def _training_days(done: Retrained) -> str:
    if done.window is None:
        return "-"
    days = done.window.days.training
    return f"{days.start:%m-%d} .. {days.end:%m-%d}"


def _both(done: Retrained) -> tuple[str, str]:
    if done.evaluation is None:
        return "-", "-"
    evidence = done.evaluation.evidence
    champion = evidence.champion.values["average_precision"] if evidence.champion else None
    candidate = evidence.beside.values["average_precision"]
    return tuple("-" if value is None else f"{value:.3f}" for value in (candidate, champion))  # type: ignore[return-value]


def _result(done: Retrained) -> str:
    version = f" v{done.outcome.version}" if done.outcome else ""
    return f"[{STYLES[done.status]}]{done.status.value.replace('_', ' ')}{version}[/]"


def _fresh_home(transactions_per_day: int) -> Path:
    """The demo's own folder, emptied if an earlier demo made it."""
    base = home_folder()
    home = base if base.name == "demo" else base / "demo"
    # Only a folder with the marker was made by a demo; any other content is not ours to delete.
    if (home / MARKER).exists():
        shutil.rmtree(home)
    private_folder(home)
    (home / MARKER).touch()
    values = demo_values(home, transactions_per_day)
    (home / "retraining.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return home


def demo_values(home: Path, transactions_per_day: int) -> dict[str, Any]:
    """The settings of a demo in a folder: a model that trains fast, and fewer required rows where days are small."""
    least = min(Settings().validation.min_rows, ROWS_OF_DAYS * transactions_per_day)
    return {
        "lake": {"uri": str(home / "lake")},
        "labels": {"uri": str(home / FEED_FOLDER), "columns": {"source": "source"}},
        "validation": {"min_rows": least},
        "promotion": {"mode": "auto"},
        "model": {"params": {"n_estimators": 100, "learning_rate": 0.1, "max_bin": 256}},
        "serving": {"decisions": [{"name": "review", "at": REVIEWED_FROM}]},
        "alerts": {"links": LINKS},
    }


@contextmanager
def _at_home(home: Path) -> Iterator[None]:
    """The environment of the demo, restored afterwards."""
    own = {HOME_VARIABLE: str(home), CONFIG_VARIABLE: str(home / "retraining.yaml")}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
