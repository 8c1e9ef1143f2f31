"""Files that only the account that runs this may read: ledger, MLflow's database, alerts, Dagster's storage.

Here: making them so, under any umask, and finding those that are not. Not here: what is in them. What exists already
is left as it is, and reported (`status --check`); a volume that belongs to another account is theirs to close.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

FOLDER, FILE, OTHERS = 0o700, 0o600, 0o077


def close_new_files() -> None:
    """Make files that this process and its children create readable by its own account only."""
    # `umask` can only be read by setting it; what it already forbids stays forbidden.
    os.umask(os.umask(OTHERS) | OTHERS)


def private_folder(folder: Path) -> Path:
    """The folder; made with its parents if it is missing, and then for this account only."""
    if not folder.is_dir():
        folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    return folder


def private_file(file: Path) -> Path:
    """The file; made empty if it is missing, for this account only. SQLite gives its mode to what it puts beside it."""
    private_folder(file.parent)
    with suppress(FileExistsError):
        # Created with its mode: a `chmod` afterwards would leave it open for a moment.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
    return file


def exposed(home: Path, files: Iterable[Path]) -> Iterator[str]:
    """Each of the home folder and the files that other accounts can read, with the command that closes it."""
    for place in (home, *files):
        with suppress(FileNotFoundError):
            found = place.stat()
            mode = stat.S_IMODE(found.st_mode)
            if found.st_uid == os.geteuid() and mode & OTHERS:
                closed = FOLDER if place == home else FILE
                yield f"other accounts can read {place} (mode {mode:04o}): chmod {closed:o} {place}"
