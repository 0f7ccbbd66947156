"""The adapter over real connections to a tiny server."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from tests.providers.anthropic_fake import BATCH, BATCHES, KEY, batch, ended

from backburner.errors import ResultsBroken, SubmissionInterrupted
from backburner.providers.anthropic import AnthropicProvider, open_anthropic
from backburner.providers.base import WireRequest

pytestmark = pytest.mark.sockets

LINES = [b'{"custom_id":"r%d","result":{"type":"expired"}}' % n for n in range(1000)]
Respond = Callable[[str, trio.SocketStream], Awaitable[None]]


async def read_head(stream: trio.SocketStream) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    return head.split(b"\r\n")[0].decode()


async def respond_json(stream: trio.SocketStream, body: object) -> None:
    content = json.dumps(body).encode()
    await stream.send_all(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(content) + content
    )


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[str]:
    """Serve one request per connection; gives the base URL."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await respond(await read_head(stream), stream)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def provider_of(respond: Respond) -> AsyncIterator[AnthropicProvider]:
    async with (
        serving(respond) as base_url,
        open_anthropic(api_key=KEY, base_url=base_url, request_timeout=20) as provider,
    ):
        yield provider


async def reset(stream: trio.SocketStream) -> None:
    """Close so that the other side gets a reset, as soon as everything sent has left."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    await stream.aclose()


@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_every_complete_line_before_a_connection_breaks_is_given(ending, monkeypatch):
    # A proxy named in the environment is no way to this machine.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    received = trio.Event()

    async def respond(request: str, stream: trio.SocketStream) -> None:
        if not request.startswith(f"GET {BATCHES}/msgbatch_1/results "):
            await respond_json(stream, ended(results_url=f"{BATCHES}/msgbatch_1/results"))
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n")
        await stream.send_all(b"".join(line + b"\n" for line in LINES) + b'{"custom_id":"half')
        await received.wait()
        if ending == "reset":
            await reset(stream)

    got: list[bytes] = []
    async with provider_of(respond) as provider, provider.results(BATCH) as lines:
        while len(got) < len(LINES):
            got += await lines.next_lines()
        received.set()
        with pytest.raises(ResultsBroken):
            await lines.next_lines()
    assert got == LINES


async def test_a_server_that_cuts_a_large_body_off_has_made_nothing():
    async def respond(request: str, stream: trio.SocketStream) -> None:
        await reset(stream)

    requests = [WireRequest(custom_id=f"r{n}", params=b'"%b"' % (b"x" * 1_000_000)) for n in range(64)]
    async with provider_of(respond) as provider:
        with pytest.raises(SubmissionInterrupted):
            await provider.submit(requests, {})


async def test_a_large_body_arrives_whole():
    bodies = []

    async def respond(request: str, stream: trio.SocketStream) -> None:
        body = b""
        while not body.endswith(b"]}"):
            body += await stream.receive_some(1_000_000)
        bodies.append(body)
        await respond_json(stream, batch())

    requests = [WireRequest(custom_id=f"r{n}", params=b'"%b"' % (b"x" * 100_000)) for n in range(20)]
    async with provider_of(respond) as provider:
        await provider.submit(requests, {})
    sent = json.loads(bodies[0])["requests"]
    assert [entry["custom_id"] for entry in sent] == [f"r{n}" for n in range(20)]


async def test_leaving_or_cancelling_at_any_point_leaves_nothing_open():
    stuck = trio.Event()

    async def respond(request: str, stream: trio.SocketStream) -> None:
        if request.startswith(f"GET {BATCHES}/msgbatch_1 "):
            await respond_json(stream, ended(results_url=f"{BATCHES}/msgbatch_1/results"))
            return
        if request.startswith("GET"):
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + LINES[0] + b"\n")
        stuck.set()
        await trio.sleep_forever()

    async def submit(provider: AnthropicProvider) -> None:
        await provider.submit([WireRequest(custom_id="r", params=b'"%b"' % (b"x" * 30_000_000))], {})

    async with provider_of(respond) as provider:
        async with provider.results(BATCH) as lines:
            assert await lines.next_lines() == LINES[:1]
        stuck = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit, provider)
            await stuck.wait()
            nursery.cancel_scope.cancel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
