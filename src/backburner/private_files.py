"""Files that hold what tenants sent: made for their owner only, and recognised under any name."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_SIDES = ("-wal", "-shm", "-journal")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(path: Path) -> None:
    """Make an empty file of mode 0600 if there is none; what is there keeps its mode. Raises OSError.

    A file that is there is not opened: closing it again would give back the locks that SQLite holds on it here.
    """
    with suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def private_draft(target: Path) -> Path:
    """A new empty file beside `target`, of mode 0600, under a name that nothing else has. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(descriptor)
    return Path(name)


def free_name(path: Path) -> Path:
    """`path`, or the first of `path`-2, `path`-3, … that nothing has."""
    names = chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))
    return next(name for name in names if not os.path.lexists(name))


def others_may_open(path: Path) -> bool:
    """Whether the mode lets anybody but the owner at the file; False for what is not there."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database, or one that SQLite keeps beside it. For who has no database open itself."""
    stem = next((path.with_name(path.name.removesuffix(end)) for end in _SIDES if path.name.endswith(end)), path)
    try:
        return stem.is_file() and _begins_as_database(stem)
    except OSError:
        return False


def _begins_as_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by a link of either kind or as the same name of a file yet to be made."""
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()


def sync(path: Path) -> None:
    """Return when the file or folder is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
