"""Writing a simulated lake to where the settings say that the lake is.

Here: bytes and progress. Not here: what is simulated (`simulation/`).
"""

from datetime import date
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.orchestration.progress import Progress
from fraud_retraining.orchestration.resources import open_location_of
from fraud_retraining.settings import Settings
from fraud_retraining.simulation import SimulationPolicy, lake_path, write_lake


def write_simulated_lake(settings: Settings, policy: SimulationPolicy, progress: Progress) -> int:
    """Writes every day of the simulation, replacing days that are there; the number of transactions."""
    location = open_location_of(settings, settings.lake_uri)
    progress.start("simulate", policy.days)
    done = 0

    def put(day: date, table: pa.Table) -> None:
        nonlocal done
        buffer = BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        location.write_bytes(lake_path(day), buffer.getvalue())
        done += 1
        progress.advance("simulate", done)

    return write_lake(policy, put)
