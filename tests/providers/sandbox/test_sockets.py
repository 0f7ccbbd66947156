"""The sandbox over real HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anthropic
import httpx2
import pytest
import trio
from tests.providers.sandbox.account import BATCHES, HEADERS, make, read_lines, request, requests

from backburner.clock import SystemClock
from backburner.providers.sandbox.engine import Sandbox
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.serve import serve_sandbox

pytestmark = pytest.mark.sockets


@asynccontextmanager
async def served(**options):
    """A sandbox and its address."""
    engine = Sandbox(clock=SystemClock(), options=SandboxOptions(**{"batch_seconds": 0, **options}))
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_sandbox, engine, "127.0.0.1", 0)
        yield engine, f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(**options):
    async with (
        served(**options) as (engine, url),
        httpx2.AsyncClient(base_url=url, headers=HEADERS, timeout=10) as client,
    ):
        yield engine, client


async def test_the_official_client_does_everything_over_a_socket():
    async with served() as (_, url), anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        batches = client.messages.batches
        batch = await batches.create(requests=requests(1000))
        assert (await batches.retrieve(batch.id)).results_url == f"{url}{BATCHES}/{batch.id}/results"
        lines = [line.custom_id async for line in await batches.results(batch.id)]
        assert sorted(lines) == sorted(f"item-{number}" for number in range(1000))
        assert [listed.id async for listed in batches.list()] == [batch.id]
        assert (await batches.cancel(batch.id)).processing_status == "ended"
        assert (await batches.delete(batch.id)).id == batch.id
        with pytest.raises(anthropic.NotFoundError) as raised:
            await batches.retrieve(batch.id)
        assert str(raised.value.request_id).startswith("req_011C")


@pytest.mark.parametrize("target", ["//[", "/%ff%00", "*", "/v1/messages/batches?%ff=%zz&limit"])
async def test_a_strange_target_is_answered_and_harms_nobody(target):
    headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    async with served() as (_, url):
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(f"GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode())
            assert (await stream.receive_some())[:10] == b"HTTP/1.1 4"


async def test_64_clients_are_served_at_once_over_their_own_connections():
    async with connected(latency_seconds=0.2) as (_, client):
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(client.get, BATCHES)
        assert trio.current_time() - started < 0.2 * 32


async def test_a_body_sent_in_chunks_is_read_whole():
    async def chunks():
        yield b'{"requests":['
        yield b'{"custom_id":"a","params":{}}]}'

    async with connected() as (_, client):
        response = await client.post(BATCHES, content=chunks())
        assert response.json()["request_counts"]["errored"] == 1


async def test_a_body_beyond_the_limit_is_refused_before_it_is_sent():
    async with served() as (_, url):
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            head = f"POST {BATCHES} HTTP/1.1\r\nhost: x\r\ncontent-length: {256 * 1024 * 1024 + 1}\r\n\r\n"
            await stream.send_all(head.encode())
            answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"request_too_large"' in answer


async def test_a_client_that_waits_for_permission_to_send_gets_it():
    body = b'{"requests":[{"custom_id":"a","params":{}}]}'
    headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    async with served() as (_, url):
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with stream:
            head = f"POST {BATCHES} HTTP/1.1\r\nhost: x\r\n{headers}expect: 100-continue\r\ncontent-length: {len(body)}"
            await stream.send_all(f"{head}\r\n\r\n".encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(body)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refuse", httpx2.ReadError),
        ("reset", httpx2.ReadError),
        ("close", httpx2.RemoteProtocolError),
        ("lost_response", httpx2.ReadError),
        ("reset_body", httpx2.ReadError),
    ],
)
async def test_a_broken_connection_is_seen_by_its_client_only(fault, error):
    async with connected() as (engine, client):
        engine.faults.add(f"retrieve:{fault}")
        batch_id = await make(client, request(0))
        with pytest.raises(error):
            await client.get(f"{BATCHES}/{batch_id}")
        assert len(await read_lines(client, batch_id)) == 1


async def test_a_connection_is_reset_in_the_middle_of_a_body():
    async with connected() as (engine, client):
        engine.faults.add("create:cut_body=1000000@1-2")
        await make(client, request(0))
        with pytest.raises(httpx2.TransportError):
            await make(client, request(1, "x" * 30_000_000))
        await make(client, request(2, "x" * 3_000_000))
        assert len((await client.get(BATCHES)).json()["data"]) == 2


@pytest.mark.parametrize("fault", ["reset_midline", "close_midline"])
async def test_results_that_break_never_look_complete(fault):
    async with connected() as (engine, client):
        engine.faults.add(f"results:{fault}@1")
        batch_id = await make(client, *requests(1000))
        with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
            await client.get(f"{BATCHES}/{batch_id}/results")
        assert len(await read_lines(client, batch_id)) == 1000


async def test_an_idle_connection_is_closed_and_the_next_request_opens_another():
    async with connected(idle_seconds=0.05) as (_, client):
        assert (await client.get(BATCHES)).status_code == 200
        await trio.sleep(0.2)
        assert (await client.get(BATCHES)).status_code == 200


async def test_a_port_in_use_is_an_error_of_the_start():
    async with served() as (engine, url):
        with pytest.raises(OSError, match="in use"):
            await serve_sandbox(engine, "127.0.0.1", int(url.rpartition(":")[2]))
