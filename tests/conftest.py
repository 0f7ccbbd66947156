"""Fixtures for the whole suite."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from tests.postgres import PostgresServer, running_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the session, started when the first test asks for it."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The libpq URL of a fresh, empty database."""
    with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture(autouse=True, scope="session")
def _quiet_log() -> None:
    """What the program logs is checked where it matters; printing it all takes longer than many tests."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
