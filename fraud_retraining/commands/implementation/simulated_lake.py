"""Writing a simulated lake to where the settings say that the lake is.

Here: bytes, progress and pace. Not here: what is simulated (`simulation/`).
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
    """Writes the days of the simulation, or those from `since`, replacing what is there; the number of transactions."""
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
    settings: Settings, policy: SimulationPolicy, pause: Callable[[], bool], told: Callable[[date, int], None]
) -> int:
    """Writes one more day after each pause, from the day after the last one there to yesterday; the number of days.

    `pause` waits and says whether to go on; `told` hears of each day with its number of transactions. Once the lake has
    caught up with the calendar, a day follows when it is over.
    """
    simulator, location = Simulator(policy), open_location_of(settings, settings.lake_uri)
    day = max(open_lake(settings).days(), default=policy.end) + timedelta(days=1)
    grown = 0
    while pause():
        if day >= datetime.now(UTC).date():
            continue
        table = simulator.table(day)
        _put(location, day, table)
        told(day, table.num_rows)
        day, grown = day + timedelta(days=1), grown + 1
    return grown


def _put(location: Location, day: date, table: pa.Table) -> None:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    location.write_bytes(lake_path(day), buffer.getvalue())
