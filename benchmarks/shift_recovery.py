"""Average precision under unattended retraining when fraudsters change: the champion day by day, with it and without.

Two homes with the same first champion receive the same simulated lake, a day at a time, each decision taken at
02:00 of the next day by what schedules and sensors call. One has the triggers as they are shipped and promotes by its
gates; in the other every trigger is off. Both are drawn by what the product says of them, `production_performance`.
All settings but `promotion.mode` are the shipped ones. Ends with exit code 1 when the first does not recover, or the
second does.

    python -m benchmarks.shift_recovery [--seed 7] [--labels none|column|feed] [--report-days 2.5] [--shift-days 3]
                                        [--refit] [--calm [--data FOLDER]]

With `--labels feed` frauds are reported late, to a label feed, and used as known; with `column` the lake says when a
label became known. `--shift-days 20` makes the change of fraudsters gradual; customers change on one day. `--calm` is
the negative control: six weeks without a change, every trigger on; ends with exit code 1 when one fires but the
schedule, or mature labels refute a promotion. With `--data` its days are those of a lake that has the simulator's
columns, as the Fraud Detection Handbook's data have, moved by whole weeks; reports are simulated.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.given_lake import given_days
from benchmarks.measuring import Stopwatch
from fraud_retraining.simulation.reports import LABELLED_AT

START = date(2026, 1, 1)
FIRST_AS_OF, SHIFT, DAYS = START + timedelta(days=54), START + timedelta(days=62), 100
FRAUD_RATE = 0.015
ENOUGH_DAYS = 7
STEADY_DAYS, JUDGED_DAYS = 3, 30
TOLERANCE, FAR_BELOW = 0.03, 0.15
UNATTENDED, ALONE = "unattended", "alone"
BOTTOM, TOP, WORDS_TOP, WORDS_HEIGHT, WORDS_WIDTH = -0.13, 1.25, 1.24, 0.1, 7
BLUE, ORANGE, GREY, RED = "#0072B2", "#D55E00", "#6B6B6B", "#AA3377"
MARKS = {"schedule": ("^", GREY), "drift": ("D", RED), "schedule+drift": ("s", RED)}
TRIGGERS: dict[str, dict[str, None]] = {UNATTENDED: {}, ALONE: {"schedule": None, "drift": None}}


class Retrain(NamedTuple):
    """A retrain that automation requested, how it ended, and what mature labels said of it later if they were asked."""

    as_of: date
    trigger: str
    status: str
    matured: str

    @property
    def promoted(self) -> bool:
        """Whether its candidate became champion."""
        return self.status == "promoted"

    @property
    def summary(self) -> str:
        """All of it, in words."""
        later = f", {self.matured} by mature labels" if self.matured else ""
        return f"as of {self.as_of}: {self.trigger}, {self.status.replace('_', ' ')}{later}"


class RunHistory(NamedTuple):
    """One home: average precision of each day that was served, and its retrains."""

    average_precision: dict[date, float]
    retrains: list[Retrain]
    label_delay: int
    learns_after: int

    def mean(self, first: date, last: date) -> float:
        """Mean of the daily average precision over some days."""
        return fmean(value for day, value in self.average_precision.items() if first <= day <= last)

    def days_to_recover(self) -> int | None:
        """Days from the shift to the first of `STEADY_DAYS` whose mean is as good as before it; None: it never is."""
        enough = self.mean(FIRST_AS_OF, SHIFT - timedelta(days=1)) - TOLERANCE
        served = [day for day in self.average_precision if day >= SHIFT]
        steady = timedelta(days=STEADY_DAYS - 1)
        found = (
            day for day in sorted(served) if day + steady <= max(served) and self.mean(day, day + steady) >= enough
        )
        return next((_number(day) for day in found), None)


class Comparison(NamedTuple):
    """Both sides: with retraining and without."""

    unattended: RunHistory
    alone: RunHistory

    @property
    def matures(self) -> date:
        """The day with which the labels of the first shifted day become mature."""
        return SHIFT + timedelta(days=self.unattended.label_delay)

    @property
    def helps(self) -> date:
        """The as-of day whose training window is the first to hold a shifted day."""
        return SHIFT + timedelta(days=self.unattended.learns_after)

    @property
    def learnt(self) -> date:
        """The first day that is served by a champion with `ENOUGH_DAYS` shifted days in its training window."""
        enough = self.helps + timedelta(days=ENOUGH_DAYS - 1)
        promoted = [one.as_of for one in self.unattended.retrains if one.promoted and one.as_of >= enough]
        return min(promoted) + timedelta(days=1)

    def means(self) -> dict[str, float]:
        """What it comes down to."""
        return {
            "before the shift": self.unattended.mean(FIRST_AS_OF, SHIFT - timedelta(days=1)),
            "until the first shifted day can be learnt": self.unattended.mean(SHIFT, self.helps),
            f"once {ENOUGH_DAYS} shifted days are learnt": self.unattended.mean(self.learnt, date.max),
            "the same days with every trigger off": self.alone.mean(self.learnt, date.max),
        }


def main() -> int:
    """Run both sides, draw them, and say whether the first recovers and the second does not."""
    options = _options()
    if options.side:
        print(json.dumps(_simulated_run(options)))
        return 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(TRIGGERS)) as pool:
        comparison = Comparison(*pool.map(lambda side: _run(options, Path(folder) / side, side), TRIGGERS))
    if not options.calm:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        draw(comparison, options.out)
    return _report(comparison, options.calm)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--transactions-per-day", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path("docs/images/shift.png"))
    parser.add_argument("--labels", choices=("none", "column", "feed"), default="none")
    parser.add_argument("--report-days", type=float, default=2.5, help="median delay of a report of fraud")
    parser.add_argument("--shift-days", type=int, default=3, help="days over which fraudsters change")
    parser.add_argument("--refit", action="store_true", help="fit the verdict's recipe again on window and holdout")
    parser.add_argument("--calm", action="store_true", help="nobody changes, and every trigger is on: which one fires?")
    parser.add_argument("--data", type=Path, help="a lake with the simulator's columns, in place of simulated days")
    parser.add_argument("--side", choices=TRIGGERS)
    options = parser.parse_args()
    if options.data and not options.calm:
        parser.error("--data has no shift on a known day: it needs --calm")
    return options


# ---------------------------------------------------------------- running


def _run(options: argparse.Namespace, folder: Path, side: str) -> RunHistory:
    """One run in a process, a home and a lake of its own."""
    folder.mkdir()
    (folder / "retraining.yaml").write_text(json.dumps(_settings(options, folder, side)))
    environment = {
        **os.environ,
        "FRAUD_RETRAINING_HOME": str(folder / "home"),
        "FRAUD_RETRAINING_CONFIG": str(folder / "retraining.yaml"),
        "PYTHONWARNINGS": "ignore",
    }
    sizes = ["--seed", str(options.seed), "--transactions-per-day", str(options.transactions_per_day)]
    sizes += ["--labels", options.labels, "--report-days", str(options.report_days)]
    sizes += ["--shift-days", str(options.shift_days), *(["--calm"] if options.calm else [])]
    sizes += ["--data", str(options.data)] if options.data else []
    command = [sys.executable, "-m", "benchmarks.shift_recovery", "--side", side, *sizes]
    watch = Stopwatch()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    print(f"{side}: {DAYS - (FIRST_AS_OF - START).days - 1} days run in {watch.read()['seconds']:.0f} s", flush=True)
    return _parsed(json.loads(done.stdout.splitlines()[-1]))


def _settings(options: argparse.Namespace, folder: Path, side: str) -> dict[str, Any]:
    """The shipped settings, mode `auto`, and what the options say."""
    triggers: dict[str, Any] = dict(TRIGGERS[side])
    if options.calm and side == UNATTENDED:
        triggers = {"performance": {}} if options.labels == "none" else {"performance": {}, "labels": {}}
    settings: dict[str, Any] = {
        "lake": {"uri": str(folder / "lake")},
        "promotion": {"mode": "auto"},
        "triggers": triggers,
        "window": {"refit": {"enabled": options.refit}},
    }
    if options.labels == "feed":
        settings["labels"] = {"uri": str(folder / "labels"), "columns": {"source": "source"}}
    if options.labels == "column":
        settings["columns"] = {"labelled_at": LABELLED_AT}
    return settings


def _parsed(outcome: dict[str, Any]) -> RunHistory:
    return RunHistory(
        average_precision={date.fromisoformat(day): value for day, value in outcome["average_precision"].items()},
        retrains=[Retrain(date.fromisoformat(day), *rest) for day, *rest in outcome["retrains"]],
        label_delay=outcome["label_delay"],
        learns_after=outcome["learns_after"],
    )


def _simulated_run(options: argparse.Namespace) -> dict[str, Any]:
    """A first champion, then day after day what automation makes of it; as plain values."""
    from fraud_retraining.commands.implementation.simulated_lake import LakeWriter
    from fraud_retraining.commands.support.options import SimulatedLabels
    from fraud_retraining.domain.retraining.triggers.values import Trigger
    from fraud_retraining.simulation import SimulationPolicy, Simulator
    from fraud_retraining.simulation.reports import ReportPolicy

    logging.disable(logging.CRITICAL)
    policy = SimulationPolicy(
        start=START,
        days=DAYS,
        transactions_per_day=options.transactions_per_day,
        seed=options.seed,
        fraud_rate=FRAUD_RATE,
        shift_on=None if options.calm else SHIFT,
        shift_days=options.shift_days,
    )
    automation = Automation()
    reports = ReportPolicy(median_days=options.report_days)
    writer = LakeWriter(automation.settings, policy, SimulatedLabels(options.labels), reports)
    for day, table in given_days(options.data, START, DAYS) if options.data else Simulator(policy):
        writer.put(day, table)
        if day == FIRST_AS_OF:
            done = automation.pipeline.retrain(day, Trigger.MANUAL, "the first champion")
            assert done.status == "promoted", done.message
        if day > FIRST_AS_OF:
            automation.run_day(day)
    return automation.results()


class Automation:
    """What schedules and sensors call, called once a day; what it requests is run at once, in this process."""

    def __init__(self) -> None:
        from fraud_retraining.commands.implementation.pipeline import Pipeline
        from fraud_retraining.definitions import build_definitions
        from fraud_retraining.orchestration.runs.progress import LogProgress
        from fraud_retraining.settings import load_settings

        self.settings = load_settings()
        self.pipeline = Pipeline(self.settings, LogProgress())
        self.definitions = build_definitions(self.settings)
        self.instance = self.pipeline.instance

    def run_day(self, day: date) -> None:
        """A day is ingested and watched; at 02:00 of the next it is decided whether to retrain."""
        from fraud_retraining.orchestration.names import (
            INGEST,
            JUDGE_AGAIN,
            MONITOR,
            RETRAIN,
        )
        from fraud_retraining.orchestration.sensors import next_runs
        from fraud_retraining.orchestration.state.sources import Sources

        sources = Sources(self.settings, self.pipeline.lake, self.pipeline.store, self.pipeline.ledger)
        night = datetime.combine(day + timedelta(days=1), time(2), UTC)
        self._until_done(INGEST, lambda: next_runs.ingest_next(sources, self.instance, night))
        self._until_done(MONITOR, lambda: next_runs.monitor_next(sources, self.instance))
        if self.settings.judges_fresh:
            self._until_done(JUDGE_AGAIN, lambda: next_runs.judge_again_next(sources, self.instance))
        request = next_runs.retrain_if_due(sources, self.instance, night)
        outcome = self._run(RETRAIN, request) if hasattr(request, "run_key") else request.skip_message
        print(f"{day}: {outcome}", file=sys.stderr, flush=True)

    def _until_done(self, job: str, next_run: Any) -> None:
        while hasattr(request := next_run(), "run_key"):
            outcome = self._run(job, request)
            assert outcome == "done", outcome

    def _run(self, job: str, request: Any) -> str:
        """Carries a request out."""
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, "dagster/sensor_name": "shift_recovery"},
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return "done" if result.success else f"{job} failed"

    def results(self) -> dict[str, Any]:
        """The run as plain values."""
        from fraud_retraining.adapters.days.monitoring_reports import PERFORMANCE, report_of
        from fraud_retraining.domain.ledger.events import EventKind
        from fraud_retraining.domain.monitoring.live_performance import PerformanceReport

        days = [START + timedelta(days=number) for number in range(DAYS)]
        records = self.pipeline.store.partitions(PERFORMANCE, days)
        reports = {day: report_of(record, PerformanceReport) for day, record in records.items()}
        measured = {day: report.today for day, report in reports.items() if report.is_mature}
        ledger = self.pipeline.ledger
        ended = {event.as_of: event.payload["status"] for event in ledger.events(EventKind.RETRAIN_FINISHED)}
        ended |= {event.as_of: event.payload["category"] for event in ledger.events(EventKind.RETRAIN_FAILED)}
        matured = {event.as_of: event.payload["outcome"] for event in ledger.events(EventKind.MATURED_VERDICT)}
        return {
            "average_precision": {
                str(day): one.average_precision.value for day, one in measured.items() if one.average_precision
            },
            "retrains": [
                (
                    str(event.as_of),
                    event.payload["trigger"],
                    ended.get(event.as_of, "failed"),
                    matured.get(event.as_of, ""),
                )
                for event in ledger.events(EventKind.RETRAIN_REQUESTED)
            ],
            "label_delay": self.settings.labels.delay_days,
            "learns_after": self.settings.labels.lag_days + self.settings.holdout.days,
        }


# ---------------------------------------------------------------- reporting


def _report(comparison: Comparison, calm: bool) -> int:
    claims = _calm_claims(comparison) if calm else _shift_claims(comparison)
    for one in comparison.unattended.retrains:
        print(one.summary)
    failed = [claim for claim, holds in claims.items() if not holds]
    for claim in failed:
        print(f"NOT SO: {claim}", file=sys.stderr)
    return 1 if failed else 0


def _calm_claims(comparison: Comparison) -> dict[str, bool]:
    first = FIRST_AS_OF + timedelta(days=1)
    for name, run in (("unattended", comparison.unattended), ("never retrained", comparison.alone)):
        print(f"{name}: average precision {run.mean(first, date.max):.3f}")
    retrains = comparison.unattended.retrains[1:]
    outcomes = Counter(one.status for one in retrains) + Counter(one.matured for one in retrains if one.matured)
    print("; ".join(f"{outcome.replace('_', ' ')}: {count}" for outcome, count in outcomes.items()))
    early = [one for one in retrains if one.trigger != "schedule"]
    return {
        f"no trigger fires on calm days ({', '.join(f'{one.trigger} as of {one.as_of}' for one in early)})": not early,
        "mature labels refute no promotion": not any(one.matured == "refuted" and one.promoted for one in retrains),
    }


def _shift_claims(comparison: Comparison) -> dict[str, bool]:
    for name, value in comparison.means().items():
        print(f"average precision {name + ':':45}{value:6.3f}")
    for name, run in (("unattended", comparison.unattended), ("every trigger off", comparison.alone)):
        after = run.mean(SHIFT, SHIFT + timedelta(days=JUDGED_DAYS - 1))
        days = run.days_to_recover()
        back = "never back" if days is None else f"back after {days} days"
        print(f"{name}: {back} (mean of {STEADY_DAYS} days); {after:.3f} over the {JUDGED_DAYS} days from the shift on")
    before, _, after, alone = comparison.means().values()
    return {
        f"it is back within {TOLERANCE} of {before:.3f} ({after:.3f})": after >= before - TOLERANCE,
        f"without triggers it stays {FAR_BELOW} below ({alone:.3f})": alone < before - FAR_BELOW,
    }


def draw(comparison: Comparison, out: Path) -> None:
    """The picture: both sides day by day, what happened when, and which retrains there were."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for run, color, name in (
        (comparison.alone, ORANGE, "every trigger off: the first champion serves on"),
        (comparison.unattended, BLUE, "unattended: triggers and gates as shipped"),
    ):
        _draw_history(axes, run, color, name)
    _draw_days(axes, comparison)
    _draw_retrains(axes, comparison)
    axes.set(ylim=(BOTTOM, TOP), xlabel="days since the shift", ylabel="average precision of the day")
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.grid(axis="y", color="#E6E6E6")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    figure.savefig(out, format="png", metadata={"Software": None})


