"""Where a command saves what it was asked for: standard output, a file, a pipe or a device."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import attrs

from backburner.cli.exits import CommandError, Exit
from backburner.plain_text import json_text
from backburner.private_files import is_database

_CHUNK = 1024 * 1024  # bytes


def check_output(path: str) -> None:
    """Raises CommandError (usage) for a path to which nothing can be written."""
    state, folder = _state_of(path), os.path.dirname(os.path.realpath(path)) or "."  # noqa: PTH120
    reason = None
    if state is not None and stat.S_ISDIR(state.st_mode):
        reason = errno.EISDIR
    elif state is None and not Path(folder).is_dir():
        reason = errno.ENOENT
    elif not os.access(folder if state is None else path, os.W_OK):
        reason = errno.EACCES
    if path != "-" and reason is not None:
        raise CommandError(f"Cannot write {path}: {os.strerror(reason)}.", Exit.USAGE)
    if path != "-" and is_database(Path(os.path.realpath(path))):
        raise CommandError(f"Cannot write {path}: it is a database, perhaps a server's; name another file.", Exit.USAGE)


@contextmanager
def saved(path: str) -> Iterator[IO[bytes]]:
    """A file to write to; what was written is at `path` when the block has ended well, else nothing of it.

    A regular file is replaced and keeps its mode and owner, a link stays and leads to the new content. Into a pipe or a
    device it goes as it comes. `-` is standard output. Raises CommandError.
    """
    if path == "-":
        yield standard_output()
        return
    try:
        with _target(path) as target:
            yield target
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror or error}.") from None


def standard_output() -> IO[bytes]:
    """For lines of JSON: as they are, and on a terminal without characters that act on it."""
    raw = sys.stdout.buffer
    return cast("IO[bytes]", _ForTerminal(raw)) if sys.stdout.isatty() else raw


@contextmanager
def _target(path: str) -> Iterator[IO[bytes]]:
    state = _state_of(path)
    # What stands for an open file, such as /dev/stdout, is no place that could be replaced.
    is_regular = state is None or stat.S_ISREG(state.st_mode)
    if not is_regular or path.startswith(("/dev/", "/proc/")):
        with Path(path).open("wb") as target:
            yield target
        return
    place = Path(os.path.realpath(path))
    way = _replaced if state is None or _may_replace(place, state) else _overwritten
    with way(place, state) as target:
        yield target


def _state_of(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


def _may_replace(place: Path, state: os.stat_result) -> bool:
    """Whether nobody notices: no other name of the file, the same owner, and a folder that takes new files."""
    is_ours = state.st_uid == os.geteuid() or os.geteuid() == 0
    return state.st_nlink == 1 and is_ours and os.access(place.parent, os.W_OK)


@contextmanager
def _replaced(place: Path, state: os.stat_result | None) -> Iterator[IO[bytes]]:
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if state is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            yield target
            if state is not None:
                os.fchown(descriptor, state.st_uid, state.st_gid if os.geteuid() == 0 else -1)
                os.fchmod(descriptor, stat.S_IMODE(state.st_mode))
        _put(part, place)
    finally:
        part.unlink(missing_ok=True)


def _put(part: Path, place: Path) -> None:
    try:
        part.replace(place)
    except OSError as error:
        if error.errno != errno.EBUSY:  # a file that is mounted into a container
            raise
        with part.open("rb") as source, place.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)


@contextmanager
def _overwritten(place: Path, _state: os.stat_result | None) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as kept:
        yield kept
        kept.seek(0)
        with place.open("wb") as target:
            shutil.copyfileobj(kept, target, _CHUNK)


@attrs.frozen
class _ForTerminal:
    _raw: IO[bytes]

    def write(self, lines: bytes) -> int:
        text = lines.decode("utf-8", "surrogateescape")
        return self._raw.write("\n".join(map(json_text, text.split("\n"))).encode())

    def flush(self) -> None:
        self._raw.flush()
