"""A server made of prepared answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import httpx2
import msgspec

Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


@attrs.define
class Script:
    """Gives its answers one after the other, the last one for ever; remembers what was asked."""

    answers: list[Answer]
    asked: list[httpx2.Request] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        self.bodies.append(request.read())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self)

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked]


def script(*answers: Answer) -> Script:
    return Script(list(answers))


def ok(value: Any, status: int = 200, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=value, headers=headers)


def refusal(status: int, code: str = "some_code", message: str = "No.", **extra: Any) -> httpx2.Response:
    error = {"type": "invalid_request_error", "code": code, "message": message, **extra}
    return httpx2.Response(
        status, json={"type": "error", "error": error, "request_id": "req_1"}, headers={"request-id": "req_1"}
    )


def job(status: str = "running", job_id: str = "job-1", **counts: int) -> dict[str, Any]:
    shares = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0} | counts
    return {
        "id": job_id,
        "job_type": "batch",
        "status": status,
        "stop_reason": None if status in {"pending", "running"} else f"because_{status}",
        "created_at": "2026-01-01T00:00:00Z",
        "request_counts": {"total": sum(shares.values()), **shares},
        "usage": {"input_tokens": 1, "output_tokens": 2},
        "provider_batches": {"total": 1, "ended": 0, "ingested": 0},
    }


def page(*rows: dict[str, Any], has_more: bool = False) -> httpx2.Response:
    ids = [row["id"] for row in rows] or [None]
    return ok({"data": list(rows), "has_more": has_more, "first_id": ids[0], "last_id": ids[-1]})


def event(event_id: str, value: dict[str, Any]) -> bytes:
    """One event of a live stream."""
    return f"id: {event_id}\nevent: job\ndata: {msgspec.json.encode(value).decode()}\n\n".encode()
