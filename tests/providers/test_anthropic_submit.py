"""Submitting through the real SDK to a service that may answer anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import httpx2
import pytest
import trio
from tests.providers.anthropic_fake import (
    BASE_URL,
    BATCHES,
    KEY,
    TIMEOUT,
    Body,
    answering,
    batch,
    error,
    html,
    inline,
    opened,
    sent_json,
)

from backburner.errors import (
    LeadershipLost,
    ProviderPaused,
    ProviderUnavailable,
    SubmissionInterrupted,
    SubmissionTooLarge,
    SubmissionUnknown,
)
from backburner.providers.anthropic import open_anthropic
from backburner.providers.base import WireRequest
from backburner.providers.upload import PIECE_BYTES

REQUESTS = [WireRequest(custom_id=f"r{n}", params=b'{"model":"m", "max_tokens": 1}') for n in range(2)]


async def submit(*answers, options=None):
    handler, requests = answering(*answers)
    async with opened(handler) as provider:
        try:
            return await provider.submit(REQUESTS, options or {}), requests
        finally:
            assert len(requests) == 1


async def test_a_batch_is_made_by_one_post(autojump_clock):
    view, [request] = await submit(httpx2.Response(200, json=batch()))
    assert view.provider_batch_id == "msgbatch_1"
    assert (request.method, str(request.url)) == ("POST", BASE_URL + BATCHES)
    assert sent_json(request)["requests"][1] == {"custom_id": "r1", "params": {"model": "m", "max_tokens": 1}}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.content))
    assert "transfer-encoding" not in request.headers
    assert "custom_id" in request.content.decode()


async def test_the_jobs_headers_go_along_and_no_others(autojump_clock):
    options = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "output-300k-2026-03-24",
        "anthropic-workspace-id": "wrkspc_1",
        "anthropic-user-profile-id": "prof_1",
        "authorization": "Bearer other",
    }
    _, [request] = await submit(httpx2.Response(200, json=batch()), options=options)
    assert {name: request.headers[name] for name in options} == options | {"authorization": f"Bearer {KEY}"}


UNCERTAIN = {
    "timeout": httpx2.ReadTimeout("x"),
    "reset": httpx2.ReadError("x"),
    "disconnected": httpx2.RemoteProtocolError("Server disconnected without sending a response."),
    "internal error": html(500),
    "bad gateway": html(502),
    "unavailable": html(503),
    "gateway timeout": error(504, "timeout_error"),
    "html": html(200),
    "truncated JSON": httpx2.Response(200, content=b'{"id":"msgbatch_1","proc'),
    "empty": httpx2.Response(200),
    "no id": httpx2.Response(200, json=batch("")),
    "redirect": httpx2.Response(307, headers={"location": "https://evil.example.test/"}),
    "conflict": error(409, "conflict_error"),
    "broken gzip": httpx2.Response(200, stream=Body(b"not gzip at all"), headers={"content-encoding": "gzip"}),
    "broken body": httpx2.Response(200, stream=Body(b'{"id":', httpx2.ReadError("x"))),
}


@pytest.mark.parametrize("answer", UNCERTAIN.values(), ids=UNCERTAIN.keys())
async def test_an_unclear_outcome_is_unknown_and_is_not_tried_again(answer, autojump_clock):
    with pytest.raises(SubmissionUnknown):
        await submit(answer)


UNSENT = [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("x"), httpx2.PoolTimeout("x"), httpx2.ProxyError("x")]


@pytest.mark.parametrize("failure", UNSENT, ids=lambda failure: type(failure).__name__)
async def test_a_connection_that_never_was_has_made_nothing(failure, autojump_clock):
    with pytest.raises(ProviderUnavailable):
        await submit(failure)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(429, "rate_limit_error", retry_after="7"), ProviderUnavailable),
        (html(413), SubmissionTooLarge),
        (error(401, "authentication_error"), ProviderPaused),
    ],
)
async def test_a_definite_answer_is_mapped(answer, kind, autojump_clock):
    with pytest.raises(kind):
        await submit(answer)


async def test_an_answer_that_never_comes_is_given_up_after_the_timeout(autojump_clock):
    async def never(request):
        await trio.sleep_forever()

    async with opened(never) as provider:
        started = trio.current_time()
        with pytest.raises(SubmissionUnknown):
            await provider.submit(REQUESTS, {})
        assert trio.current_time() - started == TIMEOUT


class Taker(httpx2.AsyncBaseTransport):
    """Takes a piece of the body every `pause` seconds, `pieces` at most, then fails or answers."""

    def __init__(self, *, pause: float, pieces: int, failure: Exception | None = None) -> None:
        self.pause, self.pieces, self.failure = pause, pieces, failure

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(request.stream))) as pieces:
            for _ in range(self.pieces):
                await trio.sleep(self.pause)
                if await anext(pieces, None) is None:
                    break
        if self.failure:
            raise self.failure
        return httpx2.Response(200, json=batch())


def large(count: int) -> list[WireRequest]:
    return [WireRequest(custom_id=f"r{n}", params=b'"%b"' % (b"x" * PIECE_BYTES)) for n in range(count)]


def no_check() -> None:
    pass


async def submit_to(
    transport: httpx2.AsyncBaseTransport, requests: list[WireRequest], check: Callable[[], None] = no_check
) -> str:
    async with open_anthropic(
        api_key=KEY, base_url=BASE_URL, request_timeout=TIMEOUT, transport=transport, offload=inline
    ) as provider:
        return (await provider.submit(requests, {}, check)).provider_batch_id


async def test_a_slow_upload_is_not_a_dead_one(autojump_clock):
    assert await submit_to(Taker(pause=TIMEOUT - 1, pieces=99), large(10)) == "msgbatch_1"


@pytest.mark.parametrize("count", [3, 1])
async def test_a_connection_cut_within_the_body_has_made_nothing(count, autojump_clock):
    with pytest.raises(SubmissionInterrupted, match="while the body was being sent"):
        await submit_to(Taker(pause=1, pieces=1, failure=httpx2.WriteError("reset")), large(count))


async def test_a_connection_cut_after_the_body_is_unclear(autojump_clock):
    with pytest.raises(SubmissionUnknown):
        await submit_to(Taker(pause=1, pieces=99, failure=httpx2.ReadError("reset")), large(3))


async def test_whoever_may_not_submit_any_more_does_not_complete_the_body(autojump_clock):
    def check() -> None:
        checked.append(trio.current_time())
        raise LeadershipLost("The term is over.")

    checked: list[float] = []
    taker = Taker(pause=1, pieces=99)
    with pytest.raises(LeadershipLost, match="The term is over"):
        await submit_to(taker, large(3), check)
    assert len(checked) == 1
    assert checked[0] > 3  # a second for each piece that was taken before


async def test_an_upload_that_stalls_within_the_body_has_made_nothing(autojump_clock):
    with pytest.raises(ProviderUnavailable):
        await submit_to(Taker(pause=TIMEOUT + 1, pieces=2), large(3))


async def test_the_key_is_in_no_error(autojump_clock):
    for answer in (
        error(401, "authentication_error", f"bad key {KEY}"),
        error(400, "invalid_request_error", f"what is {KEY}?"),
        httpx2.ReadError("x"),
        html(200),
    ):
        with pytest.raises(Exception, match=r"^(?!.*sk-secret).*$"):
            await submit(answer)


@pytest.mark.parametrize("key", ["", "  ", "sk-\n-x", "clé"])
async def test_a_key_that_no_header_can_carry_is_refused_at_once(key):
    with pytest.raises(ValueError, match="API key") as caught:
        async with opened(answering()[0], api_key=key):
            pass
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["", "api.example.test", "ftp://example.test", "http://", "http://a\x00"])
async def test_a_base_url_that_cannot_be_used_is_refused_at_once(base_url):
    with pytest.raises(ValueError, match="base URL"):
        async with opened(answering()[0], base_url=base_url):
            pass


async def test_a_key_with_white_space_around_it_works(autojump_clock):
    handler, requests = answering(httpx2.Response(200, json=batch()))
    async with opened(handler, api_key=f" {KEY}\n") as provider:
        await provider.submit(REQUESTS, {})
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_prefix_in_the_base_url_is_kept(autojump_clock):
    handler, requests = answering(httpx2.Response(200, json=batch()))
    async with opened(handler, base_url=f"{BASE_URL}/proxy/") as provider:
        await provider.submit(REQUESTS, {})
    assert requests[0].url.path == f"/proxy{BATCHES}"


async def test_the_virtual_clock_stands_still_during_calls_that_answer_at_once(autojump_clock):
    handler, _ = answering(httpx2.Response(200, json=batch()))
    async with opened(handler) as provider:
        await provider.submit(REQUESTS, {})
    assert trio.current_time() == 0
