"""A process that dies at its n-th write to any SQL database: before the statement, or before the commit.

`Killed` is no `Exception`: nothing handles it, and an open transaction is lost, as when the process was killed. What is
kept in memory only is for the test to throw away.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
MOST_WRITES = 400


class Killed(BaseException):
    """The end of the process."""


@contextmanager
def dying_at(nth: int) -> Iterator[None]:
    """Ends the process at its n-th write."""
    done = 0

    def write() -> None:
        nonlocal done
        done += 1
        if done == nth:
            raise Killed

    def before(_cn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().split(None, 1)[0].upper() in WRITES:
            write()

    def commit(_cn: Any) -> None:
        write()

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", before)
    sa.event.listen(sa.engine.Engine, "commit", commit)
    try:
        yield
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", before)
        sa.event.remove(sa.engine.Engine, "commit", commit)


def deaths(begin: Callable[[], Callable[[], object]]) -> Iterator[int]:
    """Dies at every write in turn, each time from a fresh beginning, and then gives the number of the write.

    `begin` makes a beginning and gives the work that is to be done from it.
    """
    for nth in range(1, MOST_WRITES):
        work = begin()
        try:
            with dying_at(nth):
                work()
        except Killed:
            yield nth
            continue
        assert nth > 1, "the work writes nothing"
        return
    raise AssertionError(f"the work writes more than {MOST_WRITES} times")
