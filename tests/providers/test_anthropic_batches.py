"""Looking at batches through the real SDK: retrieve, cancel, find, snapshot."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import trio
from tests.providers.anthropic_fake import (
    BASE_URL,
    BATCH,
    BATCHES,
    DATE,
    TIMEOUT,
    Body,
    answering,
    batch,
    ended,
    error,
    html,
    opened,
    page,
)

from backburner.errors import BatchNotFound, ProviderPaused, ProviderUnavailable
from backburner.providers import anthropic
from backburner.providers.base import BatchRef

NOW = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)  # DATE
BUSY = error(529, "overloaded_error")


def made(batch_id, seconds_ago, count=2):
    counts = {"processing": count, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return batch(batch_id, created_at=(NOW - timedelta(seconds=seconds_ago)).isoformat(), request_counts=counts)


async def test_a_batch_is_retrieved_with_the_providers_bytes(autojump_clock):
    handler, [*_] = answered = answering(httpx2.Response(200, json=ended()))
    async with opened(handler) as provider:
        view = await provider.retrieve(BATCH)
    assert json.loads(view.raw) == ended()
    assert [(r.method, r.url.path) for r in answered[1]] == [("GET", f"{BATCHES}/msgbatch_1")]


async def test_an_id_cannot_leave_its_place_in_the_path(autojump_clock):
    handler, requests = answering(html(404))
    async with opened(handler) as provider:
        for batch_id in ("", ".", "..", "a/../../b?x=1"):
            with pytest.raises(BatchNotFound):
                await provider.retrieve(BatchRef(batch_id, {}))
    assert [request.url.raw_path for request in requests] == [f"{BATCHES}/a%2F..%2F..%2Fb%3Fx%3D1".encode()]


UNUSABLE = {
    "html": html(200),
    "truncated": httpx2.Response(200, content=b'{"id":"msgbatch_1"'),
    "another": httpx2.Response(200, json=batch("msgbatch_2")),
    "reset": httpx2.ReadError("x"),
    "refused": httpx2.ConnectError("x"),
    "timeout": httpx2.ReadTimeout("x"),
    "broken gzip": httpx2.Response(200, stream=Body(b"???"), headers={"content-encoding": "gzip"}),
    "broken error body": httpx2.Response(500, stream=Body(b"{", httpx2.ReadError("x"))),
    "redirect": httpx2.Response(302, headers={"location": "https://evil.example.test/"}),
    "overloaded": BUSY,
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_question_without_a_usable_answer_can_be_asked_again(answer, autojump_clock):
    handler, requests = answering(answer)
    async with opened(handler) as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.retrieve(BATCH)
    assert len(requests) == 1


async def test_a_small_answer_that_drips_is_given_up_as_a_whole(autojump_clock):
    dripping = Body(*[piece for byte in b'{"id":"msgbatch_1"}' * 9 for piece in (1.0, bytes([byte]))])
    handler, _ = answering(httpx2.Response(200, stream=dripping))
    async with opened(handler) as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.retrieve(BATCH)
        assert trio.current_time() == TIMEOUT


async def test_cancelling_posts_nothing_to_the_batch(autojump_clock):
    handler, requests = answering(httpx2.Response(200, json=batch(processing_status="canceling")))
    async with opened(handler) as provider:
        view = await provider.cancel(BATCH)
    assert view.canceling
    assert [(r.method, r.url.path, r.content) for r in requests] == [("POST", f"{BATCHES}/msgbatch_1/cancel", b"")]


@pytest.mark.parametrize("refusal", [error(400, "invalid_request_error"), error(409, "conflict_error")])
async def test_cancelling_too_late_is_harmless(refusal, autojump_clock):
    handler, _ = answering(refusal, httpx2.Response(200, json=ended()))
    async with opened(handler) as provider:
        assert (await provider.cancel(BATCH)).ended


async def test_a_cancel_refused_for_another_reason_can_be_repeated(autojump_clock):
    handler, _ = answering(error(409, "conflict_error"), httpx2.Response(200, json=batch()))
    async with opened(handler) as provider:
        with pytest.raises(ProviderUnavailable):
            await provider.cancel(BATCH)


async def everything(views):
    return views


async def everything_about(provider, options):
    """Each call that is about a batch, or looks for one."""
    of = BatchRef("msgbatch_1", options)
    await provider.retrieve(of)
    await provider.cancel(of)
    await provider.find(options, item_count=2, within=300.0, sieve=everything)
    await provider.snapshot(options, ["msgbatch_1"])
    async with provider.results(of) as lines:
        assert await lines.next_lines() == [b'{"custom_id":"a","result":{"type":"expired"}}']


async def test_every_call_about_a_batch_names_its_workspace(autojump_clock):
    def handle(request):
        requests.append(request)
        if request.url.path == BATCHES:
            return page(batch())
        if request.url.path.endswith("/results"):
            return httpx2.Response(200, stream=Body(b'{"custom_id":"a","result":{"type":"expired"}}\n'))
        return httpx2.Response(200, json=ended())

    requests: list[httpx2.Request] = []
    options = {"anthropic-workspace-id": "wrkspc_two", "anthropic-beta": "ended-since", "x-other": "1"}
    async with opened(handle) as provider:
        await everything_about(provider, options)
        named = [request.headers.get("anthropic-workspace-id") for request in requests]
        assert named == ["wrkspc_two"] * 6
        assert not any({"anthropic-beta", "x-other"} & request.headers.keys() for request in requests)
        requests.clear()
        await everything_about(provider, {})
    assert [request.headers.get("anthropic-workspace-id") for request in requests] == [None] * 6


async def find(*answers, within=300.0, item_count=2):
    handler, requests = answering(*answers)
    async with opened(handler) as provider:
        found = await provider.find({}, item_count=item_count, within=within, sieve=everything)
    return [view.provider_batch_id for view in found.batches], found.doubt, requests


async def test_finding_takes_recent_batches_of_that_size_newest_first(autojump_clock):
    listed = page(made("other size", 5, count=3), made("b", 20), made("a", 10), made("old", 900))
    assert (await find(listed))[:2] == (["a", "b"], None)


async def test_ages_are_taken_from_the_providers_clock_with_a_margin(autojump_clock):
    assert (await find(page(made("within", 300), made("margin", 359), made("too old", 361))))[0] == ["within", "margin"]


async def test_without_a_date_the_newest_batch_tells_the_time(autojump_clock):
    assert (await find(page(made("a", 5000), made("b", 5300), made("c", 6000), headers={})))[0] == ["a", "b"]


async def test_finding_pages_until_all_is_too_old(autojump_clock):
    pages = (
        page(made("a", 10), has_more=True),
        page(made("b", 20), has_more=True),
        page(made("c", 999), has_more=True),
    )
    found, doubt, requests = await find(*pages)
    assert (found, doubt) == (["a", "b"], None)
    queries = [dict(request.url.params) for request in requests]
    assert queries == [{"limit": "1000"}, {"limit": "1000", "after_id": "a"}, {"limit": "1000", "after_id": "b"}]


async def test_a_batch_on_two_pages_is_found_once(autojump_clock):
    pages = page(made("a", 10), has_more=True), page(made("a", 10), made("b", 20))
    assert (await find(*pages))[:2] == (["a", "b"], None)


async def test_an_empty_listing_is_an_answer(autojump_clock):
    assert (await find(page()))[:2] == ([], None)


@pytest.mark.parametrize("second", [page(has_more=True), page(made("a", 10), has_more=True)])
async def test_a_listing_that_does_not_go_on_leaves_a_doubt(second, autojump_clock):
    found, doubt, _ = await find(page(made("a", 10), has_more=True), second)
    assert found == ["a"]
    assert doubt == "The listing of batches could not be read to its end."


def endless(count, until=None):
    """A listing of pages of one batch each, a second apart; the last one, if there is one, is too old."""

    async def handler(request):
        await trio.sleep(1)
        number = int(request.url.params.get("after_id", "0")) + 1
        if number == until:
            return page(made(str(number), 999), has_more=True)
        return page(made(str(number), 10, count=count), has_more=True)

    return handler


async def test_a_listing_of_many_pages_is_read_as_far_as_it_matters(autojump_clock):
    async with opened(endless(9, until=200)) as provider:
        found = await provider.find({}, item_count=2, within=300, sieve=everything)
    assert (found.batches, found.doubt) == ([], None)


async def test_an_endless_listing_is_given_up(autojump_clock):
    async with opened(endless(9)) as provider:
        found = await provider.find({}, item_count=2, within=300, sieve=everything)
    assert (found.batches, found.doubt) == ([], "The listing of batches could not be read to its end.")
    assert trio.current_time() == 600


async def test_only_what_the_sieve_lets_through_is_kept(autojump_clock):
    async def every_third(views):
        sizes.append(len(views))
        return [view for view in views if int(view.provider_batch_id) % 3 == 0]

    sizes: list[int] = []
    async with opened(endless(2, until=31)) as provider:
        found = await provider.find({}, item_count=2, within=300, sieve=every_third)
    assert len(found.batches) == 10
    assert sizes == [1] * 30


async def test_a_search_that_finds_a_great_many_goes_no_further(autojump_clock, monkeypatch):
    monkeypatch.setattr(anthropic, "MOST_FOUND", 20)
    async with opened(endless(2)) as provider:
        found = await provider.find({}, item_count=2, within=300, sieve=everything)
    assert len(found.batches) == 20
    assert found.doubt


ODD = {"id": "odd", "processing_status": 5}


@pytest.mark.parametrize(
    "pages",
    [
        [page(ODD)],
        [page(ODD, made("too old", 999))],
        [page(made("x", 10, count=9), ODD, made("too old", 999))],
        [page(made("x", 10, count=9), has_more=True), page(ODD, made("too old", 999))],
        [page(made("x", 10, count=9), ODD, has_more=True), page(made("too old", 999), ODD)],
    ],
)
async def test_a_batch_that_cannot_be_read_leaves_a_doubt(pages, autojump_clock):
    assert (await find(*pages))[:2] == ([], "The listing holds a batch that could not be read.")


async def test_what_cannot_be_read_among_old_batches_does_not_matter(autojump_clock):
    assert (await find(page(made("a", 10), made("too old", 999), ODD)))[:2] == (["a"], None)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(html(200), ProviderUnavailable), (BUSY, ProviderUnavailable), (html(404), ProviderPaused)],
)
async def test_an_unusable_listing_is_an_error(answer, kind, autojump_clock):
    with pytest.raises(kind):
        await find(answer)


async def snapshot(wanted, *answers):
    handler, requests = answering(*answers)
    async with opened(handler) as provider:
        return await provider.snapshot({}, wanted), requests


async def test_a_snapshot_reads_only_as_many_pages_as_it_needs(autojump_clock):
    views, requests = await snapshot(
        ["a", "c"], page(batch("a"), batch("b"), has_more=True), page(batch("c"), has_more=True)
    )
    assert sorted(views) == ["a", "c"]
    assert json.loads(views["c"].raw) == batch("c")
    assert [request.url.params.get("after_id") for request in requests] == [None, "b"]


async def test_a_snapshot_leaves_out_what_the_listing_does_not_show(autojump_clock):
    assert (await snapshot(["a", "gone"], page(batch("a"))))[0].keys() == {"a"}


async def test_a_snapshot_stops_at_a_stuck_cursor(autojump_clock):
    views, requests = await snapshot(["a", "gone"], *[page(batch("a"), has_more=True) for _ in range(2)])
    assert (views.keys(), len(requests)) == ({"a"}, 2)


async def test_a_snapshot_of_a_few_batches_reads_a_few_pages_at_most(autojump_clock):
    pages = [page(batch(f"b{number}"), has_more=True) for number in range(9)]
    views, requests = await snapshot(["gone"], *pages)
    assert (views, len(requests)) == ({}, 4)


async def test_a_snapshot_of_nothing_asks_nothing(autojump_clock):
    assert await snapshot([]) == ({}, [])


async def test_the_listing_is_asked_with_the_key_at_the_base_url(autojump_clock):
    _, [request] = await snapshot(["a"], page(batch("a"), headers={"date": DATE}))
    assert str(request.url) == f"{BASE_URL}{BATCHES}?limit=1000"
