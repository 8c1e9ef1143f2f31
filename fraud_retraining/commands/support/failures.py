"""Failures of a command: message on stderr, or JSON object on stdout, and the exit code.

0 done; 1 unexpected; 2 usage or settings; 3 data; 4 a gate; 5 conflict; 6 budget; 7 a dependency; 130 interrupted. Each
error of `domain/values/errors.py` has its code as `exit_code`.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from fraud_retraining.commands.support.logs import set_up_logging
from fraud_retraining.commands.support.output import err, print_json
from fraud_retraining.domain.values.errors import RetrainingError

INTERRUPTED = 130
"""The code that shells give a command that Ctrl-C ended; SIGTERM too here."""


@contextmanager
def reported_failures(*, as_json: bool, verbose: bool = False) -> Iterator[None]:
    """Run the body of a command with logging set up; report a failure, and leave with its exit code.

    A known failure is reported by message; any other keeps its traceback, and exits with 1.
    """
    set_up_logging(verbose)
    try:
        with _terminated_as_interrupted(), _storage_closed():
            yield
    except typer.Exit:
        raise
    except RetrainingError as error:
        code = _report(error, as_json)
    except Exception as error:
        from fraud_retraining.orchestration.instance import machine_failure

        known = machine_failure(error)
        if known is None:
            if as_json:
                print_json_failure(type(error).__name__, str(error), RetrainingError.exit_code)
            raise
        code = _report(known, as_json)
    except BaseException as error:
        from fraud_retraining.domain.alerts.classification import is_interrupt

        if not is_interrupt(error):
            raise
        code = _report_interrupt(as_json)
    else:
        return
    # Outside of the handlers: the failure that was reported is no context of the exit.
    raise typer.Exit(code)


@contextmanager
def _storage_closed() -> Iterator[None]:
    """Leave Dagster's files as they are when nobody works with them, for who copies or compares a home afterwards."""
    try:
        yield
    finally:
        # Most commands never open it, and its import takes a second.
        if (storage := sys.modules.get("fraud_retraining.orchestration.sqlite_storage")) is not None:
            storage.close_connections()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM, by which time limits end a command, do what Ctrl-C does, as in Dagster's own runs: the terminal's
    cursor and the lease are put in order.
    """
    # Python sets signal handlers in the main thread alone; tests call commands in others.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report_interrupt(as_json: bool) -> int:
    message = "interrupted; what was finished stands, and the champion stays"
    if as_json:
        print_json_failure("Interrupted", message, INTERRUPTED)
    else:
        err.print(message, highlight=False)
    return INTERRUPTED


def _report(error: RetrainingError, as_json: bool) -> int:
    if as_json:
        print_json({"error": error.answer})
    else:
        print_failure(error)
    return error.exit_code


def print_failure(error: RetrainingError) -> None:
    """A failure on stderr: its kind, the message with culprits, and the remedy."""
    err.print(f"[bold red]{type(error).__name__}[/]", highlight=False)
    err.print(_visible(str(error)), highlight=False, markup=False, soft_wrap=True)


def _visible(text: str) -> str:
    r"""A text without control characters: a message may quote what somebody wrote into a database.

    >>> _visible("ok\x1b[2J\nnext")
    'ok·[2J\nnext'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{MIDDLE DOT}" for letter in text)


def print_json_failure(kind: str, message: str, exit_code: int) -> None:
    """A failure that is no `RetrainingError`, in the JSON shape of those that are."""
    print_json({"error": {"kind": kind, "message": message, "culprits": [], "remedy": "", "exit_code": exit_code}})


class JsonUsageErrors(TyperGroup):
    """A group of commands whose usage errors are JSON where `--json` was given."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that the arguments name. The parameters are those of typer's own method."""
        given = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or "--json" not in given:
            return super().main(given, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            print_json_failure("UsageError", error.format_message(), error.exit_code)
            code = error.exit_code
        sys.exit(code)
