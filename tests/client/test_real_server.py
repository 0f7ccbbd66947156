"""Both clients against a real server in a process of its own."""

from __future__ import annotations

import anyio
import pytest
from tests.processes.harness import KEY, serve

from backburner import AsyncClient, Client

pytestmark = pytest.mark.processes

REQUESTS = [
    {
        "custom_id": f"c-{number}",
        "params": {"model": "claude-haiku-5-5", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]},
    }
    for number in range(5)
]
IDS = [request["custom_id"] for request in REQUESTS]


def with_client(url: str) -> None:
    with Client(url, KEY) as client:
        job = client.submit((request for request in REQUESTS), metadata={"who": "sync"})
        seen = [event.job.status for event in client.events(job.id)]
        assert (seen[-1], client.wait(job).counts.succeeded) == ("completed", 5)
        with client.results(job.id) as results:
            assert [result.custom_id for result in results] == IDS
        assert [item.custom_id for item in client.items(job.id, limit=2)] == IDS
        assert job.id in [found.id for found in client.jobs(limit=1)]
        assert client.delete(job.id).id == job.id


async def with_async_client(url: str) -> None:
    async with AsyncClient(url, KEY) as client:
        job = await client.submit(iter(REQUESTS), metadata={"who": "async"})
        async with client.events(job.id) as events:
            seen = [event.job.status async for event in events]
        assert (seen[-1], (await client.wait(job)).counts.succeeded) == ("completed", 5)
        async with client.results(job.id) as results:
            assert [result.custom_id async for result in results] == IDS
        assert [item.custom_id async for item in client.items(job.id, limit=2)] == IDS
        assert (await client.scheduler())["is_leader"] is True


def test_a_batch_is_submitted_followed_and_read(tmp_path):
    with serve(tmp_path, environ={"BACKBURNER_SANDBOX_BATCH_SECONDS": "1"}) as server:
        with_client(server.url)
        for backend in ("trio", "asyncio"):
            anyio.run(with_async_client, server.url, backend=backend)
