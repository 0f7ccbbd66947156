"""A sandbox and its clients, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from backburner.clock import TrioClock
from backburner.providers.sandbox.engine import Sandbox
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.transport import SandboxTransport

BATCHES = "/v1/messages/batches"
HEADERS = {"authorization": "Bearer k", "anthropic-version": "2026-10-21", "content-type": "application/json"}


def new_sandbox(*, path: Path | None = None, **options: Any) -> Sandbox:
    chosen = SandboxOptions(**{"batch_seconds": 60, **options})
    return Sandbox(clock=TrioClock(), options=chosen, path=path)


def request(number: int, text: str = "hello", **params: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "custom_id": f"item-{number}",
        "params": {"model": "claude-haiku-5-5", "max_tokens": 512, "messages": messages, **params},
    }


def requests(count: int, **params: Any) -> list[Any]:
    return [request(number, **params) for number in range(count)]


@asynccontextmanager
async def official(engine: Sandbox) -> AsyncIterator[AsyncAnthropic]:
    """The official client, without a socket."""
    http = DefaultAsyncHttpxClient(transport=SandboxTransport(engine))
    async with AsyncAnthropic(api_key="k", base_url="http://sandbox", max_retries=0, http_client=http) as client:
        yield client


@asynccontextmanager
async def plain(engine: Sandbox, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client, without a socket."""
    async with httpx2.AsyncClient(
        transport=SandboxTransport(engine), base_url="http://sandbox", headers=HEADERS | headers, timeout=600
    ) as client:
        yield client


async def make(client: httpx2.AsyncClient, *items: Any) -> str:
    """Create a batch of these requests and give its id."""
    response = await client.post(BATCHES, json={"requests": list(items)})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def read_lines(client: httpx2.AsyncClient, batch_id: str) -> list[Any]:
    response = await client.get(f"{BATCHES}/{batch_id}/results")
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.content[:-1].split(b"\n")]


async def read_one(client: httpx2.AsyncClient, batch_id: str) -> Any:
    """The result of a batch of one."""
    (line,) = await read_lines(client, batch_id)
    return line["result"]
