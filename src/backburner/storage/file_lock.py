"""One process for one SQLite file: a lock on `<database>.lock`, taken before the database is opened."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import attrs
import msgspec
import structlog
import trio

from backburner.errors import StorageUnusable
from backburner.forks import hide_from_children
from backburner.storage.filesystems import filesystem_magic, network_filesystem

log = structlog.get_logger()

RETRY_INTERVAL = 1.0  #: seconds between a standby's attempts, give or take a half
_RECORD_BYTES = 4096


@attrs.frozen(kw_only=True)
class Holder:
    """Who holds the lock, as written into the lock file."""

    pid: int
    instance_id: str
    since: datetime

    def __str__(self) -> str:
        return f"process {self.pid} (instance {self.instance_id}, since {self.since:%Y-%m-%d %H:%M:%S} UTC)"


class AlreadyHeld(StorageUnusable):
    """Another process has the database. `holder` is None if it has not written its name yet."""

    def __init__(self, path: Path, holder: Holder | None) -> None:
        super().__init__(f"{path} is held by {holder or 'another process'}.")
        self.path = path
        self.holder = holder


@attrs.define(eq=False)
class FileLock:
    """A lock that is held until `close()`, or until the process ends, however it ends and whatever it has forked."""

    path: Path
    _file: int

    def fileno(self) -> int:
        return self._file

    def close(self) -> None:
        """Release. Harmless when called again. The file stays: removing it would let two hold the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_path(database: Path) -> Path:
    """The side file of a database; the same for every path that leads to it by symbolic links."""
    real = database.resolve()
    return real.with_name(f"{real.name}.lock")


def acquire(database: Path, me: Holder, *, magic: Callable[[Path], int | None] = filesystem_magic) -> FileLock:
    """Take the lock or raise `AlreadyHeld`. `StorageUnusable` for a folder that cannot be locked in."""
    path = lock_path(database)
    _refuse_network(path.parent, magic)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageUnusable(f"Cannot open {path}: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_holder(file, me)
    except BlockingIOError:
        holder = _read_holder(file)
        os.close(file)
        raise AlreadyHeld(path, holder) from None
    except OSError as error:
        os.close(file)
        raise StorageUnusable(f"Cannot lock {path}: {error.strerror}.") from error
    lock = FileLock(path, file)
    hide_from_children(lock)
    return lock


async def wait_for(
    database: Path, me: Callable[[], Holder], random: Random, *, magic: Callable[[Path], int | None] = filesystem_magic
) -> FileLock:
    """Take the lock as soon as its holder is gone: a standby's start. Cancelled, it holds nothing.

    `me` is asked at each attempt, so that the file says since when the lock is really held.
    """
    waiting_for: Holder | None = None
    while True:
        try:
            return acquire(database, me(), magic=magic)
        except AlreadyHeld as held:
            if held.holder != waiting_for:
                log.info("standing by", reason=str(held))
                waiting_for = held.holder
        await trio.sleep(RETRY_INTERVAL * random.uniform(0.5, 1.5))


def _refuse_network(folder: Path, magic: Callable[[Path], int | None]) -> None:
    try:
        network = network_filesystem(magic(folder))
    except OSError as error:
        raise StorageUnusable(f"Cannot use the folder {folder}: {error.strerror}.") from error
    if network:
        raise StorageUnusable(f"{folder} is on {network}; SQLite needs a local file system. Use PostgreSQL there.")


def _write_holder(file: int, me: Holder) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, msgspec.json.encode(me), 0)


def _read_holder(file: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(file, _RECORD_BYTES, 0), type=Holder)
    except msgspec.MsgspecError:
        return None
