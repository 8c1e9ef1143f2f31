"""What a model knows about a transaction at the moment it happens, and nothing from later.

Here: the Ibis expressions that compute the features of a plan for one day. Not here: the arithmetic of each feature
(`definitions.py`), the same for a batch that is scored (`online.py`), and reading and writing days
(`adapters/storage/store.py`).

Notation: a transaction happens at time t of day D; L is the label delay; n is a window in days. "Earlier" means an
earlier timestamp, or the same timestamp and a smaller transaction_id.

- A window of 1 day is (t - 24 h, t]. A longer one is day D so far plus the whole days D-n .. D-1.
- Count, mean, maximum and the ratio of the two include the transaction itself. Its own ratio, z-score and seconds since
  the previous transaction set it against the earlier ones only.
- A transaction without the key of a nullable entity has the features of a key never seen; it is in no key's past.
- Label features end with day D-L-1, the last one whose labels may be used: a window of n days is the whole days
  D-L-n .. D-L-1, the same for every transaction of the entity on D. Days since the first and the last known fraud,
  days since the last known non-fraud, and the fraud streak (known frauds on the days after that one, and days since
  it began) look at the longest window. A label counts when it was known before day d+L+1 began, where d is the day of
  the labelled transaction.
- Label features of a plan with `labels_as_known` end with day D-1 and read every fraud that was known before D began,
  at any age of its transaction (`entity_label_days`); a transaction not known as fraud then counts as none.

Cost follows the new day: by their time of day, the last 24 hours are the part of today before t and the part of
yesterday after it, so one sort of two days serves the exact window; whole days come from `entity_days`.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, overload

import ibis
import ibis.expr.types as ir

from fraud_retraining.domain.features.definitions import (
    column_of,
    gridded,
    in_two_parts,
    no_label_days,
    passed_through,
)
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.days import THIS_DAY, Day, OneDay, by_day, day_of, start_of
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    IS_FRAUD,
    LABELLED_AT,
    TIMESTAMP,
    TRANSACTION_ID,
    EntityPolicy,
)


def entity_days(transactions: ir.Table, entity: str, plan: FeaturePlan, day: Day) -> ir.Table:
    """Statistics of each key of `entity` on `day`: count, sums, maximum, last time, labels that features may use.

    Over `EACH_DAY` the day is the first column.
    """
    transactions = _with_key(transactions, entity, plan)
    rows = transactions.select(
        *by_day(day),
        key=transactions[entity],
        timestamp=transactions[TIMESTAMP],
        amount=transactions[AMOUNT],
        gridded=gridded(transactions[AMOUNT]),
        label=_known_label(transactions, plan, day),
    )
    return rows.group_by([*by_day(day), "key"]).agg(
        count=rows.count(),
        # Parallel sums of float64 depend on the order of the rows, unless every partial sum is exact.
        amount_sum=rows.gridded.sum(),
        amount_sumsq=_sum_of_squares(rows.gridded * rows.gridded),
        amount_max=rows.amount.max(),
        last_at=rows.timestamp.max(),
        labelled=rows.label.count(),
        frauds=rows.label.sum().fill_null(0),
    )


def transaction_features(
    plan: FeaturePlan,
    day: Day,
    *,
    today: ir.Table,
    yesterday: ir.Table | None,
    entity_days: Mapping[str, ir.Table],
    entity_label_days: Mapping[str, ir.Table] | None = None,
) -> ir.Table:
    """Features of every transaction of `day`, sorted by timestamp and transaction_id; columns as `plan.columns`.

    `yesterday` holds the transactions of D-1 and each table of `entity_days` the statistics of its days with the column
    `day`. Each table of `entity_label_days` holds what became known on the days before, with the column `known_on`.
    None, or an entity left out, means there are none. `day` may be an expression, such as the one value of a
    one-row table: then one compiled query serves every day. Over `EACH_DAY` the tables have the column `THIS_DAY`,
    and so does the result, as its last one.
    Our own features are float32 (amount: float64) and never null; numeric columns that pass through are null, never
    NaN, where the lake has no finite number.
    """
    rows = today
    for entity in plan.entities:
        rows = _beside(rows, TRANSACTION_ID, _last_24_hours(plan, day, entity, today, yesterday), day)
        history = entity_days.get(entity)
        # An empty table of the right types, so that the first day of a lake has the same columns as any other.
        history = _no_entity_days(today, entity, plan, day) if history is None else history
        reports = (entity_label_days or {}).get(entity)
        rows = _beside(rows, entity, entity_state(plan, day, entity, history, reports), day)
    features = _own_features(rows, plan, day) | _pass_through(rows, plan)
    columns = {name: features[name] if name in features else rows[name] for name in plan.columns}
    found = rows.select(*(value.name(name) for name, value in columns.items()), *by_day(day))
    # Rows of several days are ordered day by day, by who writes them.
    return found if by_day(day) else found.order_by(TIMESTAMP, TRANSACTION_ID)


def entity_state(
    plan: FeaturePlan, day: Day, entity: str, entity_days: ir.Table, entity_label_days: ir.Table | None = None
) -> ir.Table:
    """What the features of `day` know of each key of an entity from whole days before it: one row a key.

    The first column is the key; the others have the names that `column_of` gives. Inputs as in `transaction_features`.
    """
    policy, days = plan.entities[entity], entity_days
    if policy.fraud_share and plan.labels_as_known:
        days = _with_known_frauds(days, entity_label_days, policy, day)
    return _whole_days(days, entity, policy, plan, day)


_YESTERDAY, _TODAY = range(2)
"""Days that are laid over each other by time of day. At one instant today comes last: a transaction that is exactly
24 hours old is outside the window."""


def _earlier(day: Day) -> Any:
    return ibis.window(preceding=(None, 1), group_by=[*by_day(day), "key"], order_by=["clock", "kind", "id"])


def _later(day: Day) -> Any:
    return ibis.window(following=(1, None), group_by=[*by_day(day), "key"], order_by=["clock", "kind", "id"])


def _last_24_hours(plan: FeaturePlan, day: Day, entity: str, today: ir.Table, yesterday: ir.Table | None) -> ir.Table:
    """Per transaction of today: the entity's earlier ones today, and those after this time of day yesterday."""
    today = _with_key(today, entity, plan)
    parts = [_on_clock(today, entity, _TODAY, day, amount=today[AMOUNT])]
    # Only the window of one day is exact to the moment; longer ones take whole days.
    if 1 in plan.entities[entity].windows_days and yesterday is not None:
        before = _with_key(yesterday, entity, plan)
        parts.append(_on_clock(before, entity, _YESTERDAY, day, amount=before[AMOUNT]))
    parts = _of_one_type(*parts)
    clock = ibis.union(*parts) if len(parts) > 1 else parts[0]
    # One sort by time of day serves today (before t) and yesterday (after t).
    before_this, after_this = _earlier(day), _later(day)
    columns = {"clock": clock.clock, "last": _only(clock, _TODAY, clock.clock).max().over(before_this)}
    columns |= _past_sums("today", _only(clock, _TODAY, clock.amount), before_this)
    columns |= _past_sums("yesterday", _only(clock, _YESTERDAY, clock.amount), after_this)
    return _of_today(clock, entity, "id", columns, day)


