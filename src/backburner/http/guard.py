"""Hypercorn's connection handling with its known faults mended. The only module that knows Hypercorn's inside.

What is mended, each with a test over real sockets:

* An error in one connection's task reached the nursery of the server and ended the process
  (pgjones/hypercorn issues 203 and 225): an illegal chunk size did it, or a byte behind a WebSocket upgrade.
* `send_all` was shielded without a deadline: one client that did not read its answer blocked shutdown for ever.
* Cleartext HTTP/2 (upgrade and prior knowledge) and WebSockets were accepted; nothing here needs them.
* `100 Continue` was sent at once; now when the application asks for the body, so it can refuse before.
* The task of a closed connection waited for ever if bytes had come behind its last request.
* Errors found by the parser were answered with an empty body.
* The number of connections was not bounded.
* Folded headers were joined. RFC 9112 calls them obsolete, and a proxy may read them otherwise; they are refused.

That Quart-Trio cancels itself while Hypercorn recycles the connection is mended in `gate.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from typing import Any

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from backburner.forks import hide_from_children
from backburner.http.caps import RESERVED, Admission, ConnectionCaps
from backburner.http.problem import DEFAULT_HEADERS, render

HYPERCORN = "0.18.0"
SEND_CONTINUE = "backburner.send_continue"  #: in the scope's state: a function that asks the client for the body

_PIECE = 64 * 1024
_CLOSE_TIMEOUT = 1.0
_CODES = {
    400: "bad_request",
    404: "not_found",
    413: "request_too_large",
    431: "headers_too_large",
    501: "not_implemented",
}
_MESSAGES = {
    400: "This is not proper HTTP/1.1.",
    431: "The headers are too large.",
    501: "No transfer encoding but chunked is known here.",
}

_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\n[ \t]")

logger = structlog.get_logger()


def require_version(found: str | None) -> None:
    """Raises ImportError unless Hypercorn is the version whose inside this module replaces. None: cannot be told."""
    if found not in (HYPERCORN, None):
        raise ImportError(f"backburner needs hypercorn {HYPERCORN} exactly, found {found}; see http/guard.py")


def _installed() -> str | None:
    try:
        return metadata.version("hypercorn")
    except metadata.PackageNotFoundError:  # a single executable carries the code without its metadata
        return None


require_version(_installed())


class GuardConfig(Config):
    """Hypercorn's settings and what the guard adds to them."""

    caps: ConnectionCaps
    send_timeout: float = 300.0  #: seconds that a client may take to read 64 KiB of its answer
    new_request_id: Callable[[], str]


