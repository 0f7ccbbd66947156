"""One attempt to deliver one webhook."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import attrs
import httpx2
import structlog
import trio

from backburner import __version__
from backburner.backoff import retry_after
from backburner.clock import Clock
from backburner.egress import WEB_PORTS, check_callback_url
from backburner.errors import Invalid
from backburner.model import DueDelivery
from backburner.signing import signed_headers
from backburner.webhooks.pinned import AddressBlocked

log = structlog.get_logger()

USER_AGENT = f"Backburner/{__version__} (webhooks)"
MAX_READ = 64 * 1024  # bytes of an answer's body
MAX_EXCERPT = 200  # characters of it that are kept
CLOSE_SECONDS = 1.0

BLOCKED = "blocked_address"
TIMEOUT = "timeout"


@attrs.frozen(kw_only=True)
class AttemptOutcome:
    """How one attempt ended."""

    status_code: int | None  #: None when there was no answer
    error: str | None  #: None exactly for a 2xx answer; one line, without NUL
    retry_after: float | None  #: seconds, as the receiver wishes
    duration_ms: int


class _Answer(NamedTuple):
    status_code: int | None
    error: str | None
    retry_after: float | None = None


@attrs.frozen(kw_only=True)
class WebhookSender:
    """Makes attempts. Whatever a receiver does is an outcome, never an error.

    The transport must follow no redirects, keep no cookies and resolve no name on its own: PinnedTransport, or a
    receiver inside the process.
    """

    transport: httpx2.AsyncBaseTransport
    clock: Clock
    timeout: float  # seconds for everything from name resolution to the end of the answer
    allow_private: bool
    ports: frozenset[int] | None = WEB_PORTS  #: None: any

    async def attempt(self, due: DueDelivery) -> AttemptOutcome:
        """POST the delivery once, signed as of now. Takes `timeout` seconds, and a little to close, at most."""
        started = self.clock.monotonic()
        answer = await self._answer(due)
        return AttemptOutcome(
            status_code=answer.status_code,
            error=answer.error,
            retry_after=answer.retry_after,
            duration_ms=round((self.clock.monotonic() - started) * 1000),
        )

    async def _answer(self, due: DueDelivery) -> _Answer:
        deadline = trio.current_time() + self.timeout
        try:
            request = self._request(due)
            with trio.fail_at(deadline):
                response = await self.transport.handle_async_request(request)
        except Invalid as error:
            return _Answer(None, BLOCKED if error.code == "callback_url_forbidden" else str(error.code))
        except AddressBlocked:
            return _Answer(None, BLOCKED)
        except (trio.TooSlowError, httpx2.TimeoutException):
            return _Answer(None, TIMEOUT)
        except httpx2.HTTPError as error:
            return _Answer(None, describe(error))
        return await self._judge(response, deadline)

    def _request(self, due: DueDelivery) -> httpx2.Request:
        # Checked anew each time: what is allowed may have changed since the job was accepted.
        url = check_callback_url(due.url, allow_private=self.allow_private, ports=self.ports)
        signature = signed_headers(webhook_id=due.id, at=self.clock.now(), body=due.body, secrets=due.secrets)
        headers = {
            **signature,
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
        }
        return httpx2.Request("POST", str(url), headers=headers, content=due.body)

    async def _judge(self, response: httpx2.Response, deadline: float) -> _Answer:
        status = response.status_code
        excerpt = await _read_excerpt(response, deadline)
        if 200 <= status < 300:
            return _Answer(status, None)
        wish = retry_after(response.headers, self.clock.now())
        return _Answer(status, f"HTTP {status}: {excerpt}" if excerpt else f"HTTP {status}", wish)


async def _read_excerpt(response: httpx2.Response, deadline: float) -> str:
    """The beginning of the body in one printable line.

    Reads on to the body's end if that is near, so that the connection can be used again. The answer stands once its
    status is known: a body that hangs, breaks or is endless changes nothing.
    """
    head, size = b"", 0
    try:
        with trio.move_on_at(deadline) as reading:
            async for chunk in response.aiter_raw():
                head = (head + chunk)[: 4 * MAX_EXCERPT]
                size += len(chunk)
                if size >= MAX_READ:
                    # `break` would leave the generators inside the transport half-way; cancellation unwinds them.
                    reading.cancel()
    except httpx2.HTTPError as error:
        log.debug("answer to webhook broke off", error=describe(error))
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await response.aclose()
    return printable(head.decode("utf-8", "replace"))[:MAX_EXCERPT]


def printable(text: str) -> str:
    """One line of what was sent by a stranger: control characters become spaces, runs of spaces one."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def describe(error: BaseException) -> str:
    """A failed connection in a few words, the most telling of the errors that led to it first."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"tls certificate refused: {printable(cause.verify_message)}"
        if isinstance(cause, ssl.SSLError):
            return f"tls failed: {printable(cause.reason or str(cause))}"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, ConnectionResetError):
            return "connection reset"
    word = _word(error)
    text = printable(str(error))[:MAX_EXCERPT]
    return f"{word}: {text}" if text else word


def _word(error: BaseException) -> str:
    if isinstance(error, httpx2.ConnectError):
        return "connection failed"
    return "protocol error" if isinstance(error, httpx2.ProtocolError) else "connection broken"


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and what it came from, depth first; members of groups included."""
    found = [error]
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            found += _causes(member)
    before = error.__cause__ or error.__context__
    return found + (_causes(before) if before is not None else [])
