"""Tools that are somebody's servers: one signed POST for each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import httpx2
import msgspec
import trio

from backburner.clock import Clock
from backburner.egress import WEB_PORTS, check_callback_url
from backburner.errors import Invalid
from backburner.signing import signed_headers
from backburner.tool_outcomes import MOST_BYTES, ToolOutcome, failed, returned
from backburner.webhooks.pinned import AddressBlocked
from backburner.webhooks.sender import CLOSE_SECONDS, USER_AGENT, describe

MOST_EXCERPT = 500  # characters of an error's body


class ToolAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What a tool may answer to say that it failed; any other body is the result itself."""

    content: Any
    is_error: bool


@attrs.frozen(kw_only=True)
class HttpTools:
    """Makes the calls. Whatever a server does is an outcome, never an error.

    The transport must follow no redirects and resolve no name on its own, as that of webhooks.
    """

    transport: httpx2.AsyncBaseTransport
    clock: Clock
    allow_private: bool
    ports: frozenset[int] | None = WEB_PORTS  #: None: any

    async def call(
        self, url: str, body: dict[str, Any], *, call_id: str, secrets: Sequence[str], timeout: float
    ) -> ToolOutcome:
        """POST `body`, signed, under an id that stays the same however often this call is made."""
        try:
            with trio.fail_after(timeout):
                return await self._answer(self._request(url, body, call_id, secrets))
        except Invalid as error:
            return failed(f"The tool's URL cannot be called: {error}")
        except AddressBlocked:
            return failed("The tool's URL cannot be called: its address is not allowed.")
        except (trio.TooSlowError, httpx2.TimeoutException):
            return failed(f"The tool did not answer within {timeout:g} seconds.")
        except httpx2.HTTPError as error:
            return failed(f"The tool could not be reached: {describe(error)}.")

    def _request(self, url: str, body: dict[str, Any], call_id: str, secrets: Sequence[str]) -> httpx2.Request:
        checked = check_callback_url(url, allow_private=self.allow_private, ports=self.ports)
        content = msgspec.json.encode(body)
        signature = signed_headers(webhook_id=call_id, at=self.clock.now(), body=content, secrets=tuple(secrets))
        headers = {
            **signature,
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
        }
        return httpx2.Request("POST", str(checked), headers=headers, content=content)

    async def _answer(self, request: httpx2.Request) -> ToolOutcome:
        response = await self.transport.handle_async_request(request)
        text = await _read(response)
        if text is None:
            return failed(f"The tool's answer is larger than {MOST_BYTES} bytes.")
        if not 200 <= response.status_code < 300:
            return failed(f"The tool answered HTTP {response.status_code}: {text[:MOST_EXCERPT]}")
        return _outcome(text)


async def _read(response: httpx2.Response) -> str | None:
    """The body; None when it is too large."""
    found = b""
    try:
        with trio.CancelScope() as reading:
            async for chunk in response.aiter_raw():
                found += chunk
                if len(found) > MOST_BYTES:
                    # `break` would leave the generators inside the transport half-way; cancellation unwinds them.
                    reading.cancel()
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await response.aclose()
    return None if len(found) > MOST_BYTES else found.decode("utf-8", "replace")


def _outcome(text: str) -> ToolOutcome:
    try:
        answer = msgspec.json.decode(text, type=ToolAnswer)
    except msgspec.DecodeError:
        return returned(text)
    if not answer.is_error:
        return returned(answer.content)
    return failed(answer.content if isinstance(answer.content, str) else msgspec.json.encode(answer.content).decode())
