"""`fraud-retraining ingest`: the day assets of a range of days."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import DAY, Config, Json, Verbose, checked_value, day_of
from fraud_retraining.commands.support.output import err, first_names, out, print_json
from fraud_retraining.commands.support.progress import RichProgress
from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    from fraud_retraining.commands.implementation.pipeline import Ingested, IngestedLabels

SET_ASIDE_SHOWN = 10


def ingest(
    first: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="First day.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Last day.")] = None,
    latest: Annotated[
        int | None,
        typer.Option(min=1, max=400, help="Instead of a range: so many days, up to the last that has arrived."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ingest, check, sum up and featurize the days of a range, in one run."""
    with reported_failures(as_json=as_json, verbose=verbose):
        from fraud_retraining.domain.values.days import DayRange

        named = first is not None and last is not None and latest is None
        if not named and (latest is None or first is not None or last is not None):
            raise SettingsError(
                "Which days?", remedy="name a range by --from and --to, or --latest and a number of days."
            )
        days = checked_value(DayRange, start=day_of(first), end=day_of(last)) if named else None
        with RichProgress() as progress:
            from fraud_retraining.commands.implementation.pipeline import Pipeline

            pipeline = Pipeline(read_settings(config), progress, verbose=verbose)
            done = pipeline.ingest(days or pipeline.latest_days(latest or 1))
        if as_json:
            print_json(asdict(done))
        else:
            _print(done)


def _print(done: "Ingested") -> None:
    out.print(f"{done.rows:,} transactions on {done.days} days; {done.rejected:,} rows rejected.", highlight=False)
    if done.labels is not None:
        out.print(_labels_words(done.labels), highlight=False, soft_wrap=True)
    if done.blocked is not None:
        out.print(f"{done.blocked}.", highlight=False, soft_wrap=True)
    if done.missing:
        out.print(f"{len(done.missing)} days of the range have not arrived: {first_names(done.missing)}")
    if done.unread_files:
        err.print(f"{len(done.unread_files)} files were not read: {first_names(done.unread_files)}", markup=False)
    for name, days in done.lacking.items():
        err.print(f"{days} days lack {name}, which single models ask for: see status", markup=False, highlight=False)
    for one in done.set_aside[:SET_ASIDE_SHOWN]:
        err.print(f"set aside: {one['path']} {one['why']}", markup=False, highlight=False)
    if len(done.set_aside) > SET_ASIDE_SHOWN:
        err.print(f"set aside: {len(done.set_aside) - SET_ASIDE_SHOWN} more")


def _labels_words(labels: "IngestedLabels") -> str:
    from fraud_retraining.domain.labels.feed_health import reasons

    aside = labels.kept_aside
    kept = f"{sum(aside.values()):,} kept aside: {reasons(aside)}" if aside else "none kept aside"
    return f"{labels.known:,} labels became known; {kept}."
