"""The states of several models that `status` reports, and of the days that they share.

Here: the state of each, how the rows of the latest day are divided among them, and problems of shared days. Not here:
the state of one model (`current_state.py`).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from fraud_retraining.commands.implementation.current_state import State, former_models, read_state
from fraud_retraining.domain.data.segments import SHARED, Where, summary, taken, untold
from fraud_retraining.domain.features.column_lineage import TRANSACTIONS
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import DataInvalid, RetrainingError
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_store
from fraud_retraining.orchestration.runs.failed_runs import unreported_failures
from fraud_retraining.orchestration.runs.health import automation_health
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.settings import Settings

LOOK_BACK = 30
"""Days before the last of the lake among which the last ingested one is looked for."""
BATCH_ROWS = 131_072


class Division(Value):
    """The rows of a day by who takes them."""

    day: date
    rows: int
    by_model: dict[str, int] = Field(description="Rows that each model takes.")
    of_none: int = Field(description="Rows that no model takes: nobody scores them.")
    of_several: int = Field(description="Rows that more than one model takes.")
    uncounted: dict[str, str] = Field({}, description="Models whose rows cannot be told, and why.")

    def sentence(self) -> str:
        """Who takes how many rows."""
        each = ", ".join(f"{name} {rows:,}" for name, rows in self.by_model.items())
        return f"{self.day}: {self.rows:,} rows: {each}; {self.of_none:,} of no model, {self.of_several:,} of several"

    def problems(self) -> Iterator[str]:
        """Rows that nobody scores, and models that take none: often a value that is written otherwise."""
        # While the rows of one model cannot be told, those of none cannot either.
        if self.of_none and not self.uncounted:
            yield f"{self.of_none:,} of {self.rows:,} rows of {self.day} belong to no model"
        for name, why in self.uncounted.items():
            yield f"{name}: its rows of {self.day} cannot be told: {why}"
        for name, taken_rows in self.by_model.items():
            if not taken_rows and self.rows:
                yield f"{name}: its where takes none of the {self.rows:,} rows of {self.day}"


class ModelsState(Value):
    """The state of every model, and of what they share."""

    models: dict[str, State]
    unreadable: dict[str, str] = Field({}, description="Models whose state cannot be read, and why.")
    segments: dict[str, str] = Field(description="The transactions that each model is for.")
    division: Division | None = Field(description="The last ingested day; null while none is.")
    former_models: tuple[str, ...] = Field(
        (), description="What the record has in force of models that the settings do not name."
    )
    problems: tuple[str, ...] = Field((), description="Problems of shared days, and of each model by its name.")

    def summary(self) -> Iterator[tuple[str, str]]:
        """Name and sentence of what the models share."""
        for name, words in self.segments.items():
            yield "model", f"{name}: {words}"
        if self.division is not None:
            yield "rows", self.division.sentence()
        for former in self.former_models:
            if former not in self.problems:
                yield "other models", former
        for problem in self.problems:
            yield "problem", problem


def read_models_state(settings: Settings) -> ModelsState:
    """Read the state of every model; what cannot be read of one hides no other."""
    states, unreadable = {}, {}
    for one in settings.each_model():
        try:
            states[one.segment] = read_state(one)
        except RetrainingError as error:
            unreadable[one.segment] = str(error)
    division = _division(settings)
    shared = [] if division is None else [*division.problems()]
    now, instance = datetime.now(UTC), open_instance()
    shared += automation_health(instance, now, SHARED).problems
    for run, _ in unreported_failures(instance, open_outcomes(settings), now - timedelta(days=1)):
        shared.append(f"run {run.run_id[:8]} of {run.job_name} failed, and that is not in the ledger yet")
    former = tuple(former_models(open_ledger(settings), settings))
    shared += [one.sentence for one in former if one.waits]
    # What stands in the way of all, such as a daemon that stopped, is said once.
    common = [one for one in next((state.problems for state in states.values()), ()) if _of_all(one, states)]
    shared = [*dict.fromkeys([*shared, *common])]
    own = [f"{name}: {one}" for name, state in states.items() for one in state.problems if one not in shared]
    lost = [f"{name}: {why}" for name, why in unreadable.items()]
    return ModelsState(
        models=states,
        unreadable=unreadable,
        segments={one.segment: summary(one.model.where) for one in settings.each_model()},
        division=division,
        former_models=tuple(one.sentence for one in former),
        problems=(*shared, *lost, *own),
    )


def _of_all(problem: str, states: Mapping[str, State]) -> bool:
    return all(problem in state.problems for state in states.values())


def _division(settings: Settings) -> Division | None:
    """How the models divide the last ingested day; None while none is."""
    try:
        latest = max(open_lake(settings).days(), default=None)
    except DataInvalid:
        return None
    if latest is None:
        return None
    store = open_store(settings)
    found = store.readable(TRANSACTIONS, [latest - timedelta(days=n) for n in range(LOOK_BACK)])
    if not found:
        return None
    record = found[max(found)]
    (path,) = store.paths([record], "rows")
    models = {one.segment: one.segment_where for one in settings.each_model()}
    file = pq.ParquetFile(path)
    lacking = {
        one.segment: f"{why.what}: {', '.join(why.culprits)}. {why.remedy}"
        for one in settings.each_model()
        if (why := untold(record.day, one.own_columns, record.facts)) is not None
    }
    models, uncounted = _told_apart(file, {name: where for name, where in models.items() if name not in lacking})
    uncounted |= lacking
    columns = sorted({name for where in models.values() for name in where})
    counts, none, several = dict.fromkeys(models, 0), 0, 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns or [file.schema_arrow.names[0]]):
        takers = np.zeros(batch.num_rows, dtype=np.int32)
        for name, where in models.items():
            mask = taken(batch, where).to_numpy(zero_copy_only=False)
            counts[name] += int(mask.sum())
            takers += mask
        none, several = none + int((takers == 0).sum()), several + int((takers > 1).sum())
    rows = file.metadata.num_rows
    return Division(day=record.day, rows=rows, by_model=counts, of_none=none, of_several=several, uncounted=uncounted)


def _told_apart(file: pq.ParquetFile, models: Mapping[str, Where]) -> tuple[dict[str, Where], dict[str, str]]:
    """Models whose condition the day's columns can fulfil; and the other ones, and why they cannot."""
    told, uncounted = {}, {}
    for name, where in models.items():
        try:
            taken(file.schema_arrow.empty_table(), where)
        except DataInvalid as error:
            uncounted[name] = f"{error.what}: {', '.join(error.culprits)}"
        else:
            told[name] = where
    return told, uncounted
