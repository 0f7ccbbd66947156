"""One attempt, against receivers inside the process under virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import attrs
import httpx2
import pytest
import trio

from backburner.clock import TrioClock
from backburner.model import DueDelivery
from backburner.signing import signed_headers
from backburner.webhooks.sender import AttemptOutcome, WebhookSender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DUE = DueDelivery(
    key=1,
    id="delivery-1",
    organization_key=1,
    url="https://example.com/hook?a=1",
    receiver="example.com:443",
    body=b'{"type":"job.completed"}',
    number=1,
    scheduled=1,
    secrets=(SECRET,),
)


@attrs.define(eq=False)
class Body(httpx2.AsyncByteStream):
    """A body in chunks, with a pause before each; `chunks` None is without end."""

    chunks: list[bytes] | None = attrs.field(factory=list)
    pause: float = 0
    error: Exception | None = None
    sent: int = 0
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.chunks is None or self.chunks:
            await trio.sleep(self.pause)
            chunk = self.chunks.pop(0) if self.chunks is not None else bytes(16_384)
            self.sent += len(chunk)
            yield chunk
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class Receiver(httpx2.AsyncBaseTransport):
    """Answers one way, after a while."""

    status: int = 204
    headers: dict[str, str] = attrs.field(factory=dict)
    body: Body = attrs.field(factory=Body)
    delay: float = 0
    error: Exception | None = None
    requests: list[httpx2.Request] = attrs.field(factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        await trio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return httpx2.Response(self.status, headers=self.headers, stream=self.body)


def sender(receiver: Receiver, *, allow_private: bool = False) -> WebhookSender:
    return WebhookSender(transport=receiver, clock=TrioClock(), timeout=5, allow_private=allow_private)


def failed(
    error: str, *, status: int | None = None, after: int = 0, retry_after: float | None = None
) -> AttemptOutcome:
    return AttemptOutcome(status_code=status, error=error, duration_ms=after, retry_after=retry_after)


def delivered(status: int = 204, *, after: int = 0) -> AttemptOutcome:
    return AttemptOutcome(status_code=status, error=None, duration_ms=after, retry_after=None)


async def test_the_request_is_the_stored_body_signed_as_of_now_and_nothing_else(autojump_clock):
    receiver = Receiver()
    await trio.sleep(1000)
    assert await sender(receiver).attempt(DUE) == delivered()
    (request,) = receiver.requests
    assert (request.method, str(request.url), request.read()) == ("POST", "https://example.com/hook?a=1", DUE.body)
    at = TrioClock().epoch + timedelta(seconds=1000)
    assert dict(request.headers) == {
        "host": "example.com",
        **signed_headers(webhook_id="delivery-1", at=at, body=DUE.body, secrets=[SECRET]),
        "content-type": "application/json",
        "user-agent": "Backburner/0.1.0 (webhooks)",
        "accept-encoding": "identity",
        "content-length": str(len(DUE.body)),
    }


@pytest.mark.parametrize("status", [200, 202, 299])
async def test_every_2xx_is_a_success(status, autojump_clock):
    assert await sender(Receiver(status=status)).attempt(DUE) == delivered(status)


@pytest.mark.parametrize("status", [300, 301, 307, 400, 404, 410, 500])
async def test_everything_else_is_a_failure_and_redirects_are_not_followed(status, autojump_clock):
    receiver = Receiver(status=status, headers={"location": "https://example.com/elsewhere", "set-cookie": "a=b"})
    assert await sender(receiver).attempt(DUE) == failed(f"HTTP {status}", status=status)
    assert len(receiver.requests) == 1


async def test_the_receivers_wish_to_be_asked_later_is_reported(autojump_clock):
    receiver = Receiver(status=429, headers={"retry-after": "120"})
    assert await sender(receiver).attempt(DUE) == failed("HTTP 429", status=429, retry_after=120)


async def test_a_slow_receiver_is_waited_for_up_to_the_timeout(autojump_clock):
    assert await sender(Receiver(delay=4.9)).attempt(DUE) == delivered(after=4900)


async def test_a_hanging_receiver_times_out(autojump_clock):
    assert await sender(Receiver(delay=1e9)).attempt(DUE) == failed("timeout", after=5000)


async def test_an_answer_counts_although_its_body_hangs(autojump_clock):
    receiver = Receiver(status=200, delay=1, body=Body([b"x"], pause=1e9))
    assert await sender(receiver).attempt(DUE) == delivered(200, after=5000)
    assert receiver.body.closed


async def test_an_answer_counts_although_its_body_breaks(autojump_clock):
    receiver = Receiver(status=500, body=Body([b"half"], error=httpx2.ReadError("gone")))
    assert await sender(receiver).attempt(DUE) == failed("HTTP 500: half", status=500)


async def test_no_more_than_64_kilobytes_of_an_endless_body_are_read(autojump_clock):
    receiver = Receiver(status=200, body=Body(None))
    assert await sender(receiver).attempt(DUE) == delivered(200)
    assert (receiver.body.sent, receiver.body.closed) == (65_536, True)


async def test_the_excerpt_of_an_answer_is_one_short_printable_line(autojump_clock):
    receiver = Receiver(status=500, body=Body([b"<h1>No\x00pe\r\n\x1b[31m</h1> \xff", b"x" * 10_000]))
    expected = "<h1>No pe [31m</h1> \ufffd" + "x" * 1000
    assert await sender(receiver).attempt(DUE) == failed(f"HTTP 500: {expected[:200]}", status=500)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx2.ConnectError("name not resolved: unknown"), "connection failed: name not resolved: unknown"),
        (httpx2.ConnectTimeout(""), "timeout"),
        (httpx2.ReadError(""), "connection broken"),
        (httpx2.RemoteProtocolError("illegal status line"), "protocol error: illegal status line"),
    ],
)
async def test_a_broken_connection_is_an_outcome(error, expected, autojump_clock):
    assert await sender(Receiver(error=error)).attempt(DUE) == failed(expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://127.0.0.1/", "blocked_address"),
        ("https://169.254.169.254/latest/meta-data", "blocked_address"),
        ("https://localhost/", "blocked_address"),
        ("https://2130706433/", "callback_url_invalid"),
    ],
)
async def test_a_url_is_checked_again_before_each_attempt(url, expected, autojump_clock):
    receiver = Receiver()
    assert await sender(receiver).attempt(attrs.evolve(DUE, url=url)) == failed(expected)
    assert receiver.requests == []


async def test_private_addresses_can_be_allowed(autojump_clock):
    receiver = Receiver()
    due = attrs.evolve(DUE, url="http://127.0.0.1:9999/")
    assert await sender(receiver, allow_private=True).attempt(due) == delivered()
    assert receiver.requests[0].headers["host"] == "127.0.0.1:9999"