def _with_key(rows: ir.Table, entity: str, plan: FeaturePlan) -> ir.Table:
    """The rows that have a key. Rows without one share no history: each has the features of a key never seen."""
    return rows.filter(rows[entity].notnull()) if plan.entities[entity].nullable else rows


def _of_one_type(*tables: ir.Table) -> list[ir.Table]:
    """Tables whose keys can be compared: a day without any key does not know whether the key is text."""
    if len({table.key.type() for table in tables}) == 1:
        return list(tables)
    return [table.mutate(key=table.key.cast("string")) for table in tables]


def _on_clock(rows: ir.Table, entity: str, kind: int, day: Day, **value: ir.Value) -> ir.Table:
    """The rows of today or of yesterday by their time of day."""
    begins = day_of(day, rows)
    return rows.select(
        *by_day(day),
        id=rows[TRANSACTION_ID],
        key=rows[entity],
        kind=ibis.literal(kind, "int8"),
        clock=_microseconds(rows[TIMESTAMP], begins if kind == _TODAY else _before(begins, 1)),
        **value,
    )


def _of_today(clock: ir.Table, entity: str, key: str, columns: Mapping[str, ir.Value], day: Day) -> ir.Table:
    rows = clock.select(*by_day(day), "kind", **{key: clock.id}, **columns).filter(ibis._.kind == _TODAY)
    return rows.select(**{column_of(entity, name): rows[name] for name in (key, *columns)}, **_days(rows, day))


def _days(rows: ir.Table, day: Day) -> dict[str, ir.Value]:
    return {name: rows[name] for name in by_day(day)}


