"""Receivers of webhooks: down, slow, lying, or simply there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from random import Random

import attrs
import httpx2
import trio

from simulation.network import Message

#: What a receiver may do, and how it may say no.
MOODS = ("down", "500", "429", "503", "410", "302", "slow", "endless", "broken", "deaf")


class Body(httpx2.AsyncByteStream):
    """An answer's body: nothing, something that hangs, or something that never ends."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.kind == "endless" and self.sent < 100:
            self.sent += 1
            return b"x" * 4096
        if self.kind == "broken":
            raise httpx2.ReadError("the body broke off")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.kind = "closed"


@attrs.define(kw_only=True, eq=False)
class Receivers:
    """Answers every webhook. `troubles` says how often a receiver is in which mood while faults are on."""

    random: Random
    troubles: Mapping[str, float]
    heard: Callable[[Message, int | None], None]  # the message that arrived, and the status it got
    is_calm: bool = False

    async def __call__(self, message: Message) -> httpx2.Response:
        mood = self._mood()
        if mood == "down":
            raise httpx2.ConnectError("connection refused", request=message.request)
        if mood == "slow":
            self.heard(message, None)
            await trio.sleep(20.0)
        if mood == "deaf":  # it takes the message and says nothing
            self.heard(message, None)
            raise httpx2.ReadError("connection reset", request=message.request)
        status = int(mood) if mood.isdigit() else 200
        self.heard(message, status)
        headers = {"retry-after": "7"} if status in (429, 503) else {"location": "http://elsewhere.test/"}
        return httpx2.Response(status, headers=headers, stream=Body(mood), request=message.request)

    def _mood(self) -> str:
        if self.is_calm:
            return "good"
        roll = self.random.random()
        for mood, share in self.troubles.items():
            if (roll := roll - share) < 0:
                return mood
        return "good"
