"""Quart's side of a connection: bodies with back-pressure, and refusals that do not cut the client off."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, cast

import attrs
import trio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from werkzeug.exceptions import RequestEntityTooLarge

from backburner.http.guard import SEND_CONTINUE

#: Bytes of a body that wait for the application; beyond, the client has to.
HIGH_WATER = 256 * 1024
#: How much of a body is gathered for a caller who awaits it whole.
MAX_WHOLE = 1024 * 1024
#: How long an answered client may go on sending its body before the connection is closed under it.
LINGER_SECONDS = 2.0


@attrs.frozen(kw_only=True)
class BodyPace:
    """How slowly a client may send a body. Only the time that the server waits for the client counts."""

    stall: float = 300.0  #: seconds without a byte
    bytes_per_second: float = 1000.0  #: what a body must bring in the long run; the first `stall` seconds are free


class FlowBody(TrioBody):
    """A request body that is taken piece by piece and never held whole."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:  # noqa: ARG002
        self._data = bytearray()
        self._arrived = trio.Event()
        self._taken = trio.Event()
        self._dropping = False
        self.ended = trio.Event()
        #: Asks the client for the body; called before the first piece is waited for.
        self.ask: Callable[[], Awaitable[None]] | None = None
        #: How slowly it may come.
        self.pace = BodyPace()
        #: Fed with every byte that is taken.
        self.digest: hashlib._Hash | None = None

    async def take(self) -> bytes:
        """What has arrived, waiting for something; b"" at the end of the body."""
        if self.ask is not None:
            ask, self.ask = self.ask, None
            await ask()
        while not self._data and not self.ended.is_set():
            self._arrived = trio.Event()
            await self._arrived.wait()
        data = bytes(self._data)
        self._data.clear()
        self._taken.set()
        if self.digest is not None:
            self.digest.update(data)
        return data

    async def put(self, data: bytes) -> None:
        """A piece from the client. Returns when there is room for the next."""
        if self._dropping:
            return
        self._data += data
        self._arrived.set()
        while len(self._data) > HIGH_WATER and not self._dropping:
            self._taken = trio.Event()
            await self._taken.wait()

    def drop(self) -> None:
        """Nobody wants the rest."""
        self._dropping = True
        self._data.clear()
        self._taken.set()

    def set_complete(self) -> None:
        self.ended.set()
        self._arrived.set()

    def append(self, data: bytes) -> None:
        self._data += data
        self._arrived.set()

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._whole().__await__()

    async def __anext__(self) -> bytes:
        data = await self.take()
        if not data:
            raise StopAsyncIteration
        return data

    async def _whole(self) -> bytes:
        whole = bytearray()
        while data := await self.take():
            whole += data
            if len(whole) > MAX_WHOLE:
                raise RequestEntityTooLarge
        return bytes(whole)


class FlowRequest(TrioRequest):
    """A request whose `body` is a FlowBody."""

    body_class = FlowBody
    body: FlowBody


class _Paced(Protocol):
    body_pace: BodyPace


class FlowConnection(TrioASGIHTTPConnection):
    """One request of Quart-Trio."""

    _body: FlowBody

    def _create_request_from_scope(self, send: Any) -> FlowRequest:
        request = cast("FlowRequest", super()._create_request_from_scope(send))
        self._body = request.body
        self._body.pace = cast("_Paced", self.app).body_pace
        state = cast("dict[str, Any]", self.scope.get("state") or {})
        if "expect" in request.headers:
            self._body.ask = state.get(SEND_CONTINUE)
        return request

    async def handle_messages(self, nursery: trio.Nursery, request: Any, receive: Any) -> None:  # type: ignore[override]
        """Pass the body on until the client or the answer is gone; then whatever is left of the request ends."""
        body: FlowBody = request.body
        while (message := await receive())["type"] == "http.request":
            await body.put(message.get("body", b""))
            if not message.get("more_body", False):
                body.set_complete()
        nursery.cancel_scope.cancel(reason="request over")

    async def _send_response(self, send: Any, response: Any) -> None:
        async def send_patiently(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._body.drop()
            elif not message.get("more_body"):
                await self._linger()
            await send(message)

        await super()._send_response(send_patiently, response)

    async def _linger(self) -> None:
        # Closing while the client still sends would reset the connection, and the client might never see its answer.
        # One that waits to be asked for its body sends nothing.
        if self._body.ask is None:
            with trio.move_on_after(LINGER_SECONDS):
                await self._body.ended.wait()
