"""Reading results through the real SDK from streams that break in every way."""

from __future__ import annotations

import gzip
import ssl

import httpx2
import pytest
import trio
from tests.providers.anthropic_fake import (
    BASE_URL,
    BATCH,
    BATCHES,
    KEY,
    TIMEOUT,
    Body,
    answering,
    batch,
    collected,
    ended,
    error,
    html,
    opened,
    results_of,
)

from backburner.errors import (
    BatchNotFound,
    ProviderPaused,
    ProviderUnavailable,
    ResultsBroken,
    ResultsGone,
)

LINES = [b'{"custom_id":"r%d","result":{"type":"expired"}}' % n for n in range(5)]
FILE = b"".join(line + b"\n" for line in LINES)


async def read(body, **headers):
    handler, _ = results_of(body, **headers)
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        return await collected(lines.next_lines)


async def test_results_are_read_from_the_named_address_with_the_key(autojump_clock):
    handler, requests = results_of(Body(FILE))
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        assert await collected(lines.next_lines) == LINES
        assert await lines.next_lines() == []
    assert str(requests[1].url) == f"{BASE_URL}{BATCHES}/msgbatch_1/results"
    assert requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_lines_come_whole_however_small_the_pieces(size, autojump_clock):
    assert await read(Body(*[FILE[i : i + size] for i in range(0, len(FILE), size)])) == LINES


async def test_gzip_is_undone(autojump_clock):
    assert await read(Body(gzip.compress(FILE)), content_encoding="gzip") == LINES


async def test_compressed_results_that_end_early_are_broken(autojump_clock):
    handler, _ = results_of(Body(gzip.compress(FILE)[:-8]), content_encoding="gzip")
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        assert await lines.next_lines() == LINES
        with pytest.raises(ResultsBroken):
            await lines.next_lines()


async def test_a_drip_of_compressed_bytes_is_not_dead(autojump_clock):
    drip = [part for byte in gzip.compress(FILE) for part in (TIMEOUT - 1, bytes([byte]))]
    assert await read(Body(*drip), content_encoding="gzip") == LINES


WHOLE = [b'{"type":"expired"}', rb'{"type":"errored","text":"\ud800"}', b'{"type":%b%b}' % (b"[" * 3000, b"]" * 3000)]


@pytest.mark.parametrize("result", WHOLE, ids=["plain", "surrogate", "deep"])
async def test_a_whole_last_line_without_line_end_is_given(result, autojump_clock):
    last = b'{"custom_id":"r5","result":%b}' % result
    assert await read(Body(FILE, last)) == [*LINES, last]


@pytest.mark.parametrize("length", [1, 20, len(LINES[0]) - 1])
async def test_a_file_that_is_cut_inside_a_line_is_broken(length, autojump_clock):
    handler, _ = results_of(Body(FILE[: len(LINES[0]) + 1 + length]))
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        assert await lines.next_lines() == LINES[:1]
        with pytest.raises(ResultsBroken, match="inside a line"):
            await lines.next_lines()


async def test_a_slow_drip_is_not_dead(autojump_clock):
    assert await read(Body(*[part for line in LINES for part in (TIMEOUT - 1, line + b"\n")])) == LINES


BREAKS = {
    "reset": httpx2.ReadError("x"),
    "protocol": httpx2.RemoteProtocolError("peer closed connection without sending complete message body"),
    "timeout": httpx2.ReadTimeout("x"),
    "decoding": httpx2.DecodingError("x"),
    "trio": trio.BrokenResourceError("x"),
    "os": ConnectionResetError("x"),
    "tls": ssl.SSLError("x"),
    "stall": 10 * TIMEOUT,
}


@pytest.mark.parametrize("failure", BREAKS.values(), ids=BREAKS.keys())
async def test_complete_lines_are_given_before_a_break(failure, autojump_clock):
    handler, _ = results_of(body := Body(LINES[0] + b"\n" + LINES[1] + b"\n" + LINES[2][:9], failure))
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        assert await lines.next_lines() == LINES[:2]
        with pytest.raises(ResultsBroken):
            await lines.next_lines()
    assert body.closed


async def test_a_corrupt_encoding_breaks_the_stream(autojump_clock):
    packed = gzip.compress(b"".join(b"%d\n" % (n * n) for n in range(9999)))
    with pytest.raises(ResultsBroken):
        await read(Body(packed[:9000] + b"\xff" * 500, packed[9500:]), content_encoding="gzip")


FOREIGN = [
    "https://evil.example.test/v1/messages/batches/msgbatch_1/results",
    "http://api.example.test/v1/messages/batches/msgbatch_1/results",
    "https://api.example.test:8443/results",
    "https://api.example.test@evil.example.test/results",
    "https://user:password@api.example.test/results",
    "https://api.example.test.evil.example.test/results",
    "https://api.example.test\\@evil.example.test/results",
    "//evil.example.test/results",
    "file:///etc/passwd",
    "https://[broken",
]


