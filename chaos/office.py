"""Who leads, as the database tells somebody outside."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import attrs
import psycopg

PATIENCE = 180.0  # seconds that a take-over may take
TERM = """
    SELECT term.epoch, term.instance_id, term.acquired_at, facts.updated_at
    FROM leader_epoch term LEFT JOIN server_facts facts ON facts.name = 'last_cycle'
"""


@attrs.frozen
class Term:
    """The newest term, and when its leader wrote last, if it did. Seconds since 1970."""

    epoch: int
    instance_id: str
    acquired_at: float
    written_at: float | None


class Reader(Protocol):
    def execute(self, query: Any, /) -> Any: ...


@contextmanager
def looking(url: str) -> Iterator[Reader]:
    """A connection of our own to a server's database, of either kind."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as found:
            yield found
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


def term(reader: Reader) -> Term:
    epoch, instance_id, acquired_at, updated_at = reader.execute(TERM).fetchone()
    began = _seconds(acquired_at)
    written = None if updated_at is None else _seconds(updated_at)
    return Term(epoch, instance_id, began, written if written is not None and written >= began else None)


def await_takeover(url: str, after: int, timeout: float = PATIENCE) -> Term:
    """The first term after epoch `after`, once its leader has written. Raises AssertionError."""
    return _await(url, lambda found: found.epoch > after and found.written_at is not None, timeout)


def leader_pid(url: str, after: int, timeout: float = PATIENCE) -> int:
    """The process that leads in the first term after epoch `after`."""
    return int(_await(url, lambda found: found.epoch > after, timeout).instance_id.rpartition("-")[2])


def _await(url: str, enough: Callable[[Term], bool], timeout: float) -> Term:
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        with contextlib.suppress(sqlite3.OperationalError, psycopg.OperationalError), looking(url) as reader:
            while time.monotonic() < until:
                found = term(reader)
                if enough(found):
                    return found
                time.sleep(0.01)
        time.sleep(0.05)
    raise AssertionError(f"nobody took over within {timeout} s")


def epoch_of(url: str) -> int:
    with looking(url) as reader:
        return term(reader).epoch


def database_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _seconds(value: datetime | str) -> float:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
    return value.timestamp()