def _draw_history(axes: Any, run: RunHistory, color: str, name: str) -> None:
    days = sorted(run.average_precision)
    axes.plot(
        [_number(day) for day in days],
        [run.average_precision[day] for day in days],
        ".-",
        color=color,
        lw=1.8,
        label=name,
    )


def _draw_days(axes: Any, comparison: Comparison) -> None:
    marked = (
        (SHIFT, "fraudsters and\ncustomers change"),
        (comparison.matures, "first labels of it\nare mature"),
        (comparison.helps, "first shifted day in the\ntraining window"),
    )
    level, last = 0, None
    for day, words in sorted(marked):
        # Words of neighbouring days would overlap: each goes under the one before.
        level = level + 1 if last is not None and _number(day) - last < WORDS_WIDTH else 0
        last = _number(day)
        axes.axvline(last, ymax=(WORDS_TOP - BOTTOM) / (TOP - BOTTOM), color=GREY, lw=1, ls=":")
        at = (last, WORDS_TOP - level * WORDS_HEIGHT)
        axes.annotate(words, at, (4, 0), textcoords="offset points", va="top", fontsize=8, color=GREY)


def _draw_retrains(axes: Any, comparison: Comparison) -> None:
    """A row of marks under the lines; a hollow one came to a candidate that the gates stopped."""
    for trigger, (marker, color) in MARKS.items():
        days = [one for one in comparison.unattended.retrains[1:] if one.trigger == trigger]
        for promoted, face in ((True, color), (False, "none")):
            shown = [_number(one.as_of) for one in days if one.promoted is promoted]
            axes.plot(shown, [-0.07] * len(shown), marker, ms=7, color=color, markerfacecolor=face, ls="none")
        if days:
            axes.plot([], [], marker, ms=7, color=color, ls="none", label=f"retrain requested by {trigger}")
    axes.plot([], [], "o", ms=7, color=GREY, markerfacecolor="none", ls="none", label="hollow: stopped by its gates")


def _number(day: date) -> int:
    return (day - SHIFT).days


if __name__ == "__main__":
    sys.exit(main())
