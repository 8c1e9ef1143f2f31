"""Counts of the labels of a day's transactions, as records of days hold them.

Here: the counts. Not here: what is known of labels at a moment (`domain/labels/events.py`), and writing records.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fraud_retraining.domain.labels.blocked import propensities, was_reviewed
from fraud_retraining.domain.values.schemas import IS_FRAUD, LABELLED_AT, PROPENSITY


def label_facts(table: pa.Table) -> dict[str, Any]:
    """Counts of the labels of a day by the day they became known (`label_days`).

    Where transactions were blocked, these have their own: `reviewed_days` of those that nothing stands for, and `seen`
    rows that were not blocked. Labels of those that the control group stands for do not count.
    """
    if PROPENSITY not in table.column_names:
        return {"label_days": label_days(table)}
    propensity = propensities(table)
    seen, reviewed = (table.filter(pa.array(mask)) for mask in (propensity > 0, was_reviewed(propensity)))
    return {"label_days": label_days(seen), "reviewed_days": label_days(reviewed), "seen": seen.num_rows}


def label_days(table: pa.Table) -> list[list[Any]]:
    """Counts of the labels of a day by the day they became known: [day or null, labelled rows, frauds], oldest first.

    Null stands for a lake without label times; such labels are known once the day is mature.
    """
    known = table.filter(pc.is_valid(table[IS_FRAUD]))
    if LABELLED_AT not in table.column_names:
        return [[None, known.num_rows, pc.sum(known[IS_FRAUD]).as_py() or 0]]
    days = pa.table({"day": pc.cast(known[LABELLED_AT], pa.date32(), safe=False), "fraud": known[IS_FRAUD]})
    grouped = days.group_by("day").aggregate([("fraud", "count"), ("fraud", "sum")]).sort_by("day")
    return [
        [day.isoformat() if day else None, count, frauds or 0]
        for day, count, frauds in zip(
            *(grouped[name].to_pylist() for name in ("day", "fraud_count", "fraud_sum")), strict=True
        )
    ]
