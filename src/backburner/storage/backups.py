"""Copies of a SQLite database, made and put back through SQLite's own interface, never by copying files."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import attrs

from backburner.errors import Invalid, StorageUnusable
from backburner.private_files import is_same_file, make_private, private_draft, sync

SIDES = ("-wal", "-shm", "-journal", "")  # the file itself last: without it there is no database
_BESIDE = ("", "-wal", "-shm", "-journal", ".lock", ".sandbox", ".sandbox-wal", ".sandbox-shm")
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Damaged(StorageUnusable):
    """A file is not a sound SQLite database."""


@attrs.frozen
class Contents:
    """What somebody who is about to replace a database wants to know of it."""

    jobs: int
    newest: str | None  #: when the newest job was made

    def __str__(self) -> str:
        made = f", the newest of {self.newest} UTC" if self.newest else ""
        return f"{self.jobs:,} jobs{made}"


def back_up(source: Path, destination: Path, *, may_replace: bool = False) -> None:
    """Copy a live database. The copy appears whole, verified and on the disk, or not at all, for its owner only.

    Raises Damaged for a source that is not sound, Invalid for a destination that belongs to the source, is no
    regular file, or is there already (without `may_replace`), OSError and sqlite3.Error.
    """
    target = _checked_target(source, destination, may_replace=may_replace)
    draft = private_draft(target)
    try:
        _copy(source, draft)
        verify(draft)
        sync(draft)
        _checked_target(source, destination, may_replace=may_replace)  # it may have appeared meanwhile
        draft.replace(target)
    finally:
        for side in SIDES:
            draft.with_name(draft.name + side).unlink(missing_ok=True)
    sync(target.parent)


def files_of(database: Path) -> list[Path]:
    """A database and what is kept beside it, whether or not it is there."""
    real = database.resolve()
    return [real.with_name(real.name + end) for end in _BESIDE]


def belongs_to(database: Path, path: Path) -> bool:
    """Whether a path leads to a database or to a file that is kept beside it, under whatever name."""
    return any(is_same_file(file, path) for file in files_of(database))


def refuse_own(source: Path, destination: Path) -> None:
    """Raises Invalid for a destination that belongs to the source."""
    if belongs_to(source, destination):
        raise Invalid(f"{destination} belongs to the database {source} itself; name another file.", param="PATH")


def _checked_target(source: Path, destination: Path, *, may_replace: bool) -> Path:
    """The file to make, links resolved."""
    refuse_own(source, destination)
    target = destination.resolve()
    if target.exists() and not target.is_file():
        raise Invalid(f"{destination} is no regular file; name another one.", param="PATH")
    if target.exists() and not may_replace:
        raise Invalid(f"{destination} exists; name another file, or replace it with --force.", param="PATH")
    for side in ("-wal", "-journal"):
        if _has_content(left := target.with_name(target.name + side)):
            message = f"{left} is there: {destination} is a database in use, or of a program that died."
            raise Invalid(f"{message} Name another file.", param="PATH")
    return target


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _copy(source: Path, draft: Path) -> None:
    uri = _uri(source, "mode=ro")
    try:
        with closing(sqlite3.connect(uri, uri=True)) as live, closing(sqlite3.connect(draft)) as copy:
            # In one step: a copy made in several begins again whenever somebody writes in between.
            live.backup(copy)
            # One file: of a copy with a WAL even readers make files beside it, and cannot where none may be made.
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.DatabaseError as error:
        raise _damage(source, error) or error from error


def verify(path: Path) -> None:
    """Read the whole file, which nobody may be using. Raises Damaged."""
    try:
        with closing(sqlite3.connect(_uri(path, "immutable=1"), uri=True)) as found:
            verdict = found.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise _damage(path, error) or error from error
    if verdict != "ok":
        raise Damaged(f"The database is damaged ({' '.join(verdict.split())}); no copy was made. Restore a backup.")


def _damage(path: Path, error: sqlite3.DatabaseError) -> Damaged | None:
    """None for an error that says nothing about what is in the file, such as a full disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extends it
    return Damaged(f"{path} is not a sound database: {error}.") if code in _DAMAGE else None


def put_back(source: Path, target: Path) -> None:
    """Make the contents of `target` those of `source`, in one transaction: it is the old or the new at any moment.

    Whoever reads `target` meanwhile goes on reading what there was.
    """
    make_private(target)
    with closing(sqlite3.connect(_uri(source, "mode=ro"), uri=True)) as copy, closing(sqlite3.connect(target)) as live:
        live.execute("PRAGMA synchronous=FULL")
        copy.backup(live)


def set_aside(target: Path, kept: Path) -> None:
    """Keep a database under another name: a copy of it, or the files as they are when it is damaged."""
    try:
        back_up(target, kept)
    except Damaged:
        for side in SIDES:
            with suppress(FileNotFoundError):
                target.with_name(target.name + side).replace(kept.with_name(kept.name + side))


def contents(path: Path) -> Contents:
    """Raises StorageUnusable for what is not a sound database of ours."""
    try:
        with closing(sqlite3.connect(_uri(path, "mode=ro"), uri=True)) as found:
            verdict = found.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict == "ok":
                return Contents(*found.execute("SELECT count(*), max(created_at) FROM jobs").fetchone())
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    raise StorageUnusable(f"{path} is not a sound database of Backburner: {verdict}.")


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"
