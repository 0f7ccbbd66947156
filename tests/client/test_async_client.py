"""The asynchronous client under Trio and under asyncio, where it differs from the synchronous one."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import anyio
import httpx2
import pytest
from tests.client.fakes import Script, event, job, ok, page, refusal, script

from backburner import ApiError, AsyncClient, ServerUnreachable, WaitTimeout

REFUSED = httpx2.ConnectError("Connection refused")
REQUESTS = [{"custom_id": str(number), "params": {}} for number in range(3)]
LINES = b'{"custom_id":"0","params":{}}\n{"custom_id":"1","params":{}}\n{"custom_id":"2","params":{}}\n'

Do = Callable[..., Any]


@pytest.fixture(params=["trio", "asyncio"])
def do(request) -> Do:
    """Runs `scenario(client)` against prepared answers; returns what it returns. Nothing is really waited for."""

    def run(server: Script, scenario: Callable[[AsyncClient], Any], slept: list[float] | None = None) -> Any:
        now = [0.0]

        async def sleep(seconds: float) -> None:
            now[0] += seconds
            (slept if slept is not None else []).append(seconds)

        async def main() -> Any:
            async with AsyncClient(
                "http://server:1", "bb_key", transport=server.transport, sleep=sleep, monotonic=lambda: now[0],
                random=Random(0),
            ) as client:  # fmt: skip
                return await scenario(client)

        return anyio.run(main, backend=request.param)

    return run


def test_an_answer_becomes_a_record(do):
    server = script(ok(job("completed", succeeded=2)))
    found = do(server, lambda client: client.job("job-1"))
    assert (found.id, found.is_terminal, found.counts.succeeded) == ("job-1", True, 2)
    assert server.asked[0].headers["authorization"] == "Bearer bb_key"


def test_an_error_answer_is_raised(do):
    with pytest.raises(ApiError) as caught:
        do(script(refusal(409, "job_terminal")), lambda client: client.cancel("job-1"))
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (409, "job_terminal", "req_1")


def test_a_call_is_repeated_with_the_same_key_after_the_wait_that_was_asked_for(do):
    slept: list[float] = []
    busy = httpx2.Response(503, json={}, headers={"retry-after": "3"})
    server = script(busy, REFUSED, ok(job(), 202))
    do(server, lambda client: client.submit(iter(REQUESTS)), slept)
    assert server.bodies == [LINES] * 3
    assert len({request.headers["idempotency-key"] for request in server.asked}) == 1
    assert slept[0] == 3.0


async def three() -> AsyncIterator[dict[str, Any]]:
    for request in REQUESTS:
        await anyio.lowlevel.checkpoint()
        yield request


@pytest.mark.parametrize("source", [lambda: REQUESTS, lambda: iter(REQUESTS), three, lambda: io.BytesIO(LINES)])
def test_requests_of_every_kind_are_submitted(do, source):
    server = script(refusal(503), ok(job(), 202))
    do(server, lambda client: client.submit(source()))
    assert server.bodies == [LINES, LINES]


def test_lists_are_fetched_as_they_are_read(do):
    async def read(client: AsyncClient) -> list[str]:
        return [found.id async for found in client.jobs(status="failed")]

    server = script(page(job(job_id="a"), has_more=True), page(job(job_id="b")))
    assert do(server, read) == ["a", "b"]
    assert server.paths == ["GET /v1/jobs?status=failed", "GET /v1/jobs?status=failed&after=a"]


def test_results_are_read_line_by_line(do):
    content = b'{"custom_id":"a","result":{"type":"succeeded"}}\n{"custom_id":"b","result":{"type":"errored"}}\n'

    async def read(client: AsyncClient) -> list[tuple[str, str]]:
        async with client.results("job-1") as results:
            return [(result.custom_id, result.status) async for result in results]

    server = script(httpx2.Response(200, content=content))
    assert do(server, read) == [("a", "succeeded"), ("b", "errored")]


@pytest.mark.parametrize("way", ["iterated", "saved"])
def test_a_download_goes_on_behind_the_last_whole_line(do, way):
    class Broken(httpx2.AsyncByteStream):
        def __init__(self, *pieces: bytes) -> None:
            self.pieces = pieces

        async def __aiter__(self):
            for piece in self.pieces:
                yield piece
            raise httpx2.ReadError("reset")

    lines = [b'{"custom_id":"%d","result":{"type":"succeeded"}}\n' % number for number in range(4)]
    server = script(
        lambda _: httpx2.Response(200, stream=Broken(lines[0] + lines[1][:9], lines[1][9:] + lines[2][:5])),
        *[REFUSED] * 5,
        httpx2.Response(200, content=lines[2] + lines[3][:-3]),
        httpx2.Response(200, content=lines[3]),
    )
    trouble: list[str] = []

    async def note(error: ServerUnreachable) -> None:
        trouble.append(str(error))

    async def read(client: AsyncClient) -> bytes:
        target = io.BytesIO()
        async with client.results("job-1", on_trouble=note) as results:
            if way == "saved":
                assert await results.save(target) == len(b"".join(lines))
                return target.getvalue()
            return b"".join([result.line + b"\n" async for result in results])

    assert do(server, read) == b"".join(lines)
    assert [request.url.params.get("after") for request in server.asked] == [None, *["1"] * 6, "2"]
    assert len(trouble) == 3


def test_a_download_is_given_up_when_nothing_comes(do):
    async def read(client: AsyncClient) -> None:
        async with client.results("job-1") as results:
            async for _ in results:
                pass

    whole = b'{"custom_id":"0","result":{}}\n'
    with pytest.raises(ServerUnreachable, match="Cannot reach"):
        do(script(httpx2.Response(200, content=whole + b"{"), REFUSED), read)


def test_waiting_tells_of_progress_and_survives_the_server_being_away(do):
    shown: list[str] = []
    trouble: list[ServerUnreachable] = []

    async def show(found):
        shown.append(found.status)

    def wait(client: AsyncClient) -> Any:
        return client.wait("job-1", on_progress=show, on_trouble=trouble.append)

    server = script(ok(job("pending")), ok(job("running")), *[REFUSED] * 7, ok(job("completed")))
    assert do(server, wait).status == "completed"
    assert (shown, len(trouble)) == (["pending", "running", "completed"], 1)


def test_waiting_ends_when_the_time_is_up(do):
    with pytest.raises(WaitTimeout, match="job-1"):
        do(script(ok(job("running"))), lambda client: client.wait("job-1", timeout=5))


def test_events_go_on_after_a_broken_connection_where_they_stopped(do):
    class Broken(httpx2.AsyncByteStream):
        async def __aiter__(self):
            yield event("e1", job("pending")) + b"id: e2\ndata: ha"
            raise httpx2.ReadError("reset")

    async def read(client: AsyncClient) -> list[tuple[str, str]]:
        async with client.events("job-1") as events:
            return [(found.id, found.job.status) async for found in events]

    server = script(
        lambda _: httpx2.Response(200, stream=Broken()),
        REFUSED,
        httpx2.Response(200, content=event("e3", job("running"))),
        httpx2.Response(200, content=event("e4", job("completed"))),
    )
    assert do(server, read) == [("e1", "pending"), ("e3", "running"), ("e4", "completed")]
    assert [request.headers.get("last-event-id") for request in server.asked] == [None, "e1", "e1", "e3"]


def test_events_end_when_the_server_has_nothing_more_to_tell(do):
    async def read(client: AsyncClient) -> list[Any]:
        async with client.events("job-1", last_event_id="e9") as events:
            return [found async for found in events]

    assert do(script(httpx2.Response(204)), read) == []


def test_events_of_a_server_that_stays_away_end_with_an_error(do):
    async def read(client: AsyncClient) -> None:
        async with client.events() as events:
            async for _ in events:
                pass

    with pytest.raises(ServerUnreachable):
        do(script(REFUSED), read)


def test_both_clients_have_the_same_methods():
    from backburner import Client

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) - {"close"} == public(AsyncClient) - {"aclose"}
