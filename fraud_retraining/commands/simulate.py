"""`fraud-retraining simulate`: a lake of simulated transactions."""

import signal
import threading
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import DAY, Config, Json, SimulatedLabels, checked_value, day_of
from fraud_retraining.commands.support.output import err, out, print_json
from fraud_retraining.commands.support.progress import RichProgress

if TYPE_CHECKING:
    from fraud_retraining.settings import Settings
    from fraud_retraining.simulation import SimulationPolicy
    from fraud_retraining.simulation.decisions import BlockingPolicy


# Fourteen parameters: typer makes one option of each, and reads its type and help from the signature.
def simulate(
    start: Annotated[datetime, typer.Option(formats=DAY, help="First day of the lake.")],
    days: Annotated[int, typer.Option(help="How many days.")],
    transactions_per_day: Annotated[int, typer.Option(help="Mean transactions a day.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same lake.")] = 7,
    shift_on: Annotated[datetime | None, typer.Option(formats=DAY, help="Day on which fraudsters change.")] = None,
    shift_days: Annotated[int, typer.Option(help="Days over which they change, one after the other.")] = 3,
    labels: Annotated[
        SimulatedLabels,
        typer.Option(
            help="How frauds become known. none: by the lake's column TX_FRAUD, without times; column: reported late, "
            "with LABELLED_AT; feed: reported late, in a label feed by the day known."
        ),
    ] = SimulatedLabels.NONE,
    block_at: Annotated[
        float | None,
        typer.Option(help="Share of each day that production blocks, in column DECISION; nothing is known of it then."),
    ] = None,
    control_share: Annotated[
        float,
        typer.Option(help="Share of customers whose transactions are let through all the same, in column PROPENSITY."),
    ] = 0.0,
    review_share: Annotated[
        float,
        typer.Option(help="Share of what is blocked that an analyst reviews; its label is known a day later."),
    ] = 0.0,
    live: Annotated[bool, typer.Option("--live", help="Then add a day every so often, until interrupted.")] = False,
    seconds_per_day: Annotated[float, typer.Option(min=0.01, help="How often a day is added with --live.")] = 60,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a lake of simulated transactions, with fraudsters who adapt."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.commands.implementation.simulated_lake import (
            label_feed_uri,
            write_simulated_lake,
        )
        from fraud_retraining.simulation import SimulationPolicy
        from fraud_retraining.simulation.decisions import BlockingPolicy

        blocking = None
        if block_at is not None:
            blocking = checked_value(
                BlockingPolicy, block_share=block_at, control_share=control_share, review_share=review_share
            )
        elif control_share or review_share:
            named = "--control-share" if control_share else "--review-share"
            raise typer.BadParameter(f"{named} is of what is blocked: give --block-at too")
        policy = checked_value(
            SimulationPolicy,
            start=start.date(),
            days=days,
            transactions_per_day=transactions_per_day,
            seed=seed,
            shift_on=day_of(shift_on),
            shift_days=shift_days,
        )
        settings = read_settings(config)
        with RichProgress() as progress:
            rows = write_simulated_lake(settings, policy, progress, labels=labels, blocking=blocking)
        feed = label_feed_uri(settings) if labels is SimulatedLabels.FEED else None
        grown = _grow(settings, policy, seconds_per_day, labels, blocking) if live else 0
        if as_json:
            print_json(
                {
                    "lake": settings.lake_uri,
                    "label_feed": feed,
                    "start": policy.start,
                    "end": policy.end,
                    "days": days,
                    "transactions": rows,
                    "days_grown": grown,
                }
            )
        else:
            out.print(
                f"{rows:,} transactions of {policy.start} to {policy.end} in {settings.lake_uri}", highlight=False
            )
            if feed is not None and settings.labels.uri is None:
                out.print(f"Label feed in {feed}; use it with labels: {{uri: {feed}}}", highlight=False)
            if blocking is not None and settings.columns.decision is None:
                more = ", propensity: PROPENSITY" if blocking.control_share else ""
                out.print(f"Read what was blocked with columns: {{decision: DECISION{more}}}", highlight=False)


def _grow(
    settings: "Settings",
    policy: "SimulationPolicy",
    seconds: float,
    labels: SimulatedLabels,
    blocking: "BlockingPolicy | None",
) -> int:
    """Add a day every so many seconds until interrupted; return the number of days."""
    from fraud_retraining.commands.implementation.simulated_lake import grow_simulated_lake

    err.print(f"Every {seconds:g} s a day arrives in {settings.lake_uri}; Ctrl-C ends it.", highlight=False)
    return grow_simulated_lake(settings, policy, _pause(seconds), _print_arrival, labels, blocking)


def _pause(seconds: float) -> Callable[[], bool]:
    """A function that waits, and returns whether to go on: no longer once Ctrl-C or SIGTERM arrives."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return lambda: not stop.wait(seconds)


def _print_arrival(day: date, rows: int) -> None:
    err.print(f"{day} has arrived: {rows:,} transactions", highlight=False)
