"""Receivers of webhooks in a process of their own, which take their time."""

from __future__ import annotations

import sys
from functools import partial

import trio

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


async def receive(stream: trio.SocketStream, latency: float) -> None:
    """Answer requests on one connection until it is closed."""
    data = b""
    while piece := await stream.receive_some(65536):
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head):
            data = b""
            await trio.sleep(latency)
            await stream.send_all(ANSWER)


def _length(head: bytes) -> int:
    (value,) = (line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(value)


async def main(count: int, latency: float) -> None:
    listeners = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(count)]
    print(*(listener.socket.getsockname()[1] for listener in listeners), flush=True)
    await trio.serve_listeners(partial(_contained, latency=latency), listeners)


async def _contained(stream: trio.SocketStream, latency: float) -> None:
    try:
        await receive(stream, latency)
    except trio.BrokenResourceError:
        return


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), float(sys.argv[2]))
