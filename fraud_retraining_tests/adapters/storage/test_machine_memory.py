"""A process in a container may use what the container may, whatever the machine has."""

import os
from pathlib import Path

import pytest

from fraud_retraining.adapters.storage.machine_memory import usable_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def system(root: Path, groups: str, limits: dict[str, str]) -> Path:
    files = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": text for name, text in limits.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "usable"),
    [
        ("0::/\n", {"memory.max": "50000000\n"}, 50_000_000),
        ("0::/pod/run\n", {"pod/run/memory.max": "max\n", "pod/memory.max": "60000000\n"}, 60_000_000),
        ("0::/pod\n", {"pod/memory.max": "70000000\n", "memory.max": "max\n"}, 70_000_000),
        ("9:memory:/a\n4:cpu:/b\n", {"memory/a/memory.limit_in_bytes": "80000000\n"}, 80_000_000),
        ("9:cpu,memory:/gone\n", {"memory/memory.limit_in_bytes": "90000000\n"}, 90_000_000),
        ("9:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/\n", {}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, limits: dict[str, str], usable: int) -> None:
    assert usable_memory(system(tmp_path, groups, limits)) == usable


def test_a_system_without_groups_has_what_the_machine_has(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == MACHINE
    assert 0 < usable_memory() <= MACHINE
