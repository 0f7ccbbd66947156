"""The sandbox reached over HTTP/1.1: a small server of its own, because it must be able to misbehave."""

from __future__ import annotations

import socket
import struct
from functools import partial
from http.client import responses
from urllib.parse import parse_qsl, unquote

import h11
import trio

from backburner.forks import hide_from_children
from backburner.providers.sandbox.engine import Admission, Sandbox
from backburner.providers.sandbox.intake import MAX_BYTES, too_large
from backburner.providers.sandbox.service import in_thread
from backburner.providers.sandbox.wire import ApiError, Break, Pause, Request, Response

_RECEIVE_BYTES = 256 * 1024
_DRAIN_SECONDS = 2
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


async def serve_sandbox(
    engine: Sandbox, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled. Reports the port it listens on; port 0 takes a free one. Raises OSError if it cannot."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    for listener in listeners:
        hide_from_children(listener.socket)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, partial(_serve_connection, engine), listeners))
        task_status.started(listeners[0].socket.getsockname()[1])


async def _serve_connection(engine: Sandbox, stream: trio.SocketStream) -> None:
    connection = _Connection(engine, stream)
    try:
        while await connection.serve_one():
            pass
    except (_Broken, trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        pass  # the client went away, or the connection was broken on purpose
    await trio.aclose_forcefully(stream)


class _Broken(Exception):
    """The connection was given up."""


class _Connection:
    """One client's connection; requests follow each other on it."""

    def __init__(self, engine: Sandbox, stream: trio.SocketStream) -> None:
        self._engine = engine
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)

    async def serve_one(self) -> bool:
        """Answer one request. Tells whether another may follow."""
        head: object = None
        with trio.move_on_after(self._engine.options.idle_seconds):
            head = await self._next_event()
        if not isinstance(head, h11.Request):
            return False
        await self._answer(head)
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _answer(self, head: h11.Request) -> None:
        path, _, query = head.target.decode("ascii").partition("?")
        method = head.method.decode("ascii")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        admission = self._engine.admit(method, unquote(path), headers)
        if admission.refused:
            self._break(Break.REFUSE)
        try:
            body = await self._read_body(headers, admission)
        except ApiError as error:
            await self._send(self._engine.refusal(error, headers), last=True)
            await self._drain()
            return
        request = Request(
            method=method,
            origin=f"http://{headers.get('host', 'localhost')}",
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            body=body,
        )
        await self._send(await self._engine.respond(request, admission, in_thread))

    async def _read_body(self, headers: dict[str, str], admission: Admission) -> bytearray:
        """Raises ApiError for one that is too large."""
        length = int(headers["content-length"]) if "content-length" in headers else None
        if length is not None and length > MAX_BYTES:
            raise too_large()
        cut_after = admission.cut_after(length)
        if self._http.they_are_waiting_for_100_continue:
            await self._stream.send_all(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if cut_after is not None and len(body) >= cut_after:
                self._break(Break.RESET)
            if len(body) > MAX_BYTES:
                raise too_large()
        if not isinstance(event, h11.EndOfMessage):
            raise _Broken
        return body

    async def _send(self, response: Response, *, last: bool = False) -> None:
        for event in response.before:
            await self._suffer(event)
        headers = [*response.headers, response.framing, *([("connection", "close")] if last else [])]
        # One write for head and first piece of the body: small answers leave in one packet.
        reason = responses.get(response.status, "").encode()
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        waiting = self._http.send(head) or b""
        for piece in response.pieces:
            if isinstance(piece, bytes):
                await self._stream.send_all(waiting + (self._http.send(h11.Data(data=piece)) or b""))
                waiting = b""
                continue
            if waiting:
                await self._stream.send_all(waiting)
                waiting = b""
            await self._suffer(piece)
        await self._stream.send_all(waiting + (self._http.send(h11.EndOfMessage()) or b""))

    async def _drain(self) -> None:
        """Take the rest of a body, else the client sees a reset instead of the answer."""
        with trio.move_on_after(_DRAIN_SECONDS):
            while await self._stream.receive_some(_RECEIVE_BYTES):
                pass

    async def _suffer(self, event: Pause | Break) -> None:
        if isinstance(event, Pause):
            await trio.sleep(event.seconds)
        else:
            self._break(event)

    def _break(self, how: Break) -> None:
        if how is not Break.CLOSE:
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise _Broken

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))
        return event