def _past_sums(name: str, amount: ir.FloatingColumn, window: object) -> dict[str, ir.Value]:
    summed = gridded(amount)
    return {
        f"{name}_count": amount.count().over(window),
        f"{name}_total": summed.sum().over(window),
        f"{name}_squares": _sum_of_squares(summed * summed, window),
        f"{name}_maximum": amount.max().over(window),
    }


def _sum_of_squares(squares: ir.FloatingColumn, window: object = None) -> ir.Value:
    """Their sum, which is the same in any order; rounded once."""
    high, low = (part.sum() if window is None else part.sum().over(window) for part in in_two_parts(squares))
    return high + low


def _whole_days(days: ir.Table, entity: str, policy: EntityPolicy, plan: FeaturePlan, day: Day) -> ir.Table:
    """Per key: its whole earlier days, summed over each window, and when it was last seen."""
    if policy.fraud_share:
        days = _with_ages(days, policy, plan, day)
    this_day = day_of(day, days)
    columns = {"last_at": _within(days, this_day, max(policy.windows_days), "last_at").max()}
    for window in policy.windows_days:
        if window > 1:
            columns |= {
                f"days{window}_count": _within(days, this_day, window, "count").sum(),
                f"days{window}_total": _within(days, this_day, window, "amount_sum").sum(),
                f"days{window}_squares": _sum_of_squares(_within(days, this_day, window, "amount_sumsq")),
                f"days{window}_maximum": _within(days, this_day, window, "amount_max").max(),
            }
    if policy.fraud_share:
        columns |= _label_sums(days, policy, plan, this_day)
    return days.group_by([days.key.name(column_of(entity, "key")), *by_day(day)]).agg(
        **{column_of(entity, name): value for name, value in columns.items()}
    )


def _with_known_frauds(days: ir.Table, reports: ir.Table | None, policy: EntityPolicy, day: Day) -> ir.Table:
    """`days` with the frauds that were known before `day` began, all other transactions as known to be none, and the
    last day on which a fraud of the day became known."""
    if reports is None:
        return days.mutate(labelled=days["count"], frauds=ibis.literal(0), known_on=ibis.null("date"))
    this_day = day_of(day, reports)
    seen = reports.filter(
        (reports.known_on < _date(this_day)) & (reports.day >= _date(_before(this_day, max(policy.windows_days))))
    )
    known = seen.group_by(report_key=seen.key, report_day=seen.day, **_read_for(seen, day)).agg(
        known_frauds=seen.frauds.sum(), last_report=(seen.frauds > 0).ifelse(seen.known_on, None).max()
    )
    left, right = days.key, known.report_key
    if left.type() != right.type():
        left, right = left.cast("string"), right.cast("string")
    # Reports of days without a transaction in sight find no row here: only frauds beside their day count.
    same_day = [days[THIS_DAY] == known[_READ_FOR]] if by_day(day) else []
    joined = days.left_join(known, [left == right, days.day == known.report_day, *same_day])
    joined = joined.drop(*(_READ_FOR for _ in same_day))
    return joined.mutate(
        labelled=joined["count"], frauds=joined.known_frauds.fill_null(0), known_on=joined.last_report
    ).drop("report_key", "report_day", "known_frauds", "last_report")


def _with_ages(days: ir.Table, policy: EntityPolicy, plan: FeaturePlan, day: Day) -> ir.Table:
    """`days` with their age on `day`, and the age of the key's last day with a known non-fraud beside each of them."""
    aged = days.mutate(age=_date(day_of(day, days)).delta(days.day, unit="day"))
    ends, longest = _before(day_of(day, aged), plan.label_lag_days), max(policy.windows_days)
    genuine = _within(aged, ends, longest, "labelled") > _within(aged, ends, longest, "frauds")
    last = genuine.ifelse(aged.age, None).min().over(ibis.window(group_by=[*by_day(day), "key"]))
    return aged.mutate(last_nonfraud=last.fill_null(no_label_days(policy, plan.label_lag_days)))


