"""The application in a thread of its own, for clients that are not asynchronous; no sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests
import trio
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from tests.http.api import Api, open_api
from urllib3 import HTTPResponse

BASE = "http://backburner.test"


@attrs.define(eq=False)
class Hosted:
    """The running application."""

    api: Api
    token: trio.lowlevel.TrioToken
    facts: Any

    def session(self) -> requests.Session:
        """Whatever is asked of `BASE` with it, the application answers."""
        session = requests.Session()
        session.mount(BASE, _Adapter(self))
        return session

    def ask(self, method: str, target: str, headers: Mapping[str, str], data: bytes | None) -> tuple[int, Any, bytes]:
        return trio.from_thread.run(self._ask, method, target, headers, data, trio_token=self.token)

    async def _ask(self, method: str, target: str, headers: Any, data: bytes | None) -> tuple[int, Any, bytes]:
        with trio.fail_after(30):
            response = await self.api.client.open(target, method=method, headers=headers, data=data)
            return response.status_code, response.headers, await response.get_data()


class _Adapter(BaseAdapter):
    def __init__(self, hosted: Hosted) -> None:
        super().__init__()
        self.hosted = hosted

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        body: Any = request.body.encode() if isinstance(request.body, str) else request.body
        headers = {name: _text(value) for name, value in request.headers.items()}
        status, answered, content = self.hosted.ask(str(request.method), target, headers, body)
        response = requests.Response()
        response.status_code = status
        response.headers = CaseInsensitiveDict(answered.items())
        response.raw = HTTPResponse(status=status, headers=dict(answered.items()))
        response._content = content
        response.url = str(request.url)
        response.request = request
        return response

    def close(self) -> None:
        pass


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@contextmanager
def hosted(prepare: Callable[[Api], Any]) -> Iterator[Hosted]:
    """A fresh application; `prepare` fills it, and what it returns is kept as `facts`."""
    ready: list[Hosted] = []
    started, stop = threading.Event(), trio.Event()

    async def serve() -> None:
        async with open_api() as api:
            facts = await prepare(api)
            ready.append(Hosted(api, trio.lowlevel.current_trio_token(), facts))
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            trio.run(serve)
        finally:
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    try:
        yield ready[0]
    finally:
        ready[0].token.run_sync_soon(stop.set)
        thread.join()
