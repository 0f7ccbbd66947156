"""Where a sandbox keeps its batches: in memory, or in a file that survives the death of the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

import attrs
import msgspec

from backburner.private_files import make_private
from backburner.providers.sandbox.batches import Batch

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    sequence INTEGER PRIMARY KEY, record BLOB, deleted INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS page (
    sequence INTEGER NOT NULL, number INTEGER NOT NULL, items BLOB NOT NULL,
    PRIMARY KEY (sequence, number)) STRICT, WITHOUT ROWID;
"""


class StoreFailed(Exception):
    """Nothing was kept, or nothing can be read."""


class Store(Protocol):
    """Every change is kept when its method returns. Methods may be called from several threads. Raise StoreFailed."""

    def load(self) -> tuple[list[Batch], int]:
        """The batches in the order of their making, and the highest sequence that was ever given."""
        ...

    def add(self, batch: Batch, pages: Sequence[bytes]) -> None: ...

    def replace(self, batch: Batch) -> None: ...

    def delete(self, sequence: int) -> None: ...

    def page(self, sequence: int, number: int) -> bytes | None:
        """One page of a batch's items; None behind the last one, or when the batch was deleted meanwhile."""
        ...

    def close(self) -> None: ...


@attrs.define
class MemoryStore:
    """Forgets everything with the process."""

    _pages: dict[int, list[bytes]] = attrs.field(factory=dict, init=False)

    def load(self) -> tuple[list[Batch], int]:
        return [], 0

    def add(self, batch: Batch, pages: Sequence[bytes]) -> None:
        self._pages[batch.sequence] = list(pages)

    def replace(self, batch: Batch) -> None:
        """Nothing to keep: the engine has it."""

    def delete(self, sequence: int) -> None:
        self._pages.pop(sequence, None)

    def page(self, sequence: int, number: int) -> bytes | None:
        pages = self._pages.get(sequence, [])
        return pages[number] if number < len(pages) else None

    def close(self) -> None:
        self._pages.clear()


class SqliteStore:
    """A file of its own. Survives kill -9; the last moments before a power failure may be lost."""

    def __init__(self, path: Path) -> None:
        # Reading pages must not wait for a large batch that another thread is writing.
        self._writer = _connect(path)
        self._writer.executescript(_SCHEMA)
        self._reader = _connect(path)
        self._writing = Lock()
        self._reading = Lock()

    def load(self) -> tuple[list[Batch], int]:
        with self._reading:
            rows = self._reader.execute("SELECT record FROM batch WHERE NOT deleted ORDER BY sequence").fetchall()
            (highest,) = self._reader.execute("SELECT coalesce(max(sequence), 0) FROM batch").fetchone()
        return [msgspec.msgpack.decode(record, type=Batch) for (record,) in rows], highest

    def add(self, batch: Batch, pages: Sequence[bytes]) -> None:
        rows = [(batch.sequence, number, page) for number, page in enumerate(pages)]
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany("INSERT INTO page VALUES (?, ?, ?)", rows)
            self._writer.execute(
                "INSERT INTO batch (sequence, record) VALUES (?, ?)", (batch.sequence, msgspec.msgpack.encode(batch))
            )

    def replace(self, batch: Batch) -> None:
        with self._writing:
            record = msgspec.msgpack.encode(batch)
            self._writer.execute("UPDATE batch SET record = ? WHERE sequence = ?", (record, batch.sequence))

    def delete(self, sequence: int) -> None:
        """The row stays without its content, so that its sequence is never given again."""
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute("UPDATE batch SET deleted = 1, record = NULL WHERE sequence = ?", (sequence,))
            self._writer.execute("DELETE FROM page WHERE sequence = ?", (sequence,))

    def page(self, sequence: int, number: int) -> bytes | None:
        with self._reading:
            found = self._reader.execute(
                "SELECT items FROM page WHERE sequence = ? AND number = ?", (sequence, number)
            ).fetchone()
        return None if found is None else bytes(found[0])

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