def _label_sums(days: ir.Table, policy: EntityPolicy, plan: FeaturePlan, day: OneDay) -> dict[str, ir.Value]:
    """Labels of each window; how old the first and the last fraud of the longest one are, and the last non-fraud."""
    ends = _before(day, plan.label_lag_days)
    frauds = _within(days, ends, max(policy.windows_days), "frauds")
    streak = (days.age < days.last_nonfraud).ifelse(frauds, None)
    columns = {
        "first_fraud": (frauds > 0).ifelse(days.age, None).max(),
        "last_fraud": (frauds > 0).ifelse(days.age, None).min(),
        "last_nonfraud": days.last_nonfraud.min(),
        "fraud_streak_began": (streak > 0).ifelse(days.age, None).max(),
        "fraud_streak": streak.sum(),
    }
    if plan.labels_as_known:
        reported = _date(day).delta(days.known_on, unit="day")
        columns["last_report"] = (frauds > 0).ifelse(reported, None).min()
    for window in policy.windows_days:
        columns |= {
            f"days{window}_labelled": _within(days, ends, window, "labelled").sum(),
            f"days{window}_frauds": _within(days, ends, window, "frauds").sum(),
        }
    return columns


def _no_entity_days(today: ir.Table, entity: str, plan: FeaturePlan, day: Day) -> ir.Table:
    empty = today.filter(ibis.literal(False))
    none = entity_days(empty, entity, plan, day)
    return none.mutate(day=_date(day_of(day, none)))


_READ_FOR = "__read_for"


def _read_for(rows: ir.Table, day: Day) -> dict[str, ir.Value]:
    """The day of the rows under a name that no other table has."""
    return {_READ_FOR: rows[THIS_DAY]} if by_day(day) else {}


def _beside(rows: ir.Table, column: str, values: ir.Table, day: Day) -> ir.Table:
    """`rows` with an entity's values, of which the first is the key, beside them; null where there are none."""
    left, right = rows[column], values[values.columns[0]]
    if left.type() != right.type():
        # A day without any key has no type of the key; a join of unlike types would fail.
        left, right = left.cast("string"), right.cast("string")
    if not by_day(day):
        return rows.left_join(values, left == right)
    of_days = values.rename({_READ_FOR: THIS_DAY})
    right = of_days[of_days.columns[0]].cast(right.type())
    return rows.left_join(of_days, [rows[THIS_DAY] == of_days[_READ_FOR], left == right]).drop(_READ_FOR)


def _own_features(rows: ir.Table, plan: FeaturePlan, day: Day) -> dict[str, ir.Value]:
    """Everything computed here, as float32: trees and drift need no more, and a window is read at half the size."""
    return {name: value.cast("float32") for name, value in plan.own_features(rows, start_of(day_of(day, rows))).items()}


def _pass_through(rows: ir.Table, plan: FeaturePlan) -> dict[str, ir.Value]:
    numeric = {name: passed_through(rows[name]) for name in plan.numeric}
    return numeric | {name: rows[name].cast("string") for name in (*plan.slices, *plan.categorical)}


def _known_label(rows: ir.Table, plan: FeaturePlan, day: Day) -> ir.Value:
    """The label of a transaction of `day`, null unless it was known before the first day that may use it began; a label
    that does not say when it became known is known with the label delay."""
    label = rows[IS_FRAUD].cast("int8")
    if not plan.labelled_at:
        return label
    known_at = rows[LABELLED_AT]
    known = known_at.isnull() | (known_at < start_of(_before(day_of(day, rows), -plan.label_delay_days - 1)))
    return known.ifelse(label, None)


def _only(clock: ir.Table, kind: int, value: ir.Column) -> ir.Column:
    return (clock.kind == kind).ifelse(value, None)


def _within(days: ir.Table, day: OneDay, window: int, column: str) -> ir.Column:
    """A statistic where its day lies within the `window` whole days before `day`, else null; counts as float64, whose
    sum is exact and takes half the time of the engine's 128-bit integers."""
    within = (days.day >= _date(_before(day, window))) & (days.day < _date(day))
    # DuckDB sums integers in 128 bits, which takes twice the time.
    value = days[column].cast("float64") if days[column].type().is_integer() else days[column]
    return within.ifelse(value, None)


def _microseconds(timestamp: ir.TimestampValue, day: OneDay) -> ir.IntegerValue:
    return timestamp.delta(start_of(day), unit="microsecond")


def _date(day: OneDay) -> ir.DateValue:
    return ibis.literal(day) if isinstance(day, date) else day


@overload
def _before(day: date, days: int) -> date: ...


@overload
def _before(day: OneDay, days: int) -> OneDay: ...


def _before(day: OneDay, days: int) -> OneDay:
    if isinstance(day, date):
        return day - timedelta(days=days)
    return (day - ibis.interval(days=days)).cast("date")
