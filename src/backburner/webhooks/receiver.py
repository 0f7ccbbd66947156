"""A small receiver of webhooks: checks signatures and keeps what it got, for the demo and for tests."""

from __future__ import annotations

from typing import Any

import attrs
import h11
import structlog
import trio
from standardwebhooks import Webhook, WebhookVerificationError

log = structlog.get_logger()

MAX_BODY = 256 * 1024
IDLE_SECONDS = 30.0


@attrs.frozen
class Received:
    """One webhook whose signature was right."""

    webhook_id: str
    payload: dict[str, Any]


@attrs.frozen
class WebhookReceiver:
    """Answers 204 to webhooks that are signed with `secret`, 400 to everything else. Listens on loopback only.

    Serves until it is cancelled. The same webhook can come twice; `webhook_id` tells.
    """

    secret: str
    _channel: tuple[trio.MemorySendChannel[Received], trio.MemoryReceiveChannel[Received]] = attrs.field(
        factory=lambda: trio.open_memory_channel[Received](100), init=False
    )

    @property
    def received(self) -> trio.MemoryReceiveChannel[Received]:
        """What arrives, in order. While a hundred are not taken from it, senders are not answered."""
        return self._channel[1]

    async def run(self, port: int = 0, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts with the URL at which it listens."""
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        bound = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve, [listener])
            task_status.started(f"http://127.0.0.1:{bound}/webhook")

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            with trio.move_on_after(IDLE_SECONDS) as idle:
                while connection.our_state is h11.IDLE:
                    await self._exchange(connection, stream)
                    idle.deadline = trio.current_time() + IDLE_SECONDS
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            log.debug("receiver lost a connection", error=repr(error))
        finally:
            with trio.move_on_after(1, shield=True):
                await stream.aclose()

    async def _exchange(self, connection: h11.Connection, stream: trio.SocketStream) -> None:
        request = await _next_event(connection, stream)
        if not isinstance(request, h11.Request):
            return
        body = await _read_body(connection, stream)
        received = self.verified(body, {name.decode(): value.decode("latin-1") for name, value in request.headers})
        if received is not None:
            await self._channel[0].send(received)
        status = 400 if received is None else 204
        response = h11.Response(status_code=status, headers=[("content-length", "0")] if received is None else [])
        for event in (response, h11.EndOfMessage()):
            await stream.send_all(connection.send(event) or b"")
        if connection.our_state is h11.DONE and connection.their_state is h11.DONE:
            connection.start_next_cycle()

    def verified(self, body: bytes, headers: dict[str, str]) -> Received | None:
        """The webhook if its signature and time are right, else None."""
        try:
            payload = Webhook(self.secret).verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            log.warning("webhook refused", error=str(error))
            return None
        return Received(headers["webhook-id"], payload)


async def _read_body(connection: h11.Connection, stream: trio.SocketStream) -> bytes:
    body = b""
    while isinstance(event := await _next_event(connection, stream), h11.Data):
        body += event.data
        if len(body) > MAX_BODY:
            raise h11.RemoteProtocolError("body too large")
    return body


async def _next_event(connection: h11.Connection, stream: trio.SocketStream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(65536))
    return event
