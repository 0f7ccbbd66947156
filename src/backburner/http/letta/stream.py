"""`POST /letta/v1/runs/{id}/stream`: what a run says, as its rounds end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec
from quart import Response
from quart.wrappers.response import ResponseBody

from backburner.conversation import Message, Run
from backburner.errors import NotFound
from backburner.http.call import Call
from backburner.http.conversation_ids import run_id
from backburner.http.events import KEEP_ALIVE, STREAM_HEADERS
from backburner.http.letta.message_shapes import pieces
from backburner.http.letta.run_shapes import stop_reason_of, usage_statistics
from backburner.http.listener import Listener
from backburner.http.runs import find_item, find_run
from backburner.model import Job
from backburner.storage.messages import item_messages
from backburner.times import rfc3339

JsonObject = dict[str, Any]

#: What the run was told, which its client knows.
_TOLD = ("system_message", "user_message")
_DONE = b"data: [DONE]\n\n"
# Neither ids nor a time to reconnect: the clients take every event without data for a broken one.
_SILENCE = b": waiting\n\n"


class Wanted(msgspec.Struct):
    """How a client wants to follow; what is new is told at once, whatever its pace of polling."""

    starting_after: int = 0
    include_pings: bool | None = True


async def stream_run(call: Call, run_id: str) -> Response:
    """Messages of the run, each with its number `seq_id`, then how it ended."""
    wanted = await call.json(Wanted)
    job, index = await find_item(call, run_id)
    listener = Listener(principal=call.principal, job_id=job.id, known=None)
    stream = RunStream(
        call=call,
        run_id=run_id,
        job=job,
        index=index,
        listener=listener,
        told=wanted.starting_after,
        pings=wanted.include_pings is not False,
    )
    response = Response(stream, content_type="text/event-stream")
    response.headers.pop("Content-Length", None)
    response.headers.update(STREAM_HEADERS)
    return response


@attrs.define(kw_only=True, eq=False)
class RunStream(ResponseBody):
    """Follows the run's job as long as it is being sent."""

    call: Call
    run_id: str
    job: Job
    index: int
    listener: Listener
    told: int  #: the number of the last message that the client has
    pings: bool
    _open: ExitStack = attrs.field(factory=ExitStack, init=False)
    _has_begun: bool = attrs.field(default=False, init=False)
    _is_over: bool = attrs.field(default=False, init=False)

    async def __aenter__(self) -> Self:
        self._open.enter_context(self.call.services.live.listening(self.listener))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._has_begun:  # so that headers do not wait for the first message
            self._has_begun = True
            return _SILENCE
        while not self._is_over:
            if not await self.listener.stirred(KEEP_ALIVE):
                return self._ping()
            self.listener.take()
            if news := await self._news():
                return news
        raise StopAsyncIteration

    async def _news(self) -> bytes:
        """What the client does not have yet. A stream ends with its run, or when nothing more will be heard of it."""
        was_last = self.listener.is_over
        try:
            run = await find_run(self.call, self.run_id)
        except NotFound:  # deleted meanwhile
            self._is_over = True
            return b""
        messages = await self.call.services.database.read(item_messages, self.job, self.index)
        self._is_over = was_last or run.status.is_terminal
        new = [chunk for chunk in numbered(run, messages) if chunk["seq_id"] > self.told]
        if new:
            self.told = new[-1]["seq_id"]
        text = b"".join([b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in new])
        return text + _DONE if run.status.is_terminal else text

    def _ping(self) -> bytes:
        return _pinged(self.run_id, self.call.services.clock.now()) if self.pings else _SILENCE

    async def convert_to_sequence(self) -> bytes:
        """Everything to the end, as Quart wants to be able to ask."""
        async with self:
            return b"".join([data async for data in self])


def numbered(run: Run, messages: Sequence[Message]) -> Iterator[JsonObject]:
    """The pieces of a run's stream so far, from 1; each keeps its number as more come."""
    said = [piece for message in messages for piece in pieces(message) if piece["message_type"] not in _TOLD]
    ending = _ending(run) if run.status.is_terminal else []
    for number, chunk in enumerate([*said, *ending], 1):
        yield chunk | {"seq_id": number}


def _ending(run: Run) -> list[JsonObject]:
    reason = stop_reason_of(run)
    failed = {
        "message_type": "error_message",
        "run_id": run_id(run),
        "error_type": reason,
        "message": f"The run has ended: {run.status}.",
        "detail": None,
    }
    stopped = {"message_type": "stop_reason", "stop_reason": reason}
    return [*([failed] if reason == "error" else []), stopped, usage_statistics(run)]


def _pinged(run: str, now: datetime) -> bytes:
    ping = {"message_type": "ping", "id": f"ping-{run.removeprefix('run-')}", "date": rfc3339(now), "run_id": run}
    return b"data: %b\n\n" % msgspec.json.encode(ping)
