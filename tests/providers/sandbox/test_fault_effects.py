"""What a client sees of each fault."""

from __future__ import annotations

import httpx2
import pytest
import trio
from tests.providers.sandbox.account import BATCHES, make, new_sandbox, plain, request, requests

from backburner.providers.sandbox.faults import NAMES


@pytest.mark.parametrize("name", NAMES)
async def test_no_fault_breaks_the_sandbox_itself(name, autojump_clock):
    engine = new_sandbox(batch_seconds=0)
    async with plain(engine) as client:
        batch_id = await make(client, *requests(3))
        engine.faults.add(f"*:{name}")
        for path in (BATCHES, f"{BATCHES}/{batch_id}", f"{BATCHES}/{batch_id}/results"):
            try:
                assert (await client.get(path)).status_code != 599
            except httpx2.RequestError:
                continue


@pytest.mark.parametrize(
    ("fault", "status", "header", "value"),
    [
        ("429", 429, "retry-after", "1"),
        ("429=0", 429, "retry-after", "0"),
        ("429=1.5", 429, "retry-after", "1.5"),
        ("429=86400", 429, "retry-after", "86400"),
        ("429_ms=250", 429, "retry-after-ms", "250"),
        ("429_date=90", 429, "retry-after", "Thu, 01 Jan 2026 00:01:30 GMT"),
        ("429_bare", 429, "retry-after", None),
        ("spend_cap", 429, "retry-after", None),
        ("529", 529, "retry-after", None),
        ("413_html", 413, "content-type", "text/html; charset=utf-8"),
        ("500_html", 500, "content-type", "text/html; charset=utf-8"),
        ("502", 502, "content-type", "text/html; charset=utf-8"),
        ("307=http://x/y", 307, "location", "http://x/y"),
    ],
)
async def test_a_wrong_answer_carries_what_belongs_to_it(fault, status, header, value, autojump_clock):
    engine = new_sandbox()
    engine.faults.add(f"create:{fault}@1")
    async with plain(engine) as client:
        response = await client.post(BATCHES, json={"requests": requests(1)})
        assert (response.status_code, response.headers.get(header)) == (status, value)
        assert (await client.get(BATCHES)).json()["data"] == []
        await make(client, request(0))


async def test_a_spend_cap_names_its_code(autojump_clock):
    engine = new_sandbox()
    engine.faults.add("list:spend_cap")
    async with plain(engine) as client:
        error = (await client.get(BATCHES)).json()["error"]
    assert error["details"] == {"error_code": "enforced_spend_limit_reached"}


@pytest.mark.parametrize(
    ("fault", "error", "made"),
    [
        ("refuse", httpx2.ConnectError, 0),
        ("reset", httpx2.ReadError, 0),
        ("close", httpx2.RemoteProtocolError, 0),
        ("lost_response", httpx2.ReadError, 1),
        ("stall", httpx2.ReadTimeout, 1),
        ("slow_headers=601", httpx2.ReadTimeout, 1),
        ("stall_body", httpx2.ReadTimeout, 1),
        ("reset_body", httpx2.ReadError, 1),
    ],
)
async def test_a_connection_breaks_before_or_after_the_batch_is_made(fault, error, made, autojump_clock):
    engine = new_sandbox()
    engine.faults.add(f"create:{fault}")
    async with plain(engine) as client:
        with pytest.raises(error):
            await client.post(BATCHES, json={"requests": requests(1)})
        assert len((await client.get(BATCHES)).json()["data"]) == made


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("lost_500", 500, b'{"type":"error"'),
        ("lost_504", 504, b'{"type":"error"'),
        ("html_200", 200, b"<html>"),
        ("empty_200", 200, b""),
        ("truncated_json", 200, b'{"id":"msgbatch_'),
        ("latin1", 200, b'{"note":"caf\xe9","id":"msgbatch_'),
    ],
)
async def test_a_create_is_carried_out_though_the_answer_is_worthless(fault, status, body, autojump_clock):
    engine = new_sandbox()
    engine.faults.add(f"create:{fault}")
    async with plain(engine) as client:
        response = await client.post(BATCHES, json={"requests": requests(1)})
        assert (response.status_code, response.content[: len(body)]) == (status, body)
        assert len((await client.get(BATCHES)).json()["data"]) == 1


async def test_a_dripping_answer_comes_byte_by_byte(autojump_clock):
    engine = new_sandbox()
    engine.faults.add("list:drip=10")
    async with plain(engine) as client:
        response = await client.get(BATCHES)
    assert response.json()["data"] == []
    assert trio.current_time() == pytest.approx((len(response.content) + 9) // 10)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("unknown_status", {"processing_status": "paused"}),
        ("null_results_url", {"processing_status": "ended", "results_url": None}),
        ("foreign_results_url=http://evil/x", {"results_url": "http://evil/x"}),
        ("never_ends", {"processing_status": "in_progress", "ended_at": None, "results_url": None}),
        ("backwards", {"processing_status": "in_progress", "ended_at": None, "results_url": None}),
        ("archived", {"archived_at": "2026-01-01T00:00:00.000000Z", "results_url": None}),
        ("skew=-3600", {"created_at": "2025-12-31T23:00:00.000000Z"}),
    ],
)
async def test_a_view_is_wrong_for_one_batch_retrieved_or_listed(fault, expected, autojump_clock):
    engine = new_sandbox(batch_seconds=0)
    async with plain(engine) as client:
        first, second = await make(client, request(0)), await make(client, request(0))
        right = (await client.get(f"{BATCHES}/{second}")).json()
        engine.faults.add(f"status:{fault}#1")
        retrieved = (await client.get(f"{BATCHES}/{first}")).json()
        listed = (await client.get(BATCHES)).json()["data"]
    assert {name: retrieved[name] for name in expected} == expected
    assert listed == [right, retrieved]


