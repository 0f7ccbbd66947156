"""Fixtures for the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.http.api import Api, open_api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with open_api() as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
async def api_on_each(request) -> AsyncIterator[Api]:
    """The same on both databases."""
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    async with open_api(url) as found:
        yield found
