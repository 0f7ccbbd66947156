"""Copies of a SQLite database, made and put back through SQLite's own interface, never by copying files."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import attrs

from backburner.errors import StorageUnusable

SIDES = ("-wal", "-shm", "")  # the file itself last: without it there is no database


@attrs.frozen
class Contents:
    """What somebody who is about to replace a database wants to know of it."""

    jobs: int
    newest: str | None  #: when the newest job was made

    def __str__(self) -> str:
        made = f", the newest of {self.newest} UTC" if self.newest else ""
        return f"{self.jobs:,} jobs{made}"


def back_up(source: Path, destination: Path) -> None:
    """Copy a live database. The copy appears whole, on the disk, or not at all; only its owner can read it."""
    partial = destination.with_name(destination.name + ".partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        # In one step: a copy made in several begins again whenever somebody writes in between.
        with closing(sqlite3.connect(_uri(source, "ro"), uri=True)) as live, closing(sqlite3.connect(partial)) as copy:
            live.backup(copy)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    _sync(destination.parent)


def put_back(source: Path, target: Path) -> None:
    """Make the contents of `target` those of `source`, in one transaction: it is the old or the new at any moment.

    Whoever reads `target` meanwhile goes on reading what there was.
    """
    with closing(sqlite3.connect(_uri(source, "ro"), uri=True)) as copy, closing(sqlite3.connect(target)) as live:
        live.execute("PRAGMA synchronous=FULL")
        copy.backup(live)


def set_aside(target: Path, kept: Path) -> None:
    """Keep a database under another name: a copy of it, or the files as they are when it is damaged."""
    try:
        back_up(target, kept)
    except sqlite3.DatabaseError:
        for side in SIDES:
            with suppress(FileNotFoundError):
                target.with_name(target.name + side).replace(kept.with_name(kept.name + side))


def contents(path: Path) -> Contents:
    """Raises StorageUnusable for what is not a sound database of ours."""
    try:
        with closing(sqlite3.connect(_uri(path, "ro"), uri=True)) as found:
            verdict = found.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict == "ok":
                return Contents(*found.execute("SELECT count(*), max(created_at) FROM jobs").fetchone())
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    raise StorageUnusable(f"{path} is not a sound database of Backburner: {verdict}.")


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
