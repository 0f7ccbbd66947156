"""Anthropic's own client in front of the application, without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
from tests.http.api import Answer, Api

HEADERS = {"anthropic-version": "2026-10-21"}
BATCHES = "/anthropic/v1/messages/batches"


@asynccontextmanager
async def open_client(api: Api, **options: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    transport = httpx2.ASGITransport(app=api.client.app)
    async with anthropic.AsyncAnthropic(
        api_key=options.pop("api_key", api.keys["write"]),
        base_url="http://gateway.test/anthropic",
        http_client=anthropic.DefaultAsyncHttpxClient(transport=transport),
        max_retries=0,
        **options,
    ) as client:
        yield client


async def ask(api: Api, method: str, path: str = "", *, headers: Mapping[str, str] = HEADERS, **options: Any) -> Answer:
    """One request below the list of batches, as curl would make it."""
    return await api.call(method, f"{BATCHES}{path}", headers=headers, **options)
