"""A process that dies at its n-th write: to any SQL database before the statement, or before the commit of some; to
MLflow's server before the request, or before its answer is read.

`Killed` is no `Exception`: nothing handles it, and an open transaction is lost, as when the process was killed. What is
kept in memory only is for the test to throw away.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
import sqlalchemy as sa

WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
WRITING_REQUESTS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MOST_WRITES = 400


class Killed(BaseException):
    """The end of the process."""


@contextmanager
def killed_at(nth: int, *, commits: bool = False) -> Iterator[None]:
    """Ends the process at its n-th write; with `commits` statements within a transaction do not count."""
    done = 0
    writing: set[Any] = set()

    def write(cn: Any = None) -> None:
        nonlocal done
        done += 1
        if done >= nth:
            if cn is not None:
                cn.connection.rollback()
            raise Killed

    def before(cn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().split(None, 1)[0].upper() in WRITES:
            writing.add(cn)
            if not commits:
                write(cn)

    def commit(cn: Any) -> None:
        if cn in writing:
            writing.discard(cn)
            write(cn)

    send = requests.Session.send

    def sent(session: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        # MLflow searches by POST too.
        writes = request.method in WRITING_REQUESTS and not str(request.path_url).endswith("/search")
        if writes:
            write()
        answer = send(session, request, **how)
        if writes:
            write()
        return answer

    requests.Session.send = sent  # type: ignore[method-assign,assignment]
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", before)
    sa.event.listen(sa.engine.Engine, "commit", commit)
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", before)
        sa.event.remove(sa.engine.Engine, "commit", commit)


def moments(begin: Callable[[], Callable[[], object]], *, commits: bool = False) -> Iterator[int]:
    """Dies at every write in turn, or at every commit, each time from a fresh beginning, and then gives its number.

    `begin` makes a beginning and gives the work that is to be done from it.
    """
    for nth in range(1, MOST_WRITES):
        if not _is_killed(begin(), nth, commits):
            assert nth > 1, "the work writes nothing"
            return
        yield nth
    raise AssertionError(f"the work writes more than {MOST_WRITES} times")


def _is_killed(work: Callable[[], object], nth: int, commits: bool) -> bool:
    """Whether the work came to its n-th write."""
    try:
        with killed_at(nth, commits=commits):
            work()
    except Killed:
        return True
    return False