async def test_odd_counts_do_not_sum_up(autojump_clock):
    engine = new_sandbox(batch_seconds=0)
    engine.faults.add("retrieve:odd_counts=2")
    async with plain(engine) as client:
        batch_id = await make(client, request(0))
        assert (await client.get(f"{BATCHES}/{batch_id}")).json()["request_counts"]["succeeded"] == 3


@pytest.mark.parametrize(
    ("fault", "pages"),
    [
        ("stuck_cursor", [([4, 3], True), ([4, 3], True), ([4, 3], True)]),
        ("overlap", [([4, 3], True), ([3, 2], True), ([2, 1], True)]),
        ("hide_newest", [([3, 2], True), ([1, 0], False)]),
        ("empty_page", [([], True)]),
    ],
)
async def test_a_listing_goes_wrong_page_by_page(fault, pages, autojump_clock):
    engine = new_sandbox()
    engine.faults.add(f"list:{fault}")
    seen = []
    async with plain(engine) as client:
        made = [await make(client, request(0)) for _ in range(5)]
        query = "limit=2"
        for _ in pages:
            page = (await client.get(f"{BATCHES}?{query}")).json()
            seen.append(([made.index(batch["id"]) for batch in page["data"]], page["has_more"]))
            query = f"limit=2&after_id={page['last_id']}"
    assert seen == pages


async def broken_results(*faults, count=8):
    """The right bytes of a results file, and what comes with the faults: bytes and error."""
    engine = new_sandbox(batch_seconds=0)
    received, error = bytearray(), None
    async with plain(engine) as client:
        path = f"{BATCHES}/{await make(client, *requests(count))}/results"
        right = (await client.get(path)).content
        for fault in faults:
            engine.faults.add(f"results:{fault}")
        try:
            async with client.stream("GET", path) as response:
                async for chunk in response.aiter_raw():
                    received += chunk
        except httpx2.RequestError as raised:
            error = type(raised)
    return right, bytes(received), error


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset_midline=3", httpx2.ReadError),
        ("close_midline=3", httpx2.RemoteProtocolError),
        ("truncated_line=3", None),
    ],
)
async def test_results_stop_in_the_middle_of_a_line(fault, error, autojump_clock):
    right, received, raised = await broken_results(fault)
    assert raised is error
    assert right.startswith(received)
    assert received.count(b"\n") == 3
    assert not received.endswith(b"\n")


async def test_results_stop_cleanly_after_a_line(autojump_clock):
    right, received, raised = await broken_results("truncate")
    assert (received, raised) == (b"".join(right.splitlines(keepends=True)[:4]), None)


@pytest.mark.parametrize(
    ("fault", "lines", "unlike"),
    [
        ("drop=3", 5, 0),
        ("duplicate=3", 11, 0),
        ("contradict=2", 10, 2),
        ("foreign=2", 10, 2),
        ("bad_json", 8, 1),
        ("bad_utf8", 8, 1),
        ("deep", 8, 1),
        ("unknown_type", 8, 1),
        ("crlf", 8, 8),
        ("blank", 16, 8),
    ],
)
async def test_lines_are_spoiled(fault, lines, unlike, autojump_clock):
    right, received, _ = await broken_results(fault)
    good = set(right.split(b"\n")[:-1])
    got = received.split(b"\n")[:-1]
    assert (len(got), sum(line not in good for line in got)) == (lines, unlike)


async def test_a_file_may_begin_with_a_mark_and_end_without_a_line_end(autojump_clock):
    right, received, _ = await broken_results("bom", "no_newline")
    assert received == b"\xef\xbb\xbf" + right[:-1]


async def test_faults_of_lines_add_up_and_a_cut_comes_last(autojump_clock):
    _, received, raised = await broken_results("reset_midline=2", "crlf")
    assert received.count(b"\r\n") == 2
    assert raised is httpx2.ReadError


@pytest.mark.parametrize("spoiler", ["bom", "duplicate=8", "blank", "bad_json=8", "contradict=8"])
async def test_a_fault_that_reads_lines_comes_before_what_spoils_them(spoiler, autojump_clock):
    _, received, raised = await broken_results(spoiler, "contradict=8", "unknown_type=8")
    assert raised is None
    assert received.count(b'"throttled"') >= 8


class Pieces(httpx2.AsyncByteStream):
    """A body of 100 bytes in ten pieces, and how many of them were taken."""

    def __init__(self):
        self.taken = 0

    async def __aiter__(self):
        while self.taken < 10:
            self.taken += 1
            yield b"%10d" % self.taken


@pytest.mark.parametrize(("fault", "taken"), [("cut_body", 5), ("cut_body=35", 4), ("cut_body=99", 10)])
async def test_a_connection_is_reset_in_the_middle_of_a_body(fault, taken, autojump_clock):
    engine = new_sandbox()
    engine.faults.add(f"create:{fault}")
    body = Pieces()
    async with plain(engine, **{"content-length": "100"}) as client:
        with pytest.raises(httpx2.WriteError):
            await client.post(BATCHES, content=body)
    assert body.taken == taken


async def test_a_body_that_is_short_enough_gets_through(autojump_clock):
    engine = new_sandbox()
    engine.faults.add("create:cut_body=100000")
    async with plain(engine) as client:
        await make(client, request(0))
        with pytest.raises(httpx2.WriteError):
            await make(client, request(1, "x" * 100_000))
