"""Messages between instances and the world: lost, late, repeated, or answered to nobody."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any

import attrs
import httpx2
import trio

from backburner.providers.sandbox.transport import pieces_of
from simulation.chaos import Chaos
from simulation.lives import Life
from simulation.trace import Trace

Serve = Callable[["Message"], Awaitable[httpx2.Response]]
#: What a repeating proxy may send twice. Making a batch is not among it.
REPEATABLE = ("GET", "webhook")


@attrs.define(eq=False)
class Message:
    """One request on its way, and its answer."""

    life: Life
    to: str  # provider | webhook
    request: httpx2.Request
    arrived: bool = False
    done: trio.Event = attrs.field(factory=trio.Event)
    is_heard: bool = False  # the sender lives, and has the answer
    _response: httpx2.Response | None = None
    _error: httpx2.HTTPError | None = None

    def answer(self, response: httpx2.Response) -> None:
        self._response = response
        self.done.set()

    def fail(self, error: httpx2.HTTPError) -> None:
        self._error = error
        self.done.set()

    @property
    def response(self) -> httpx2.Response:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error
        assert self._response is not None
        return self._response

    @property
    def asks_to_wait(self) -> float:
        """The seconds for which the answer that was heard asks not to be asked again; 0 if it does not."""
        headers = self._response.headers if self.is_heard and self._response is not None else {}
        if "retry-after-ms" in headers:
            return float(headers["retry-after-ms"]) / 1000
        seconds = headers.get("retry-after", "")
        return float(seconds) if seconds.isdigit() else 0.0

    @property
    def batch_id(self) -> str:
        """The batch at the provider that it is about; empty for creating and listing."""
        _, _, rest = self.request.url.path.partition("/batches/")
        return rest.partition("/")[0] if self.to == "provider" else ""

    @property
    def what(self) -> str:
        return f"{self.to} {self.request.method} {self.request.url.path}"


@attrs.define(kw_only=True, eq=False)
class Network:
    """Carries messages in tasks of its own, which go on when the sender is killed or frozen."""

    nursery: trio.Nursery
    chaos: Chaos
    trace: Trace
    sending: Callable[[Message], None]  # an instance sends a message
    given_up: Callable[[Message], None]  # it has its answer, or waits for none any more
    freeze: Callable[[Life], None]
    settle: float  # seconds for which a submission is looked for
    _context: Context = attrs.field(factory=copy_context)

    async def drag(self, life: Life) -> None:
        """Between two pieces of an upload."""
        await trio.lowlevel.checkpoint()
        if self.chaos.strikes("dragging"):
            if self.chaos.strikes("freeze"):
                self.freeze(life)
            await trio.sleep(self.chaos.delay())
        await life.goes_on()

    def spawn(self, run: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Start a task of the world, whoever asks for it."""
        self._context.run(self.nursery.start_soon, run, *args)

    def send(self, message: Message, serve: Serve) -> None:
        """Returns at once; `message.done` is set when there is an answer, or none to come."""
        if self.chaos.strikes("die_before"):
            self._kill(message, "before asking")
            return
        self.spawn(self._carry, message, serve)

    async def _carry(self, message: Message, serve: Serve) -> None:
        if self.chaos.strikes("late"):
            # What arrives only after it was looked for long enough is made again, and that is said.
            most = self.settle / 2 if message.request.method == "POST" and message.to == "provider" else math.inf
            await trio.sleep(min(most, self.chaos.delay()))
        if self.chaos.strikes("lost"):
            self.trace.event(f"{message.life.name} → {message.what}: lost")
            message.fail(httpx2.ReadError("lost on the way", request=message.request))
            return
        try:
            response = await self._arrive(message, serve)
        except httpx2.HTTPError as error:
            message.fail(error)
            return
        if self.chaos.strikes("freeze"):
            self.freeze(message.life)
        if self.chaos.strikes("die_after"):
            self._kill(message, "before hearing the answer of")
        elif self.chaos.strikes("unanswered"):
            self.trace.event(f"{message.life.name} ← {message.what}: answer lost")
            message.fail(httpx2.ReadError("the answer was lost", request=message.request))
        else:
            message.answer(response)

    async def _arrive(self, message: Message, serve: Serve) -> httpx2.Response:
        message.arrived = True
        if {message.to, message.request.method}.intersection(REPEATABLE) and self.chaos.strikes("repeated"):
            self.trace.event(f"{message.life.name} → {message.what}: repeated")
            await serve(message)
        return await serve(message)

    def _kill(self, message: Message, when: str) -> None:
        if not message.life.is_over:
            self.trace.event(f"{message.life.name} dies {when} {message.what}")
            message.life.kill()


@attrs.define(eq=False)
class Wire(httpx2.AsyncBaseTransport):
    """One instance's way to the provider, or to receivers."""

    life: Life
    network: Network
    to: str
    serve: Serve

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await self._read(request)
        await self.life.goes_on()
        if self.life.thawed_at == trio.current_time():
            # Whoever checked its mandate before it was stopped must not act on it now. What a process sends at the
            # very moment it wakes goes over a connection that has died meanwhile.
            raise httpx2.ConnectError("the connection died while the process was stopped", request=request)
        whole = httpx2.Request(
            request.method, request.url, headers=request.headers, content=body, extensions=request.extensions
        )
        message = Message(self.life, self.to, whole)
        self.network.sending(message)
        try:
            self.network.send(message, self.serve)
            await message.done.wait()
            await self.life.goes_on()
            message.is_heard = True
        finally:
            self.network.given_up(message)
        return message.response

    async def _read(self, request: httpx2.Request) -> bytes:
        """The body, piece by piece, as a connection takes it."""
        length = int(request.headers.get("content-length", 0))
        body = bytearray()
        async with pieces_of(request) as pieces:
            async for piece in pieces:
                await self.life.goes_on()
                body += piece
                if len(body) < length:  # behind the last one nothing is waited for any more
                    await self.network.drag(self.life)
        return bytes(body)
