"""A simulated lake, written to the lake of the settings.

Here: files, progress and pace. Not here: what is simulated (`simulation/`).
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import Location
from fraud_retraining.commands.support.options import SimulatedLabels
from fraud_retraining.orchestration.resources import open_lake, open_location_of
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.settings import Settings
from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path, write_lake
from fraud_retraining.simulation.decisions import Blocking, BlockingPolicy
from fraud_retraining.simulation.reports import Feed, ReportPolicy, Reports, days_before

FEED_FOLDER = "labels"


def label_feed_uri(settings: Settings) -> str:
    """Where a simulated label feed is written: labels.uri of the settings, or `labels` under the home."""
    return settings.labels.uri or str(settings.home / FEED_FOLDER)


class LakeWriter:
    """Writes simulated days, each with the labels that the lake or a feed beside it then has.

    Without label times the column TX_FRAUD is right from the start. With the column LABELLED_AT labels are as reported,
    with the time of the report. With a feed the lake has no label, and each day of the feed what became known on it.
    With `blocking` production blocked some of the transactions, and nothing becomes known of these but by a review.
    """

    def __init__(
        self,
        settings: Settings,
        policy: SimulationPolicy,
        labels: SimulatedLabels = SimulatedLabels.NONE,
        reports: ReportPolicy | None = None,
        blocking: BlockingPolicy | None = None,
    ) -> None:
        self._labels, self._policy = labels, policy
        self._blocking = Blocking(blocking, seed=policy.seed) if blocking is not None else None
        self._lake = open_location_of(settings, settings.lake_uri)
        self._feed = open_location_of(settings, label_feed_uri(settings)) if labels is SimulatedLabels.FEED else None
        delay = settings.labels.delay_days
        self._reports = Reports(reports or ReportPolicy(), seed=policy.seed, start=policy.start, label_delay_days=delay)
        self._pending = Feed(self._reports)

    def go_on_at(self, day: date, simulator: Simulator) -> None:
        """Prepares a feed that goes on at `day`: earlier days still have reports to come."""
        if self._feed is not None:
            for earlier in days_before(self._policy.start, day, self._reports.longest):
                self._reported(earlier, simulator.table(earlier))

    def put(self, day: date, table: pa.Table) -> None:
        """Write a day, and the labels that became known on it; days come one after the other."""
        decisions = self._blocking.of(day, table) if self._blocking is not None else None
        if self._labels is SimulatedLabels.COLUMN:
            table = self._reports.labelled(day, table)
        if self._feed is not None:
            # Labels first: a day of transactions that is there has its labels there too.
            _put(self._feed, lake_path(day).replace("transactions", "labels"), self._reported(day, table))
            table = table.drop_columns(["TX_FRAUD"])
        if self._blocking is not None and decisions is not None:
            table = self._blocking.decided(decisions, table)
        _put(self._lake, lake_path(day), table)

    def _reported(self, day: date, table: pa.Table) -> pa.Table:
        """What became known on a day; of blocked transactions only what reviews say."""
        if self._blocking is None:
            return self._pending.after(day, table)
        decisions = self._blocking.of(day, table)
        blocked = table["TRANSACTION_ID"].filter(pa.array(decisions.blocked)).combine_chunks()
        return self._pending.after(day, table, blocked, self._blocking.reviews(decisions, table))


def write_simulated_lake(
    settings: Settings,
    policy: SimulationPolicy,
    progress: Progress,
    *,
    since: date | None = None,
    labels: SimulatedLabels = SimulatedLabels.NONE,
    blocking: BlockingPolicy | None = None,
) -> int:
    """Write the days of the simulation, or those from `since`, over those there; return the number of transactions."""
    writer = LakeWriter(settings, policy, labels, blocking=blocking)
    if since is not None:
        writer.go_on_at(since, Simulator(policy))
    days = (policy.end - (since or policy.start)).days + 1
    progress.start("simulate", max(days, 0))
    done = 0

    def put(day: date, table: pa.Table) -> None:
        nonlocal done
        writer.put(day, table)
        done += 1
        progress.advance("simulate", done)

    return write_lake(policy, put, since=since)


def grow_simulated_lake(
    settings: Settings,
    policy: SimulationPolicy,
    pause: Callable[[], bool],
    arrived: Callable[[date, int], None],
    labels: SimulatedLabels = SimulatedLabels.NONE,
    blocking: BlockingPolicy | None = None,
) -> int:
    """Add a day after each pause, from the day after the last one there to yesterday; return the number of days.

    `pause` waits and returns whether to go on; `arrived` is called with each day and its number of transactions. Once
    the lake has caught up with the calendar, a day follows when it is over.
    """
    simulator, writer = Simulator(policy), LakeWriter(settings, policy, labels, blocking=blocking)
    day = max(open_lake(settings).days(), default=policy.end) + timedelta(days=1)
    writer.go_on_at(day, simulator)
    grown = 0
    while pause():
        if day >= datetime.now(UTC).date():
            continue
        table = simulator.table(day)
        writer.put(day, table)
        arrived(day, table.num_rows)
        day, grown = day + timedelta(days=1), grown + 1
    return grown


def _put(location: Location, path: str, table: pa.Table) -> None:
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    location.write_bytes(path, buffer.getvalue())
