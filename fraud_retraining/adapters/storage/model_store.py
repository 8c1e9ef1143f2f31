"""The store as one of several models sees it: a part of its own, and of shared days the transactions of its segment.

Here: where the model's own partitions lie, and the days of a segment. Not here: which transactions those are
(`domain/data/segments.py`), and partitions themselves (`store.py`).

Days are made once for all models. Of `transactions` and `transaction_features` a model with a condition reads a copy
that holds its rows alone, which is made when it is first read and again when the day was: a segment of one in a hundred
transactions then costs a hundredth of the day, each time that it is read. Of `labels` only the counts are of the
segment, because labels are looked up by the id of a transaction. Digests and inputs stay those of the whole day: they
say whether it is the one that a manifest names.

A day from which the segment cannot be told, because it lacks a column that the model asks for, has no rows here, and
says why (`UNTOLD`). Its rows are refused to whoever reads them: the model fails by itself, and the other ones go on.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.locations import Location, ObjectInfo
from fraud_retraining.adapters.storage.store import GRACE_SECONDS, Partition, Standing, Store, StoredFile
from fraud_retraining.domain.data.ingestion import BlockedFacts
from fraud_retraining.domain.data.segments import Where, taken, untold
from fraud_retraining.domain.features.column_lineage import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    LABELS,
    ONLINE_STATE,
    TRANSACTIONS,
)
from fraud_retraining.domain.labels.day_counts import label_facts
from fraud_retraining.domain.labels.events import TRANSACTION_DAY, in_order
from fraud_retraining.domain.monitoring.skew_reasons import alike
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError
from fraud_retraining.domain.values.schemas import IS_FRAUD, TRANSACTION_ID

LOG = logging.getLogger(__name__)
MODELS, SEGMENTS = "models", "segments"
SHARED = frozenset({TRANSACTIONS, LABELS, ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, ONLINE_STATE})
ROWS = "rows"
CUT = (TRANSACTIONS, FEATURES)
"""Assets of which a segment has a copy of its own rows."""
WHOLE_ROWS = "whole_rows"
"""The fact that says how many rows a day has of which a segment has some."""
UNTOLD = "untold"
"""The fact that says why the rows of a segment cannot be told from a day."""
LABEL_COUNTS = ("by_day", "reviewed", "first_reports", "reversed")
BATCH_ROWS = 131_072
CODE = "1"
"""Version of how days are cut: raised when the same day gives another copy, or other facts."""


def own_folder(model: str) -> str:
    """The folder of a model's own partitions and documents in the store."""
    return f"{MODELS}/{model}"


