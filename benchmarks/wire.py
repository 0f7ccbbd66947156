"""A client so thin that what is measured is the server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import msgspec
import trio
from tests.processes.harness import KEY

_LENGTH = b"\r\ncontent-length: "


def request(method: str, path: str, value: object = None) -> bytes:
    """The bytes of a request, with the key of the benchmarks."""
    body = b"" if value is None else msgspec.json.encode(value)
    kind = b"" if value is None else b"content-type: application/json\r\n"
    head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {KEY}\r\n".encode()
    return head + kind + b"content-length: %d\r\n\r\n" % len(body) + body


@attrs.define(eq=False)
class Wire:
    """One connection, kept alive."""

    stream: trio.SocketStream
    _pending: bytes = b""

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send a request; the answer's status and body, which must have a length."""
        await self.stream.send_all(data)
        while b"\r\n\r\n" not in self._pending:
            self._pending += await self._some()
        head, _, body = self._pending.partition(b"\r\n\r\n")
        length = int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += await self._some()
        self._pending = body[length:]
        return int(head[9:12]), body[:length]

    async def _some(self) -> bytes:
        data = await self.stream.receive_some(65536)
        if not data:
            raise RuntimeError("the server closed the connection")
        return bytes(data)


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """A connection to a server."""
    parts = urlsplit(url)
    async with await trio.open_tcp_stream(parts.hostname or "", parts.port or 80) as stream:
        yield Wire(stream)


async def hammered(url: str, asked: Sequence[bytes], *, at_once: int, status: int) -> tuple[float, list[float]]:
    """Ask everything over that many connections: requests a second, and the seconds that each took."""
    left, took = iter(asked), list[float]()

    async def worker() -> None:
        async with wire(url) as connection:
            for data in left:
                began = time.perf_counter()
                found, body = await connection.ask(data)
                took.append(time.perf_counter() - began)
                if found != status:
                    raise RuntimeError(f"answered {found}: {body[:500]!r}")

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(worker)
    return len(asked) / (time.perf_counter() - began), took
