"""A server on a free port, and a client that says exactly what it is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import attrs
import trio
from tests.http.edge import edge_app

from backburner.http.binding import Address, bind
from backburner.http.hosting import serve_http

OK = b'{"ok":true}\n'


@attrs.frozen
class Server:
    address: Address
    stop: trio.Event
    stopped: trio.Event

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.address.host, self.address.port)

    async def exchange(self, *pieces: bytes) -> bytes:
        """What the server says until it closes, to these pieces on one connection."""
        async with await self.connect() as stream:
            for piece in pieces:
                await send(stream, piece)
            return await read_all(stream)

    async def is_well(self) -> bool:
        answer = await self.exchange(get("/v1/ok", "Connection: close"))
        return answer.startswith(b"HTTP/1.1 200") and answer.endswith(OK)


@asynccontextmanager
async def served(
    app: Any = None, *, graceful_timeout: float = 5.0, timeout: float = 60.0, **options: Any
) -> AsyncIterator[Server]:
    stop, stopped, numbers = trio.Event(), trio.Event(), count(1)
    options.setdefault("new_request_id", lambda: f"req_server_{next(numbers)}")

    async def run(task_status: trio.TaskStatus[Address]) -> None:
        await serve_http(
            app or edge_app(batch_limit=10_000_000),
            bound=await bind("127.0.0.1", 0),
            stop=stop,
            graceful_timeout=graceful_timeout,
            task_status=task_status,
            **options,
        )
        stopped.set()

    with trio.fail_after(timeout):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(partial(run))
            yield Server(address, stop, stopped)
            stop.set()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


def post(path: str, *headers: str) -> bytes:
    return get(path, "Content-Type: application/x-ndjson", *headers).replace(b"GET", b"POST", 1)


async def send(stream: trio.SocketStream, data: bytes) -> None:
    """As far as the server takes it."""
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def read_all(stream: trio.SocketStream) -> bytes:
    answer = b""
    try:
        while data := await stream.receive_some():
            answer += data
    except trio.BrokenResourceError:
        answer += b"<reset>"
    return answer


async def read_answer(stream: trio.SocketStream, ending: bytes) -> bytes:
    answer = b""
    while not answer.endswith(ending):
        data = await stream.receive_some()
        assert data, answer
        answer += data
    return answer


def parsed(answer: bytes) -> tuple[int, str]:
    """Status and error code of the one answer in `answer`, which must have the envelope and an id."""
    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)
    assert f"request-id: {error['request_id']}".encode() in head
    return int(head.split()[1]), error["error"]["code"]
