"""A simulated lake, written to the lake of the settings.

Here: files, progress and pace. Not here: what is simulated (`simulation/`).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import Location
from fraud_retraining.orchestration.resources import open_lake, open_location_of
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.settings import Settings
from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path, write_lake


def write_simulated_lake(
    settings: Settings, policy: SimulationPolicy, progress: Progress, *, since: date | None = None
) -> int:
    """Write the days of the simulation, or those from `since`, over those there; return the number of transactions."""
    location = open_location_of(settings, settings.lake_uri)
    days = (policy.end - (since or policy.start)).days + 1
    progress.start("simulate", max(days, 0))
    done = 0

    def put(day: date, table: pa.Table) -> None:
        nonlocal done
        _put(location, day, table)
        done += 1
        progress.advance("simulate", done)

    return write_lake(policy, put, since=since)


def grow_simulated_lake(
    settings: Settings, policy: SimulationPolicy, pause: Callable[[], bool], arrived: Callable[[date, int], None]
) -> int:
    """Add a day after each pause, from the day after the last one there to yesterday; return the number of days.

    `pause` waits and returns whether to go on; `arrived` is called with each day and its number of transactions. Once
    the lake has caught up with the calendar, a day follows when it is over.
    """
    simulator, location = Simulator(policy), open_location_of(settings, settings.lake_uri)
    day = max(open_lake(settings).days(), default=policy.end) + timedelta(days=1)
    grown = 0
    while pause():
        if day >= datetime.now(UTC).date():
            continue
        table = simulator.table(day)
        _put(location, day, table)
        arrived(day, table.num_rows)
        day, grown = day + timedelta(days=1), grown + 1
    return grown


def _put(location: Location, day: date, table: pa.Table) -> None:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    location.write_bytes(lake_path(day), buffer.getvalue())