class GuardedConnection(TCPServer):
    """One TCP connection."""

    config: GuardConfig
    _lost = False  # a piece was not delivered: what comes behind it would make no sense to the client

    async def run(self) -> None:
        """Serve until the connection closes. Raises nothing but Cancelled."""
        try:
            sock = self.stream.socket
            hide_from_children(sock)
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            with self.config.caps.admit(client[0] if client else "") as admitted:
                if admitted is Admission.NONE:
                    await self._turn_away()
                else:
                    await self._converse(client, server, admitted)
        except* OSError:
            pass  # the client is gone
        except* Exception as group:  # the boundary: what one client causes stays with its connection
            logger.info("connection_failed", errors=[repr(error) for error in group.exceptions])

    async def _converse(self, client: Any, server: Any, admitted: Admission) -> None:
        self._reading = trio.CancelScope()
        try:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = GuardedProtocol(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState({**self.state, RESERVED: admitted is Admission.RESERVED}),
                    False,  # no TLS here
                    client,
                    server,
                    self.protocol_send,
                )
                await self.idle_task.restart(task_group, self._idle_timeout)
                with self._reading:
                    await self._read_data()
                await self.idle_task.stop()  # nobody is left to wait for
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await self._close()

    async def _turn_away(self) -> None:
        request_id = self.config.new_request_id()
        body = render(503, "too_many_connections", "Too many connections are open.", request_id=request_id)
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in DEFAULT_HEADERS.items())
            + f"connection: close\r\nrequest-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        with trio.move_on_after(_CLOSE_TIMEOUT):
            await self.stream.send_all(head.encode() + body)
            # Closing with a request unread would reset the connection and take the answer back.
            await self.stream.receive_some(_PIECE)

    async def protocol_send(self, event: Event) -> None:
        """Send without a shield; a client that takes no 64 KiB in `send_timeout` seconds is dropped."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
        elif not await self._deliver(event.data):
            await self.protocol.handle(Closed())
            self._reading.cancel(reason="client gone")
        if isinstance(event, Closed):
            # The reader may wait for its turn with bytes that came behind the last request; it gets none.
            self._reading.cancel(reason="closed")

    async def _deliver(self, data: bytes) -> bool:
        async with self.send_lock:
            if self._lost:
                return False
            try:
                for start in range(0, len(data), _PIECE):
                    with trio.fail_after(self.config.send_timeout):
                        await self.stream.send_all(data[start : start + _PIECE])
            except trio.TooSlowError:
                logger.info("connection_stalled", seconds=self.config.send_timeout)
                await trio.aclose_forcefully(self.stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                pass  # gone, or another task is closing it at this moment
            else:
                return True
            self._lost = True
        return False

    async def _initiate_server_close(self) -> None:
        with trio.move_on_after(_CLOSE_TIMEOUT):
            await super()._initiate_server_close()


class _PatientH11(h11.Connection):
    """Tells Hypercorn nothing that would make it act too early."""

    #: The application asks for the body when it wants it.
    they_are_waiting_for_100_continue = False

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE and _has_folded_header(self.trailing_data[0]):
            raise h11.RemoteProtocolError("a header is folded over several lines", error_status_hint=400)
        # Bytes behind the last request of a connection are no reason to cut off its answer.
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            return h11.PAUSED
        return super().next_event()


def _has_folded_header(received: bytes) -> bool:
    """Whether the head of the next request, as far as it has come, continues a header on another line."""
    end = _HEAD_END.search(received)
    return _FOLD.search(received, 0, end.start() if end else len(received)) is not None


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 and nothing else."""

    config: GuardConfig

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._broken = False  # the client's bytes make no sense; that is being answered
        self.connection = _PatientH11(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def send_continue(self) -> None:
        """Ask the client for the body, if it waits to be asked."""
        if isinstance(self.connection, h11.Connection) and self.connection.client_is_waiting_for_100_continue:
            headers = self.config.response_headers("h11")
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=headers))

    async def _check_protocol(self, event: h11.Request) -> None:
        """Every request stays one of HTTP/1.1, whatever it offers or claims; the gate refuses other versions."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = _Stream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        event = Request(
            stream_id=STREAM_ID,
            headers=list(request.headers),
            http_version=request.http_version.decode(),
            method=request.method.decode("ascii").upper(),
            raw_path=request.target,
            state=ConnectionState({**self.connection_state, SEND_CONTINUE: self.send_continue}),
        )
        await self.stream.handle(event)
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def stream_send(self, event: Any) -> None:
        # Two answers at once would be sent through each other.
        if not self._broken:
            await super().stream_send(event)

    async def _send_error_response(self, status_code: int) -> None:
        self._broken = True
        headers, body = _error_answer(status_code, self.config)
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Stream(HTTPStream):
    """One request. Answers for an application that failed to."""

    config: GuardConfig

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = _error_answer(status_code, self.config)
        await self.send(Response(stream_id=self.stream_id, headers=headers, status_code=status_code))
        await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED


def _error_answer(status: int, config: GuardConfig) -> tuple[list[tuple[bytes, bytes]], bytes]:
    request_id = config.new_request_id()
    code = _CODES.get(status, "internal_error" if status >= 500 else "bad_request")
    body = render(status, code, _MESSAGES.get(status, "The request failed."), request_id=request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"request-id", request_id.encode()),
        *((name.encode(), value.encode()) for name, value in DEFAULT_HEADERS.items()),
    ]
    return headers, body
