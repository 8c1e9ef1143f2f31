"""The statements that the outbox is made of.

Here: reading and writing the rows of notices, deliveries and of those who deliver, in SQLAlchemy Core. Not here: when
which of them is used (`adapters/alerts/outbox.py`). Importing this module imports SQLAlchemy: import it inside
functions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from fraud_retraining.adapters.ledger.statements import CLOCKS
from fraud_retraining.adapters.ledger.tables import DELIVERIES, LEASES, NOTICES

Row = Mapping[str, Any]

N, D = NOTICES.c, DELIVERIES.c
UNSENT = D.delivered_at.is_(None) & D.given_up_at.is_(None)


def now(cn: sa.Connection) -> str:
    """The database's clock."""
    return str(cn.exec_driver_sql(CLOCKS[cn.dialect.name]).scalar_one())


def open_notice(cn: sa.Connection, model: str, key: str) -> Row | None:
    """The open notice of a key."""
    return _one(cn, sa.select(NOTICES).where(N.model == model, N.dedup_key == key, N.resolved_at.is_(None)))


def newest_notice(cn: sa.Connection, model: str, key: str) -> Row | None:
    """The newest notice of a key, open or resolved."""
    statement = sa.select(NOTICES).where(N.model == model, N.dedup_key == key).order_by(N.id.desc()).limit(1)
    return _one(cn, statement)


def open_notices(cn: sa.Connection, model: str) -> list[Row]:
    """Every open notice of a model, oldest first."""
    return _all(cn, sa.select(NOTICES).where(N.model == model, N.resolved_at.is_(None)).order_by(N.id))


def insert_notice(cn: sa.Connection, values: Row) -> int:
    """A new notice; gives its number."""
    return int(cn.execute(NOTICES.insert().values(dict(values))).inserted_primary_key[0])  # type: ignore[index]


def update_notice(cn: sa.Connection, number: int, **values: Any) -> None:
    """Changes a notice."""
    cn.execute(NOTICES.update().where(N.id == number).values(values))


def deliveries_of(cn: sa.Connection, notice: int) -> list[Row]:
    """Every delivery of a notice, in order."""
    return _all(cn, sa.select(DELIVERIES).where(D.notice_id == notice).order_by(D.id))


def insert_delivery(cn: sa.Connection, values: Row) -> None:
    """A new delivery."""
    cn.execute(DELIVERIES.insert().values(dict(values)))


def update_delivery(cn: sa.Connection, number: int, **values: Any) -> None:
    """Changes a delivery."""
    cn.execute(DELIVERIES.update().where(D.id == number).values(values))


def update_unsent(cn: sa.Connection, number: int, **values: Any) -> None:
    """Change a delivery that is neither delivered nor given up."""
    cn.execute(DELIVERIES.update().where(D.id == number, UNSENT).values(values))


def due(cn: sa.Connection, model: str, at: str, without: Collection[str]) -> Row | None:
    """The first delivery that may be tried: due, not claimed, and the first unsent one of its destination."""
    earlier = DELIVERIES.alias("earlier")
    held = sa.exists().where(
        earlier.c.notice_id == D.notice_id,
        earlier.c.destination == D.destination,
        earlier.c.id < D.id,
        earlier.c.delivered_at.is_(None),
        earlier.c.given_up_at.is_(None),
    )
    free = D.claimed_until.is_(None) | (D.claimed_until <= at)
    skipped = [~_is_kind(kind) for kind in without]
    statement = (
        sa.select(DELIVERIES)
        .join(NOTICES, N.id == D.notice_id)
        .where(N.model == model, UNSENT, D.due_at <= at, free, ~held, *skipped)
        .order_by(D.id)
        .limit(1)
    )
    return _one(cn, statement)


def notice_by_id(cn: sa.Connection, number: int) -> Row:
    """A notice that there is."""
    return _all(cn, sa.select(NOTICES).where(N.id == number))[0]


def not_before(cn: sa.Connection, model: str, kind: str, at: str) -> None:
    """Lets every unsent delivery of a kind of destination wait until then."""
    mine = sa.select(N.id).where(N.model == model)
    late = (D.due_at < at) & UNSENT & _is_kind(kind) & D.notice_id.in_(mine)
    cn.execute(DELIVERIES.update().where(late).values(due_at=at))


def unsent(cn: sa.Connection, model: str) -> list[Row]:
    """Every delivery of a model that was neither sent nor given up, oldest first."""
    return _all(
        cn, sa.select(DELIVERIES).join(NOTICES, N.id == D.notice_id).where(N.model == model, UNSENT).order_by(D.id)
    )


def given_up(cn: sa.Connection, model: str, since: str) -> list[Row]:
    """Deliveries that were given up since then with an error."""
    lost = (D.given_up_at >= since) & D.error.is_not(None)
    return _all(cn, sa.select(DELIVERIES).join(NOTICES, N.id == D.notice_id).where(N.model == model, lost))


def messages_with_links(cn: sa.Connection) -> list[Row]:
    """Stored messages that hold a signed link."""
    return _all(cn, sa.select(D.id, D.message).where(D.message.like("%?link=%"), D.message.not_like("%?link=***%")))


def forget_links(cn: sa.Connection, redact: Callable[[str], str]) -> None:
    """Blanks the signed links of stored messages."""
    for row in messages_with_links(cn):
        update_delivery(cn, row["id"], message=redact(row["message"]))


def record_sender(cn: sa.Connection, name: str, owner: str, at: str, until: str) -> None:
    """Record that a process is running under that name."""
    values = {"owner": owner, "detail": "", "seen_at": at, "expires_at": until}
    done = cn.execute(LEASES.update().where(LEASES.c.name == name).values(values))
    if done.rowcount == 0:
        cn.execute(LEASES.insert().values(name=name, token=0, taken_at=at, **values))


def senders(cn: sa.Connection, names: Sequence[str]) -> list[Row]:
    """The processes that last ran under those names."""
    return _all(cn, sa.select(LEASES).where(LEASES.c.name.in_(list(names))))


def _is_kind(kind: str) -> sa.ColumnElement[bool]:
    return (D.destination == kind) | D.destination.startswith(f"{kind}:", autoescape=True)


def _all(cn: sa.Connection, statement: sa.Select[Any]) -> list[Row]:
    return [dict(row._mapping) for row in cn.execute(statement)]


def _one(cn: sa.Connection, statement: sa.Select[Any]) -> Row | None:
    return next(iter(_all(cn, statement)), None)
