"""A client of live streams, on Quart's test client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio
from tests.http.api import Api
from trio.testing import wait_all_tasks_blocked

LONGEST = 600.0  # virtual seconds that a test waits for an event


@attrs.frozen
class Seen:
    """One event."""

    id: str
    job: dict[str, Any]


@attrs.define(eq=False)
class Stream:
    """An open stream; reads only when asked to."""

    connection: Any
    comments: list[str] = attrs.field(factory=list)
    last_id: str = ""
    _text: str = ""

    async def next(self) -> Seen:
        """The next event."""
        found = await self.next_or_end()
        assert found is not None
        return found

    async def next_or_end(self) -> Seen | None:
        """The next event; None when the stream has ended."""
        while True:
            while "\n\n" not in self._text:
                with trio.fail_after(LONGEST):
                    chunk = await self.connection.receive()
                if not chunk:
                    return None
                self._text += chunk.decode()
            block, _, self._text = self._text.partition("\n\n")
            if event := self._event(block):
                return event

    async def text(self) -> str:
        """Everything to the end, as it came."""
        with trio.fail_after(LONGEST):
            while chunk := await self.connection.receive():
                self._text += chunk.decode()
        return self._text

    def _event(self, block: str) -> Seen | None:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.last_id = fields.get("id", self.last_id)
        if "" in fields:
            self.comments.append(fields[""])
        if "data" not in fields:
            return None
        assert fields["event"] == "job"
        return Seen(fields["id"], msgspec.json.decode(fields["data"]))

    async def all(self) -> list[Seen]:
        """Everything to the end."""
        found = []
        while event := await self.next_or_end():
            found.append(event)
        return found


@asynccontextmanager
async def streaming(
    api: Api, path: str, *, key: str = "read", last: str | None = None, method: str = "GET", data: bytes = b""
) -> AsyncIterator[Stream]:
    """A stream whose greeting has arrived; cut off by the client on leaving."""
    headers = {"Authorization": f"Bearer {api.keys.get(key, key)}"} | ({"Last-Event-ID": last} if last else {})
    if data:
        headers["Content-Type"] = "application/json"
    async with api.client.request(path, method=method, headers=headers) as connection:
        if data:
            await connection.send(data)
        await connection.send_complete()
        stream = Stream(connection)
        stream._text = (await connection.receive()).decode()
        assert connection.status_code == 200
        assert connection.headers["content-type"] == "text/event-stream"
        try:
            yield stream
        finally:
            with trio.CancelScope(shield=True):
                await connection.disconnect()
                await wait_all_tasks_blocked()
                connection._client_send.close()  # Quart's client waits for it, also when nobody is left to do it
