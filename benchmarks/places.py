"""Fresh databases to measure on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import running_server

#: As an operator would run it: what is committed is on the disk.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "256MB"}


@contextmanager
def fresh(database: str) -> Iterator[tuple[Path, str]]:
    """A temporary folder and the URL of an empty database, SQLite's in that folder."""
    with tempfile.TemporaryDirectory(prefix="backburner-bench-") as folder:
        place = Path(folder)
        if database == "sqlite":
            yield place, f"sqlite:///{place}/bench.db"
            return
        with running_server(**DURABLE) as server, server.database() as name:
            yield place, server.url(name)
