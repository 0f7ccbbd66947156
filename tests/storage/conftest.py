"""Fixtures of the conformance suite: one schema for each test file, and nothing that a test does outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock

from backburner.storage import migrate
from backburner.storage.database import open_database


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        yield from _migrated(f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'test.db'}")
        return
    server = request.getfixturevalue("postgres_server")
    with server.database() as name:
        yield from _migrated(server.url(name))


def _migrated(url: str) -> Iterator[sa.Engine]:
    database = open_database(url, random=Random(0), in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=lambda _: None)
    with database.writing.begin() as tx:
        Stock(tx).first_organization()
    try:
        yield database.writing
    finally:
        database.close()


@pytest.fixture
def tx(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is rolled back."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def stock(tx: sa.Connection) -> Stock:
    return Stock(tx)
