"""Just enough of the batch service to put any answer in front of the real SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import httpx2
import trio

from backburner.providers.anthropic import AnthropicProvider, open_anthropic
from backburner.providers.base import BatchRef

T = TypeVar("T")
Handler = Callable[[httpx2.Request], Any]

BASE_URL = "https://api.example.test"
KEY = "sk-secret-123"
TIMEOUT = 30.0
BATCHES = "/v1/messages/batches"
BATCH = BatchRef("msgbatch_1", {})
DATE = "Sat, 21 Nov 2026 09:15:00 GMT"


async def inline(work: Callable[[], T]) -> T:
    return work()


def opened(
    handler: Handler, *, base_url: str = BASE_URL, api_key: str = KEY
) -> AbstractAsyncContextManager[AnthropicProvider]:
    transport = httpx2.MockTransport(handler)
    return open_anthropic(
        api_key=api_key, base_url=base_url, request_timeout=TIMEOUT, transport=transport, offload=inline
    )


def answering(*responses: httpx2.Response | Exception) -> tuple[Handler, list[httpx2.Request]]:
    """A handler that gives these answers in turn and the list of the requests that it got."""
    left, requests = list(responses), []

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, requests


def batch(batch_id: str = "msgbatch_1", **changes: Any) -> dict[str, Any]:
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-11-21T09:14:30.418233Z",
        "expires_at": "2026-11-22T09:14:30.418233Z",
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    } | changes


def ended(batch_id: str = "msgbatch_1", **changes: Any) -> dict[str, Any]:
    url = f"{BASE_URL}{BATCHES}/{batch_id}/results"
    return batch(batch_id, processing_status="ended", results_url=url) | changes


def page(*batches: dict[str, Any], has_more: bool = False, headers: dict[str, str] | None = None) -> httpx2.Response:
    last_id = batches[-1]["id"] if batches else None
    body = {"data": batches, "has_more": has_more, "last_id": last_id}
    return httpx2.Response(200, json=body, headers={"date": DATE} if headers is None else headers)


def error(status: int, kind: str, message: str = "no", code: str | None = None, **headers: str) -> httpx2.Response:
    body: dict[str, Any] = {"type": kind, "message": message} | ({"details": {"error_code": code}} if code else {})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json={"type": "error", "error": body, "request_id": "req_1"}, headers=named)


def html(status: int) -> httpx2.Response:
    return httpx2.Response(status, html="<html><h1>Sorry</h1></html>")


class Body(httpx2.AsyncByteStream):
    """Pieces of a response: bytes are sent, an exception breaks it, a number is a pause in seconds."""

    def __init__(self, *pieces: bytes | Exception | float) -> None:
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                yield piece
            else:
                await trio.sleep(piece)

    async def aclose(self) -> None:
        self.closed = True


def results_of(body: Body, **headers: str) -> tuple[Handler, list[httpx2.Request]]:
    """A service with one ended batch whose results are `body`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answering(httpx2.Response(200, json=ended()), httpx2.Response(200, stream=body, headers=named))


def sent_json(request: httpx2.Request) -> Any:
    return json.loads(request.content)


async def collected(next_lines: Callable[[], Awaitable[list[bytes]]]) -> list[bytes]:
    lines: list[bytes] = []
    while more := await next_lines():
        lines += more
    return lines
