"""Memory limit of the query engine, from the memory that the process may use.

Here: the default limit, and what to set when a limit was too small. Not here: finding out how much memory there is
(`adapters/storage/machine_memory.py`).
"""

import re

SHARE, MOST_SHARE, RAISED_SHARE = 0.25, 0.5, 0.8
"""The engine's part by default, its part on a small machine, and the largest part to recommend.

The rest is for training, for the other libraries, and for a second run."""
USUAL_BYTES = 10**9
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def default_memory_limit(usable: int) -> str:
    """A quarter of the bytes that the process may use, but 1 GB where that is more and no more than half of them.

    >>> default_memory_limit(32 * 10**9)
    '8000MB'
    >>> default_memory_limit(3 * 10**9), default_memory_limit(10**9)
    ('1000MB', '500MB')
    """
    return f"{int(min(max(SHARE * usable, USUAL_BYTES), MOST_SHARE * usable)) // 10**6}MB"


def limit_bytes(limit: str) -> int:
    """A limit as settings write it, in bytes.

    Raises:
        ValueError: it is not a number and one of MB, GB, MiB, GiB.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s?(MB|GB|MiB|GiB)", limit)
    if found is None:
        raise ValueError(f"{limit!r} is not a number and one of {', '.join(_UNITS)}")
    return int(float(found[1]) * _UNITS[found[2]])


def larger_memory_limit(limit: str, usable: int) -> str | None:
    """The next limit to try where one was too small: twice as much, as far as the process may use it; else None.

    >>> larger_memory_limit("1GB", 16 * 10**9), larger_memory_limit("10GB", 16 * 10**9)
    ('2000MB', '12800MB')
    >>> larger_memory_limit("13GB", 16 * 10**9)
    """
    now = limit_bytes(limit)
    raised = int(min(2 * now, RAISED_SHARE * usable)) // 10**6
    return f"{raised}MB" if raised * 10**6 > now else None


def memory_remedy(limit: str, usable: int) -> str:
    """Remedy where the engine ran out of memory, with the value to set."""
    larger = larger_memory_limit(limit, usable)
    there = f"this process may use {usable / 10**9:.1f} GB"
    if larger is None:
        return f"give the process more memory ({there}), then raise engine.memory_limit (now {limit})"
    return f"set engine.memory_limit: {larger} ({there})"
