"""The SDK, made once: its first import takes more than a second."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest
from tests.http.anthropic.client import open_client


@pytest.fixture
async def sdk(api) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with open_client(api) as found:
        yield found