class ModelStore(Store):
    """The store of one model among several.

    Args:
        location: the whole store.
        scratch: local folder for files that are being written.
        own: the model's own part of the same store.
        model: its name; empty where it is the only one, whose partitions lie in the store itself.
        where: the condition of its segment by names of stored columns; {} for every transaction.
        asked: by column that days have for single models alone and that this one asks for, the setting that does.
        transactions: the store that has `transactions`, where this one does not.
    """

    def __init__(
        self,
        location: Location,
        scratch: Path,
        *,
        own: Location,
        model: str,
        where: Where,
        asked: Mapping[str, str] = MappingProxyType({}),
        transactions: Store | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        super().__init__(location, scratch, grace_seconds=grace_seconds)
        self._own = own
        self._model = f"{own_folder(model)}/" if model else ""
        self._where = where
        self._asked = dict(asked)
        self._transactions: Store = transactions or self
        # By the condition and not by the model: two models with the same one share the copies.
        self._segment = f"{SEGMENTS}/{digest([CODE, sorted(where.items())])[:16]}" if where else ""

    @property
    def own_location(self) -> Location:
        """The model's own part of the store."""
        return self._own

    @property
    def segmented(self) -> bool:
        """Whether the model is for some of the transactions only."""
        return bool(self._where)

    def partition(self, asset: str, day: date) -> Partition | None:
        """As in every store; of a shared day the rows and counts of the segment."""
        found = super().partition(self._named(asset), day)
        return self._cut(found) if found is not None else None

    def standing(self, asset: str, days: Iterable[date]) -> dict[date, Standing]:
        """As in every store; of a shared day the rows and counts of the segment."""
        found = super().standing(self._named(asset), days)
        return {
            day: Standing(self._cut(one.record) if one.record and not one.problem else one.record, one.problem)
            for day, one in found.items()
        }

    def write(
        self,
        asset: str,
        day: date,
        tables: Mapping[str, pa.Table],
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """As in every store."""
        return self._cut(super().write(self._named(asset), day, tables, digest=digest, inputs=inputs, facts=facts))

    def put(self, asset: str, day: date, tables: Mapping[str, pa.Table]) -> dict[str, StoredFile]:
        """As in every store."""
        return super().put(self._named(asset), day, tables)

    def commit(
        self,
        asset: str,
        day: date,
        files: Mapping[str, StoredFile],
        *,
        digest: str,
        inputs: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Partition:
        """As in every store."""
        return self._cut(super().commit(self._named(asset), day, files, digest=digest, inputs=inputs, facts=facts))

    def objects(self, partitions: Sequence[Partition], name: str) -> list[ObjectInfo]:
        """As in every store; days from which the segment cannot be told are refused."""
        require_told(partitions)
        return super().objects(partitions, name)

    def paths(self, partitions: Sequence[Partition], name: str) -> list[Path]:
        """As in every store; a damaged copy of a segment is made again.

        Raises:
            DataInvalid: a day from which the segment cannot be told.
        """
        require_told(partitions)
        try:
            return super().paths(partitions, name)
        except IntegrityError as error:
            broken = [one for one in partitions if self._is_copy(one) and self._names(error, one)]
            if not broken:
                raise
            LOG.warning("%s; the copy of the segment is made again", error)
            made = {(one.asset, one.day): self._cut(self.whole(one), again=True) for one in broken}
            return super().paths([made.get((one.asset, one.day), one) for one in partitions], name)

    def whole(self, record: Partition) -> Partition:
        """As in every store: of a copy of a segment the shared day."""
        if not self._is_copy(record) and UNTOLD not in record.facts:
            return record
        found = self._committed(record.asset, record.day)
        assert found is not None, "a copy is of a day that is there"
        return found

    def annotate(self, asset: str, day: date, name: str, document: Any) -> None:
        """As in every store."""
        super().annotate(self._named(asset), day, name, document)

    def annotation(self, asset: str, day: date, name: str) -> dict[str, Any] | None:
        """As in every store."""
        return super().annotation(self._named(asset), day, name)

    def read_document(self, asset: str, key: str) -> bytes | None:
        """As in every store."""
        return super().read_document(self._named(asset), key)

    def write_document(self, asset: str, key: str, data: bytes) -> None:
        """As in every store."""
        super().write_document(self._named(asset), key, data)

    def _named(self, asset: str) -> str:
        inner = asset in SHARED or asset.startswith((f"{MODELS}/", f"{SEGMENTS}/"))
        return asset if inner else f"{self._model}{asset}"

    def _is_copy(self, record: Partition) -> bool:
        return any(file.path.startswith(f"{SEGMENTS}/") for file in record.files.values())

    @staticmethod
    def _names(error: IntegrityError, record: Partition) -> bool:
        return any(file.path in culprit for culprit in error.culprits for file in record.files.values())

    def _cut(self, record: Partition, *, again: bool = False) -> Partition:
        """The record of a shared day with files and facts of the segment; every other record as it is."""
        if record.asset not in (*CUT, LABELS) or not (self._where or self._asked):
            return record
        if record.asset in CUT and (why := self._untold(record)) is not None:
            return _without_rows(record, why)
        if not self._where:
            return record
        asset = f"{self._segment}/{record.asset}"
        inputs = {"of": digest([record.digest, record.inputs])}
        try:
            known = None if again else self._committed(asset, record.day)
        except IntegrityError as error:
            LOG.warning("%s; the copy of the segment is made again", error)
            known = None
        if known is None or known.inputs != inputs:
            try:
                known = self._made(asset, record, inputs)
            except DataInvalid as error:
                return _without_rows(record, error)
        files = {**record.files, **known.files}
        whole = {WHOLE_ROWS: record.facts["rows"]} if "rows" in record.facts else {}
        return record.model_copy(update={"files": files, "facts": {**record.facts, **known.facts, **whole}})

    def _untold(self, record: Partition) -> DataInvalid | None:
        """Why the segment cannot be told from a day; None if it can."""
        if not self._asked:
            return None
        rows: Partition | None = record
        if record.asset != TRANSACTIONS:
            # Features are of the same rows: what the day lacks stands beside those.
            store = self._transactions
            rows = (
                super().partition(TRANSACTIONS, record.day)
                if store is self
                else store.partition(TRANSACTIONS, record.day)
            )
        return untold(record.day, self._asked, rows.facts) if rows is not None else None

    def _made(self, asset: str, record: Partition, inputs: Mapping[str, str]) -> Partition:
        if record.asset == LABELS:
            facts: dict[str, Any] = self._label_facts(record)
            return super().write(asset, record.day, {}, digest=digest(facts), inputs=inputs, facts=facts)
        rows = self._rows(record)
        facts = {"rows": rows.num_rows}
        if record.asset == FEATURES:
            facts |= label_facts(rows)
        else:
            blocked = BlockedFacts.of_rows(rows)
            facts |= {
                "labelled": rows.num_rows - rows[IS_FRAUD].null_count,
                "frauds": sum(filter(None, rows[IS_FRAUD].to_pylist())),
                "blocked": blocked.model_dump(mode="json") if blocked else None,
            }
        return super().write(asset, record.day, {ROWS: rows}, digest=record.digest, inputs=inputs, facts=facts)

    def _rows(self, record: Partition) -> pa.Table:
        """The rows of a day that belong to the segment, in their order."""
        (path,) = super().paths([record], ROWS)
        file = pq.ParquetFile(path)
        kept = [batch.filter(taken(batch, self._where)) for batch in file.iter_batches(batch_size=BATCH_ROWS)]
        return pa.Table.from_batches(kept, schema=file.schema_arrow)

    def _label_facts(self, record: Partition) -> dict[str, Any]:
        """The counts of a label day, of the transactions of the segment."""
        (path,) = super().paths([record], ROWS)
        events = pq.read_table(path)
        kept = np.zeros(events.num_rows, dtype=np.bool_)
        for ids in self._ids(pc.unique(events[TRANSACTION_DAY]).to_pylist()):
            # A day of ids at a time: all of them as Python objects are a gigabyte of a few days.
            kept |= pc.is_in(*alike(events[TRANSACTION_ID], ids)).to_numpy()
        facts = in_order(events.filter(pa.array(kept))).facts.model_dump(mode="json")
        # What says whether the day is up to date, and what the feed delivered, stays that of the whole day.
        return {name: facts.get(name, ()) for name in LABEL_COUNTS}

    def _ids(self, days: Sequence[date]) -> Iterator[pa.ChunkedArray]:
        for record in self._transactions.partitions(TRANSACTIONS, days).values():
            # What cannot be told belongs to no segment: labels of such a day count for none, as its rows do.
            if UNTOLD in record.facts:
                continue
            (path,) = self._transactions.paths([record], ROWS)
            yield pq.read_table(path, columns=[TRANSACTION_ID])[TRANSACTION_ID]


def _without_rows(record: Partition, why: DataInvalid) -> Partition:
    """The record of a shared day from which the segment cannot be told: no rows, nothing to read, and the reason."""
    none: dict[str, Any] = {name: [] for name in (*LABEL_COUNTS, "label_days", "reviewed_days")}
    none |= {"rows": 0, "labelled": 0, "frauds": 0, "seen": 0, "blocked": None}
    facts = {**record.facts, **{name: value for name, value in none.items() if name in record.facts}}
    if "rows" in facts:
        facts[WHOLE_ROWS] = record.facts.get(WHOLE_ROWS, record.facts["rows"])
    facts[UNTOLD] = {"what": why.what, "culprits": list(why.culprits), "remedy": why.remedy}
    files = {name: file for name, file in record.files.items() if name != ROWS}
    return record.model_copy(update={"files": files, "facts": facts})


def require_told(partitions: Iterable[Partition]) -> None:
    """Refuses days from which the segment of a model cannot be told.

    Raises:
        DataInvalid: names the setting, the columns that the first of them lacks, those that are there, and the remedy.
    """
    found = {one.day: one.facts[UNTOLD] for one in partitions if UNTOLD in one.facts}
    if found:
        days = sorted(found)
        first = found[days[0]]
        more = f" (the first of {len(days)} days)" if len(days) > 1 else ""
        raise DataInvalid(f"{first['what']}{more}", culprits=first["culprits"], remedy=first["remedy"], days=days)
