"""The command `fraud-retraining`.

Here: arguments, tables, progress bars, JSON and exit codes. Not here: anything that decides; every command is a thin
way into the jobs and domain functions that Dagster runs. People read stdout, and progress on stderr; with `--json`
stdout is exactly one JSON object.
"""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from typer.core import TyperGroup

from fraud_retraining.adapters.storage.private_files import close_new_files
from fraud_retraining.domain.releases.lifecycle import MOST_VERSION
from fraud_retraining.domain.values.errors import RetrainingError, SettingsError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from fraud_retraining.commands.decisions import Decisions
    from fraud_retraining.commands.runs import Pipeline
    from fraud_retraining.domain.releases.lifecycle import Release
    from fraud_retraining.settings import Settings


class Commands(TyperGroup):
    """The commands; a usage error is told as JSON too where JSON was asked for."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the command that the arguments name."""
        given = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in given:
            return super().main(given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            _print_error("UsageError", error.format_message(), error.exit_code)
            code = error.exit_code
        sys.exit(code)


app = typer.Typer(
    name="fraud-retraining",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WIDTH_OF_A_FILE = 120
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_OF_A_FILE)
err = Console(stderr=True)

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; else FRAUD_RETRAINING_CONFIG, else ./retraining.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show Dagster's log on stderr.")]
DAY = ["%Y-%m-%d"]
SET_ASIDE_SHOWN = 10
INTERRUPTED = 130
"""What shells call a command that Ctrl-C ended; here SIGTERM too."""


LONG_TASK = 10
"""Units from which on a task is worth a line while it lasts."""


class RichProgress(AbstractContextManager["RichProgress"]):
    """Progress bars on stderr; plain lines where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=err, disable=not err.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._starting: TaskID | None = self._bars.add_task("starting", total=None)

    def __enter__(self) -> Self:
        try:
            self._bars.start()
        except BaseException:
            self._bars.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._starting is not None:
            self._bars.remove_task(self._starting)
        self._bars.stop()

    def start(self, task: str, total: int) -> None:
        """A bar of `total` units; a task that starts again begins anew."""
        if self._starting is not None:
            self._bars.remove_task(self._starting)
            self._starting = None
        self._totals[task] = total
        if task in self._tasks:
            self._bars.reset(self._tasks[task], total=total)
        else:
            self._tasks[task] = self._bars.add_task(task, total=total)

    def advance(self, task: str, done: int) -> None:
        """Moves the bar; without a terminal a line at the end, and in the middle of what is long."""
        self._bars.update(self._tasks[task], completed=done)
        total = self._totals[task]
        if not err.is_terminal and (done == total or (total >= LONG_TASK and done == (total + 1) // 2)):
            err.print(f"{task}: {done} of {total}", highlight=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"fraud-retraining {version('fraud-retraining')}", highlight=False)
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Keeps a fraud model fresh: windows, training, gates, releases and the record of it all."""


def _settings(config: Path | None) -> "Settings":
    from fraud_retraining.settings import CONFIG_VARIABLE, load_settings

    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    return load_settings(config)


def _pipeline(config: Path | None, progress: RichProgress, verbose: bool) -> "Pipeline":
    from fraud_retraining.commands.runs import Pipeline

    return Pipeline(_settings(config), progress, verbose=verbose)


class PlainLines(logging.Formatter):
    """Log lines for people: what is said, after who said it where that is not this program itself."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the traceback where there is one."""
        said = super().format(record)
        if record.name == "fraud_retraining.alerts":
            return f"alert: {said}"
        return said if record.name.startswith("fraud_retraining") else f"{record.name}: {said}"


def _quieten(verbose: bool) -> None:
    warnings.simplefilter("ignore")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "INFO" if verbose else "ERROR")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if verbose else logging.ERROR)
    if not verbose:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(PlainLines())
    for name in ("mlflow", "alembic", "dagster", "urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    logging.getLogger("fraud_retraining.lease").setLevel(logging.INFO)


def _print_json(answer: dict[str, Any]) -> None:
    def plain(value: Any) -> str:
        if isinstance(value, date | datetime):
            return value.isoformat()
        return str(value)

    sys.stdout.write(json.dumps(answer, default=plain, allow_nan=False) + "\n")
    sys.stdout.flush()


def _run(command: Callable[[], int], *, as_json: bool, verbose: bool = False) -> None:
    """Runs a command and leaves with its exit code; a known failure is told, anything else keeps its traceback."""
    _quieten(verbose)
    try:
        with _terminated_as_interrupted():
            code = command()
    except RetrainingError as error:
        code = _told(error, as_json)
    except Exception as error:
        from fraud_retraining.orchestration.instance import machine_failure

        known = machine_failure(error)
        if known is None:
            if as_json:
                _print_error(type(error).__name__, str(error), RetrainingError.exit_code)
            raise
        code = _told(known, as_json)
    except BaseException as error:
        from fraud_retraining.domain.alerts.failures import is_interrupt

        if not is_interrupt(error):
            raise
        code = _interrupted(as_json)
    raise typer.Exit(code)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, by which time limits end a command, does what Ctrl-C does, as in Dagster's own runs: what the terminal
    and the lease are in the middle of is put in order.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(as_json: bool) -> int:
    told = "interrupted; what was finished stands, and the champion stays"
    if as_json:
        _print_error("Interrupted", told, INTERRUPTED)
    else:
        err.print(told, highlight=False)
    return INTERRUPTED


def _told(error: RetrainingError, as_json: bool) -> int:
    if as_json:
        _print_json({"error": error.answer})
    else:
        tell(error)
    return error.exit_code


def _print_error(kind: str, message: str, exit_code: int) -> None:
    """A failure that is none of the family, in the shape of those that are."""
    _print_json({"error": {"kind": kind, "message": message, "culprits": [], "remedy": "", "exit_code": exit_code}})


def tell(error: RetrainingError) -> None:
    """A failure on stderr: what, which, and what to do."""
    err.print(f"[bold red]{type(error).__name__}[/]", highlight=False)
    err.print(str(error), highlight=False, markup=False, soft_wrap=True)


def _day(value: datetime | None) -> date | None:
    return value.date() if value else None


@app.command()
def simulate(
    start: Annotated[datetime, typer.Option(formats=DAY, help="First day of the lake.")],
    days: Annotated[int, typer.Option(help="How many days.")],
    transactions_per_day: Annotated[int, typer.Option(help="Mean transactions a day.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same lake.")] = 7,
    shift_on: Annotated[datetime | None, typer.Option(formats=DAY, help="Day on which fraudsters change.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Then add a day every so often, until interrupted.")] = False,
    seconds_per_day: Annotated[float, typer.Option(min=0.01, help="How often a day is added with --live.")] = 60,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a lake of simulated transactions, with fraudsters who adapt."""

    def command() -> int:
        from fraud_retraining.commands.lakes import grow_simulated_lake, write_simulated_lake
        from fraud_retraining.simulation import SimulationPolicy

        policy = _policy(
            SimulationPolicy,
            start=start.date(),
            days=days,
            transactions_per_day=transactions_per_day,
            seed=seed,
            shift_on=_day(shift_on),
        )
        settings = _settings(config)
        with RichProgress() as progress:
            rows = write_simulated_lake(settings, policy, progress)
        grown = 0
        if live:
            err.print(
                f"Every {seconds_per_day:g} s a day arrives in {settings.lake_uri}; Ctrl-C ends it.", highlight=False
            )
            grown = grow_simulated_lake(settings, policy, _pause(seconds_per_day), _arrived)
        answer = {
            "lake": settings.lake_uri,
            "start": policy.start,
            "end": policy.end,
            "days": days,
            "transactions": rows,
            "days_grown": grown,
        }
        if as_json:
            _print_json(answer)
        else:
            out.print(
                f"{rows:,} transactions of {policy.start} to {policy.end} in {settings.lake_uri}", highlight=False
            )
        return 0

    _run(command, as_json=as_json)


def _pause(seconds: float) -> Callable[[], bool]:
    """Waits; says that it was enough once somebody interrupts."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return lambda: not stop.wait(seconds)


def _arrived(day: date, rows: int) -> None:
    err.print(f"{day} has arrived: {rows:,} transactions", highlight=False)


def _policy(kind: Any, **values: Any) -> Any:
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()]
        raise SettingsError("The arguments cannot be obeyed.", culprits=problems) from None


@app.command()
def ingest(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last day.")],
    config: Config = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ingest, check, sum up and featurize the days of a range, in one run."""

    def command() -> int:
        from fraud_retraining.domain.values.days import DayRange

        days = _policy(DayRange, start=first.date(), end=last.date())
        with RichProgress() as progress:
            done = _pipeline(config, progress, verbose).ingest(days)
        if as_json:
            _print_json(done.__dict__)
        else:
            out.print(
                f"{done.rows:,} transactions on {done.days} days; {done.rejected:,} rows rejected.", highlight=False
            )
            if done.missing:
                out.print(f"{len(done.missing)} days of the range have not arrived: {_some(done.missing)}")
            if done.unread_files:
                err.print(f"{len(done.unread_files)} files were not read: {_some(done.unread_files)}", markup=False)
            for one in done.set_aside[:SET_ASIDE_SHOWN]:
                err.print(f"set aside: {one['path']} {one['why']}", markup=False, highlight=False)
            if len(done.set_aside) > SET_ASIDE_SHOWN:
                err.print(f"set aside: {len(done.set_aside) - SET_ASIDE_SHOWN} more")
        return 0

    _run(command, as_json=as_json, verbose=verbose)


def _some(named: Sequence[object]) -> str:
    shown = ", ".join(map(str, named[:5]))
    return f"{shown}, ..." if len(named) > 5 else shown


@app.command()
def retrain(
    as_of: Annotated[datetime | None, typer.Option(formats=DAY, help="Last day that counts; else the latest.")] = None,
    trigger: Annotated[
        str, typer.Option(help="schedule, new_data, drift, performance, manual or backfill.")
    ] = "manual",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    config: Config = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """One retrain; days that are missing or changed are ingested first."""

    def command() -> int:
        from fraud_retraining.commands import answers
        from fraud_retraining.commands.runs import trigger_named

        wanted = trigger_named(trigger)
        with RichProgress() as progress:
            done = _pipeline(config, progress, verbose).retrain(_day(as_of), wanted, reason)
        if as_json:
            _print_json(answers.retrain_answer(done))
        else:
            answers.print_retrain(done, out)
            if done.error is not None:
                tell(done.error)
        return done.error.exit_code if done.error is not None else 0

    _run(command, as_json=as_json, verbose=verbose)


@app.command()
def backfill(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First as-of day.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last as-of day.")],
    every: Annotated[int, typer.Option(min=1, help="Days between as-of days.")] = 1,
    config: Config = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Retrain as of each Nth day, in order; never promotes over a newer champion."""

    def command() -> int:
        from fraud_retraining.commands import answers
        from fraud_retraining.domain.values.days import DayRange

        days = _policy(DayRange, start=first.date(), end=last.date())
        with RichProgress() as progress:
            done = _pipeline(config, progress, verbose).backfill(days, every)
        if as_json:
            _print_json({"retrains": [answers.retrain_answer(one) for one in done]})
        else:
            answers.print_backfill(done, out)
        return next((one.error.exit_code for one in done if one.error is not None), 0)

    _run(command, as_json=as_json, verbose=verbose)


@app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="Leave with 1 when something needs a person.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Champion, candidate, window, last runs, what is due next and why, and what needs a person."""

    def command() -> int:
        from fraud_retraining.commands import answers
        from fraud_retraining.commands.state import read_state

        state = read_state(_settings(config))
        if as_json:
            _print_json(state.model_dump(mode="json"))
        else:
            answers.print_state(state, out)
        return 1 if check and state.problems else 0

    _run(command, as_json=as_json)


Version = Annotated[int, typer.Argument(min=1, max=MOST_VERSION, help="Version of the registered model.")]
By = Annotated[str | None, typer.Option(help="Who decides; not needed where your token or account says so.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence that an auditor can read.")]


@app.command()
def approve(version: Version, by: By = None, reason: Reason = "", config: Config = None, as_json: Json = False) -> None:
    """Approve a waiting version: it becomes champion."""
    _decide(lambda decisions: decisions.approve(version, reason), by, config, as_json)


@app.command()
def reject(version: Version, reason: Reason, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Reject a waiting version: the champion stays."""
    _decide(lambda decisions: decisions.reject(version, reason), by, config, as_json)


@app.command()
def rollback(
    to: Annotated[int, typer.Option(min=1, max=MOST_VERSION, help="Version that was champion before.")],
    reason: Reason,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a version that was champion before champion again; automatic promotion pauses until `resume`."""
    _decide(lambda decisions: decisions.rollback(to, reason), by, config, as_json)


def _decide(decide: "Callable[[Decisions], Release]", by: str | None, config: Path | None, as_json: bool) -> None:
    def command() -> int:
        from fraud_retraining.commands import answers

        release = decide(_decisions(by, config))
        if as_json:
            _print_json(release.model_dump(mode="json"))
        else:
            answers.print_decision(release, out)
        return 0

    _run(command, as_json=as_json)


def _decisions(by: str | None, config: Path | None) -> "Decisions":
    from fraud_retraining.commands.decisions import Decisions

    return Decisions(_settings(config), by, _ask_token if sys.stdin.isatty() else None)


def _ask_token(name: str) -> str:
    """The token of a reviewer, typed unseen; arguments would stand in the list of processes."""
    return str(typer.prompt(f"Token of {name}", hide_input=True, err=True))


@app.command()
def pending(config: Config = None, as_json: Json = False) -> None:
    """What waits for a reviewer: its numbers beside the champion's, and until when."""

    def command() -> int:
        from fraud_retraining.commands import answers

        waiting = _decisions(None, config).pending()
        if as_json:
            _print_json({"pending": [one.model_dump(mode="json") for one in waiting]})
        else:
            answers.print_pending(waiting, out)
        return 0

    _run(command, as_json=as_json)


@app.command("retire-champion")
def retire_champion(reason: Reason, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Take a champion that MLflow has lost out of service; the next candidate starts over and waits for a human."""

    def command() -> int:
        release = _decisions(by, config).retire_champion(reason)
        if as_json:
            _print_json(release.model_dump(mode="json"))
        else:
            out.print(f"Version {release.version} is retired; nobody serves. The next candidate waits for a human.")
        return 0

    _run(command, as_json=as_json)


@app.command()
def resume(
    reason: Reason,
    promotion: Annotated[bool, typer.Option("--promotion", help="Only automatic promotion.")] = False,
    retraining: Annotated[bool, typer.Option("--retraining", help="Only automatic retraining.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let what was paused go on: automatic promotion after a rollback, retraining after repeated failures."""

    def command() -> int:
        from fraud_retraining.commands import answers
        from fraud_retraining.domain.retraining.pauses import Automation

        named = {Automation.PROMOTION: promotion, Automation.RETRAINING: retraining}
        subjects = [subject for subject, wanted in named.items() if wanted]
        ended = _decisions(by, config).resume(subjects, reason)
        if as_json:
            _print_json({"resumed": [pause.model_dump(mode="json") for pause in ended]})
        else:
            answers.print_resumed(ended, out)
        return 0

    _run(command, as_json=as_json)


@app.command()
def link(
    version: Version,
    reviewer: Annotated[str, typer.Option("--for", help="Reviewer, by the name in promotion.reviewers.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print a signed link by which a reviewer decides about a waiting version, once; give it to nobody else."""

    def command() -> int:
        from fraud_retraining.commands.links import make_link

        made = make_link(_settings(config), version, reviewer)
        if as_json:
            _print_json(made.model_dump(mode="json"))
        else:
            sys.stdout.write(f"{made.url}\n")
            err.print(f"For {made.reviewer} alone, good once, until {made.expires_at:%Y-%m-%d %H:%M} UTC.")
        return 0

    _run(command, as_json=as_json)


audit_app = typer.Typer(help="The ledger: the append-only record of every decision.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")


@audit_app.command("list")
def audit_list(
    version: Annotated[int | None, typer.Option(min=1, max=MOST_VERSION, help="Only events of this version.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many, counted from the newest.")] = 50,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The newest events."""

    def command() -> int:
        from fraud_retraining.commands import audit_answers
        from fraud_retraining.orchestration.resources import open_ledger

        events = list(open_ledger(_settings(config)).events(version=version))[-last:]
        if as_json:
            _print_json({"events": [event.model_dump(mode="json") for event in events]})
        else:
            audit_answers.print_events(events, out)
        return 0

    _run(command, as_json=as_json)


@audit_app.command("show")
def audit_show(version: Version, config: Config = None, as_json: Json = False) -> None:
    """Why a version is live, or is not, on one screen."""

    def command() -> int:
        from fraud_retraining.commands import audit, audit_answers

        shown = audit.show(_settings(config), version)
        if shown.problem is not None:
            tell(shown.problem)
        if as_json:
            _print_json({**shown.history.model_dump(mode="json"), "data_digest": shown.history.data_digest})
        else:
            audit_answers.print_history(shown.history, shown.review_report, out)
        return 0

    _run(command, as_json=as_json)


@audit_app.command("verify")
def audit_verify(
    head: Annotated[str | None, typer.Option(help="A head that was exported: SEQ:HASH, or a head.json.")] = None,
    archive: Annotated[Path | None, typer.Option(help="Folder of the archives, to verify from row 1 on.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Recompute the hash chain and replay every move; names the first bad row, missing guards, and lost heads."""

    def command() -> int:
        from fraud_retraining.commands import audit, audit_answers
        from fraud_retraining.domain.values.errors import RecordAltered

        found = audit.verify(_settings(config), head, archive)
        if as_json:
            beside = {"beside_mlflow": found.beside, "mlflow_not_asked": found.unknown}
            _print_json({**found.ledger.model_dump(mode="json"), **beside, "ok": found.ok})
        elif found.ledger.ok:
            audit_answers.print_verification(found.ledger, out)
        else:
            tell(audit_answers.changed(found.ledger))
        if found.beside and not as_json:
            tell(audit_answers.beside(found.beside))
        if found.unknown and not as_json:
            err.print(f"Not compared with MLflow: {found.unknown}", highlight=False, markup=False)
        return 0 if found.ok else RecordAltered.exit_code

    _run(command, as_json=as_json)


@audit_app.command("restore")
def audit_restore(reason: Reason, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Write the table of releases anew from the chain, where somebody changed it and the chain is whole."""

    def command() -> int:
        from fraud_retraining.commands import audit_answers

        restored = _decisions(by, config).restore_releases(reason)
        if as_json:
            _print_json({"restored": restored})
        else:
            audit_answers.print_restored(restored, out)
        return 0

    _run(command, as_json=as_json)


@audit_app.command("export")
def audit_export(
    folder: Annotated[Path, typer.Option("--out", help="Folder that gets the files.")],
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First day of a period.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day of it.")] = None,
    version: Annotated[
        int | None, typer.Option(min=1, max=MOST_VERSION, help="The whole story of a version instead.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Events as Parquet and CSV, a report to read and print, and the chain's head to keep."""

    def command() -> int:
        from fraud_retraining.commands import audit, audit_answers

        done = audit.export(_settings(config), folder, version=version, first=_day(first), last=_day(last))
        if done.problem is not None:
            tell(done.problem)
        if as_json:
            _print_json(done.export.model_dump(mode="json"))
        else:
            audit_answers.print_export(done.export, out)
        return 0

    _run(command, as_json=as_json)


@audit_app.command("archive")
def audit_archive(
    folder: Annotated[Path, typer.Option("--out", help="Folder that keeps the archives.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Move events out that are older than ledger.retention_days; the chain goes on."""

    def command() -> int:
        from fraud_retraining.commands import audit, audit_answers

        told = audit.archive(_settings(config), folder)
        if as_json:
            _print_json({"archived": told.model_dump(mode="json") if told else None})
        else:
            audit_answers.print_archived(told, folder, out)
        return 0

    _run(command, as_json=as_json)


@audit_app.command("grant")
def audit_grant(
    role: Annotated[str, typer.Option(help="Role that the application connects as.")],
    execute: Annotated[bool, typer.Option("--execute", help="Carry them out, as the owner of the tables.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The grants of a PostgreSQL role that may add to the record and change nothing in it."""

    def command() -> int:
        from fraud_retraining.commands import audit

        statements = audit.grants(_settings(config), role, execute=execute)
        if as_json:
            _print_json({"role": role, "executed": execute, "statements": statements})
        else:
            out.print(
                "\n".join(f"{statement};" for statement in statements), highlight=False, markup=False, soft_wrap=True
            )
        return 0

    _run(command, as_json=as_json)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Remove runs and artifacts beyond those that retention and audit keep, and say which."""

    def command() -> int:
        from fraud_retraining.commands import cleaning

        found = cleaning.clean_up(_settings(config), dry_run=dry_run)
        if as_json:
            _print_json(cleaning.answer(found, dry_run=dry_run))
        else:
            cleaning.print_removals(found, out, dry_run=dry_run)
        return 0

    _run(command, as_json=as_json)


@app.command()
def demo(
    transactions_per_day: Annotated[int, typer.Option(help="Mean transactions a day.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Another seed, another story.")] = 7,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a lake, and live through a month of retrains."""

    def command() -> int:
        from fraud_retraining.commands import demonstration

        with RichProgress() as progress:
            history = demonstration.live_through(progress, transactions_per_day, seed, err, verbose=verbose)
        if as_json:
            _print_json(history.answer())
        else:
            history.print(out)
        return 0

    _run(command, as_json=as_json, verbose=verbose)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    config: Config = None,
) -> None:
    """Serve the page of releases and Slack's clicks."""

    def command() -> int:
        from fraud_retraining.commands import serving

        settings = _settings(config)
        told = f"http://{host}:{port}/releases; {serving.ways(settings)}"
        err.print(told, highlight=False, markup=False, soft_wrap=True)
        serving.serve(settings, host, port)
        return 0

    _run(command, as_json=False)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI; the next free one if it is taken.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI; the next free one if it is taken.")] = 5000,
    seconds_per_day: Annotated[float, typer.Option(min=5, help="How often a day arrives in the growing lake.")] = 60,
    config: Config = None,
) -> None:
    """Start Dagster's webserver and daemon and MLflow: on your lake if the settings name one, else on a growing one."""

    def command() -> int:
        from fraud_retraining.commands import development

        if config is not None:
            os.environ["FRAUD_RETRAINING_CONFIG"] = str(config)
        settings = development.own_lake()
        live = None if settings else seconds_per_day
        settings = settings or development.live_settings(development.demo_home())
        with RichProgress() as progress:
            return development.run(settings, progress, err, port=port, mlflow_port=mlflow_port, live=live)

    _run(command, as_json=False)


def main() -> None:
    """The entry point; usage errors leave with 2, as settings errors do."""
    close_new_files()
    app()


if __name__ == "__main__":
    main()
