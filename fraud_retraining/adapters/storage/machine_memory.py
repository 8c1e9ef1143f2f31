"""How much memory this process may use: the machine's, or what its container is held to.

Here: reading it from the system. Not here: what part of it is whose (`domain/data/memory.py`).
"""

import os
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 2**60
"""Version 1 of control groups writes a number of this order where nothing limits a group."""


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may use: the machine's memory, or the least limit of its control groups."""
    return min([_machine(), *_group_limits(root)])


def _machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of this process's groups and of all groups above, under both versions of control groups."""
    for controllers, group in _groups(root):
        if controllers == "":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        inner = Path(group.lstrip("/"))
        # Every group above limits too; inside a container the path of the host may not be there, the mount itself is.
        for folder in (mount, *(mount / above for above in (inner, *inner.parents))):
            limit = _limit(folder / name)
            if limit is not None and limit < _UNLIMITED:
                yield limit


def _groups(root: Path) -> list[tuple[str, str]]:
    """Controllers and path of each group that the process is in; none where the system has no such groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    parts = [line.split(":", 2) for line in lines]
    return [(part[1], part[2]) for part in parts if len(part) == 3]


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