@pytest.mark.parametrize("url", FOREIGN)
async def test_the_key_is_never_sent_to_another_address(url, autojump_clock):
    handler, requests = answering(httpx2.Response(200, json=ended(results_url=url)), httpx2.Response(200, content=FILE))
    async with opened(handler, base_url=f"{BASE_URL}/gateway") as provider, provider.results(BATCH) as lines:
        assert await collected(lines.next_lines) == LINES
    assert [str(request.url) for request in requests] == [
        f"{BASE_URL}/gateway{BATCHES}/msgbatch_1",
        f"{BASE_URL}/gateway{BATCHES}/msgbatch_1/results",
    ]


@pytest.mark.parametrize(
    "url", ["/v1/x/results", f"{BASE_URL}:443/v1/x/results", "HTTPS://API.example.test/v1/x/results"]
)
async def test_the_same_address_may_be_written_in_other_ways(url, autojump_clock):
    handler, requests = answering(httpx2.Response(200, json=ended(results_url=url)), httpx2.Response(200, content=FILE))
    async with opened(handler) as provider, provider.results(BATCH) as lines:
        assert await collected(lines.next_lines) == LINES
    assert str(requests[1].url) == f"{BASE_URL}/v1/x/results"


async def test_a_redirect_is_not_followed(autojump_clock):
    redirect = httpx2.Response(307, headers={"location": "https://evil.example.test/"})
    handler, requests = answering(httpx2.Response(200, json=ended()), redirect)
    async with opened(handler) as provider:
        with pytest.raises(ProviderUnavailable):
            async with provider.results(BATCH):
                pass
    assert len(requests) == 2


ENTRIES = {
    "not ended": ([httpx2.Response(200, json=batch())], ProviderUnavailable),
    "no address yet": ([httpx2.Response(200, json=ended(results_url=None))], ProviderUnavailable),
    "archived": ([httpx2.Response(200, json=ended(archived_at="2026-12-20T00:00:00Z", results_url=None))], ResultsGone),
    "batch not found": ([html(404)], BatchNotFound),
    "results not found": ([httpx2.Response(200, json=ended()), error(404, "not_found_error")], BatchNotFound),
    "results gone": ([httpx2.Response(200, json=ended()), html(410)], ResultsGone),
    "web page": ([httpx2.Response(200, json=ended()), html(200)], ProviderUnavailable),
    "overloaded": ([httpx2.Response(200, json=ended()), error(529, "overloaded_error")], ProviderUnavailable),
    "forbidden": ([httpx2.Response(200, json=ended()), html(403)], ProviderPaused),
    "reset": ([httpx2.Response(200, json=ended()), httpx2.ReadError("x")], ProviderUnavailable),
    "half an error": (
        [httpx2.Response(200, json=ended()), httpx2.Response(500, stream=Body(b"{", httpx2.ReadError("x")))],
        ProviderUnavailable,
    ),
}


@pytest.mark.parametrize(("answers", "kind"), ENTRIES.values(), ids=ENTRIES.keys())
async def test_results_that_cannot_be_read_yet_say_so_at_once(answers, kind, autojump_clock):
    async with opened(answering(*answers)[0]) as provider:
        with pytest.raises(kind):
            async with provider.results(BATCH):
                pass


async def test_results_whose_head_never_comes_are_given_up(autojump_clock):
    async def handler(request):
        if request.url.path.endswith("/results"):
            await trio.sleep_forever()
        return httpx2.Response(200, json=ended())

    async with opened(handler) as provider:
        with pytest.raises(ProviderUnavailable):
            async with provider.results(BATCH):
                pass
    assert trio.current_time() == TIMEOUT


async def test_leaving_early_closes_the_connection(autojump_clock):
    handler, _ = results_of(body := Body(*[line + b"\n" for line in LINES]))
    async with opened(handler) as provider:
        async with provider.results(BATCH) as lines:
            assert await lines.next_lines() == LINES[:1]
        assert body.closed


async def test_cancellation_closes_the_connection(autojump_clock):
    handler, _ = results_of(body := Body(LINES[0] + b"\n", 10.0, LINES[1] + b"\n"))
    async with opened(handler) as provider:
        with trio.move_on_after(5) as scope:
            async with provider.results(BATCH) as lines:
                await collected(lines.next_lines)
        assert scope.cancelled_caught
        assert body.closed


async def test_an_error_of_the_reader_passes_through_unchanged(autojump_clock):
    handler, _ = results_of(body := Body(FILE))
    async with opened(handler) as provider:
        with pytest.raises(KeyError, match="mine"):
            async with provider.results(BATCH):
                raise KeyError("mine")
    assert body.closed
