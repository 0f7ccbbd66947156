"""Requests of clients to an instance's own HTTP application, in process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import trio


@attrs.define(eq=False)
class Ask:
    """One HTTP request and what became of it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    done: trio.Event = attrs.field(factory=trio.Event)
    given_up: trio.Event = attrs.field(factory=trio.Event)  # the client is gone
    status: int | None = None  # None: no answer
    answer_headers: dict[str, str] = attrs.field(factory=dict)
    answer: bytearray = attrs.field(factory=bytearray)
    _sent: bool = False
    _head_status: int | None = None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.answer)

    def break_off(self) -> None:
        """The connection ends without an answer."""
        self.status = None
        self.done.set()

    def scope(self) -> dict[str, Any]:
        """As ASGI has it."""
        path, _, query = self.path.partition("?")
        headers = {"host": "backburner.test", "content-length": str(len(self.body)), **self.headers}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("backburner.test", 80),
            "state": {},
            "extensions": {},
        }

    async def receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.given_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self._head_status = message["status"]
            self.answer_headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self.answer += message.get("body", b"")
            if not message.get("more_body"):
                self.status = self._head_status
                self.done.set()
