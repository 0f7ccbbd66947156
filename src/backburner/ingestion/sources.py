"""Where a file is read from: the database, or a folder of this machine that is allowed."""

from __future__ import annotations

import errno
import io
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import PurePosixPath
from typing import IO, Any

import attrs

from backburner.errors import GiveUp, Invalid
from backburner.files import File, Part
from backburner.storage import files
from backburner.storage.database import Tx

#: What the machine answers for a path that leads to no file that may be read; anything else may pass.
_NOT_THERE = frozenset(
    {errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.EPERM}
)


@attrs.frozen(kw_only=True)
class Source:
    """A file about to be read."""

    file: IO[bytes]
    name: str
    size: int  #: bytes


class StoredFile(io.RawIOBase):
    """An uploaded file. Read inside `with reading(tx)`, piece by piece; the last piece is kept."""

    def __init__(self, file: File, parts: Sequence[Part]) -> None:
        super().__init__()
        self.file, self._parts = file, parts
        self._ends = list(accumulate(part.bytes for part in parts))
        self._position = 0
        self._start, self._piece = 0, b""  # where the piece is in the file
        self._tx: Tx | None = None

    @contextmanager
    def reading(self, tx: Tx) -> Iterator[None]:
        self._tx = tx
        try:
            yield
        finally:
            self._tx = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.file.bytes}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if not self._start <= self._position < self._start + len(self._piece):
            self._load()
        begin = self._position - self._start
        taken = self._piece[begin : begin + len(buffer)]
        buffer[: len(taken)] = taken
        self._position += len(taken)
        return len(taken)

    def _load(self) -> None:
        """Have the piece that begins at the position; an empty one at the end."""
        self._start, self._piece = self._position, b""
        index = bisect_right(self._ends, self._position)
        if index == len(self._ends):
            return
        part = self._parts[index]
        assert self._tx is not None, "read outside `reading`"  # noqa: S101
        inside = self._position - (self._ends[index] - part.bytes)
        self._piece = files.piece_of(self._tx, self.file.key, part.number, inside)
        if not self._piece:
            raise gone(self.file.id)


def gone(file_id: str) -> GiveUp:
    """The file is not there, or not one that this organization may know of."""
    return GiveUp(f"There is no file {file_id!r}; it may have been deleted.", code="file_not_found")


def below(folder: str | None, path: str) -> tuple[str, Sequence[str]]:
    """The allowed folder, and the names that lead from it to the file. Raises Invalid for a path that leads out."""
    if folder is None:
        message = "This server reads no files of its own machine: its setting ingest_folder is not set."
        raise Invalid(message, code="ingest_folder_not_set", param="path")
    root, wanted = PurePosixPath(os.path.abspath(folder)), PurePosixPath(path)  # noqa: PTH100  # resolves no links
    if wanted.is_absolute():
        if not wanted.is_relative_to(root):
            raise _outside(path)
        wanted = wanted.relative_to(root)
    if ".." in wanted.parts or not wanted.parts or "\0" in path:
        raise _outside(path)
    return str(root), wanted.parts


def open_below(folder: str, names: Sequence[str]) -> Source:
    """The file that the names lead to. No symbolic link is followed, so that none leads out of the folder.

    Raises GiveUp when there is none, and OSError when the machine cannot tell now.
    """
    try:
        found = _walk(folder, names)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        message = f"{'/'.join(names)} below the ingest folder cannot be read: {error.strerror}. Links are not followed."
        raise GiveUp(message, code="file_not_found") from error
    state = os.fstat(found)
    if not stat.S_ISREG(state.st_mode):
        os.close(found)
        raise GiveUp(f"{'/'.join(names)} below the ingest folder is not a file.", code="file_not_found")
    return Source(file=os.fdopen(found, "rb"), name=names[-1], size=state.st_size)


def _walk(folder: str, names: Sequence[str]) -> int:
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)


def _outside(path: str) -> Invalid:
    return Invalid(f"{path!r} is not below the ingest folder.", code="path_not_allowed", param="path")
