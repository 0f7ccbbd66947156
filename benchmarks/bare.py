"""The raw operations: the same rows in bare tables, without anything around them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=1000", "temp_store=MEMORY")
Rows = Sequence[tuple[Any, ...]]


@contextmanager
def _sqlite(folder: Path) -> Iterator[sqlite3.Connection]:
    path = folder / "bare.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        yield connection
    for file in folder.glob("bare.db*"):
        file.unlink()


def append(folder: Path, rows: Rows, *, page: int) -> tuple[float, float]:
    """Rows a second by executemany into a bare SQLite table, `page` rows a transaction; and back out again."""
    marks = ", ".join("?" * len(rows[0]))
    with _sqlite(folder) as connection:
        connection.execute(f"CREATE TABLE bare ({', '.join(f'c{n}' for n in range(len(rows[0])))})")
        began = time.perf_counter()
        for first in range(0, len(rows), page):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT INTO bare VALUES ({marks})", rows[first : first + page])
            connection.execute("COMMIT")
        written = time.perf_counter() - began
        return len(rows) / written, len(rows) / _read(connection, f"c{len(rows[0]) - 1}")


def _read(connection: Any, column: str) -> float:
    began = time.perf_counter()
    cursor = connection.execute(f"SELECT {column} FROM bare")
    with Path("/dev/null").open("wb") as nowhere:
        while lines := cursor.fetchmany(1000):
            nowhere.write("\n".join([line for (line,) in lines]).encode())
    return time.perf_counter() - began


def copy(url: str, rows: Rows) -> tuple[float, float]:
    """Rows a second by one plain COPY into a bare PostgreSQL table; and back out again."""
    names = [f"c{n}" for n in range(len(rows[0]))]
    types = ["bigint" if isinstance(value, int) else "text" for value in rows[0]]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE bare ({', '.join(f'{n} {t}' for n, t in zip(names, types, strict=True))})")
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as stream:
            for row in rows:
                stream.write_row(row)
        written = time.perf_counter() - began
        read = _read(connection, names[-1])
        connection.execute("DROP TABLE bare")
    return len(rows) / written, len(rows) / read
