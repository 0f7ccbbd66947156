"""Live streams as Server-Sent Events."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import attrs
from quart import Response
from quart.wrappers.response import ResponseBody

from backburner.http.call import Call
from backburner.http.jobs import find_job
from backburner.http.listener import Listener, Mark
from backburner.http.live import OVERLAP, Live

KEEP_ALIVE = 15.0  # seconds
#: How long a client should wait before it comes back, in milliseconds.
_RETRY = b"retry: 1000\n"
_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # proxies would hold events back
}


async def job_events(call: Call, job_id: str) -> Response:
    """The job now and at each change, until it has ended. 204, which ends reconnecting, when the client knows that."""
    call.query()
    known = _known(call)
    job = await find_job(call, job_id)
    if known is not None and known.job_id != job_id:
        known = None
    if known is not None and job.status.is_terminal and known.version >= job.version:
        return Response(b"", 204)
    listener = Listener(principal=call.principal, job_id=job_id, known=known)
    return _streamed(call, listener, _RETRY + b"\n")


async def all_events(call: Call) -> Response:
    """Every job of the organization at each change from now on; from the last event on for a client that names it."""
    call.query()
    known = _known(call)
    behind = None if known is None else (known.at - OVERLAP, "")
    listener = Listener(principal=call.principal, job_id=None, known=known, behind=behind)
    # A client that is cut off before its first event comes back with this.
    here = known or Mark("", 0, call.services.clock.now())
    return _streamed(call, listener, _RETRY + b"id: %b\n\n" % here.text.encode())


def _known(call: Call) -> Mark | None:
    text = call.request.headers.get("Last-Event-ID", "")
    return Mark.parse(text) if text else None


def _streamed(call: Call, listener: Listener, greeting: bytes) -> Response:
    response = Response(
        b"" if call.request.method == "HEAD" else EventStream(call.services.live, listener, greeting),
        content_type="text/event-stream",
    )
    response.headers.pop("Content-Length", None)
    response.headers.update(STREAM_HEADERS)
    return response


@attrs.define(eq=False)
class EventStream(ResponseBody):
    """Listens as long as it is being sent."""

    live: Live
    listener: Listener
    greeting: bytes  # sent at once, so that headers do not wait for the first event
    _open: ExitStack = attrs.field(factory=ExitStack, init=False)

    async def __aenter__(self) -> Self:
        self._open.enter_context(self.live.listening(self.listener))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self.greeting:
            greeting, self.greeting = self.greeting, b""
            return greeting
        while not (data := self.listener.take()):
            if self.listener.is_over:
                raise StopAsyncIteration
            if not await self.listener.stirred(KEEP_ALIVE):
                return _ALIVE
        return data

    async def convert_to_sequence(self) -> bytes:
        """Everything to the end, as Quart wants to be able to ask."""
        async with self:
            return b"".join([data async for data in self])
