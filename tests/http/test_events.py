"""Live streams: what they tell, when, to whom, and how they end."""

from __future__ import annotations

from contextlib import ExitStack

import attrs
import pytest
import sqlalchemy as sa
import trio
import trio_asyncio  # type: ignore[import-untyped]
from tests.http.api import Api, open_api
from tests.http.raw import get, read_all, read_answer, served
from tests.http.streams import streaming
from tests.http.test_jobs import NOBODY
from trio.testing import wait_all_tasks_blocked

from backburner.actors.listener import Listener as Actor
from backburner.api_keys import hash_key
from backburner.changes import Changes
from backburner.http.app import create_app
from backburner.http.events import KEEP_ALIVE
from backburner.http.listener import MOST_WAITING, Listener
from backburner.http.live import CHECK_EVERY, PAUSE
from backburner.model import Principal
from backburner.states import ItemStatus
from backburner.storage import accounts, jobs, postgresql, tables
from backburner.storage.database import inline
from backburner.storage.feed import NotificationFeed
from backburner.storage.notifications import announce_jobs

OK = ItemStatus.SUCCEEDED


async def test_a_job_is_sent_as_it_is_then_at_each_change_until_it_has_ended(autojump_clock, api):
    job = await api.batch(2)
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        first = await stream.next()
        assert first.job == (await api.get(f"/v1/jobs/{job['id']}")).json
        await api.submitted(job["id"])
        assert (await stream.next()).job["status"] == "running"
        await api.results(job["id"], [OK, OK])
        *_, last = await stream.all()
    assert (last.job["status"], last.job["request_counts"]["succeeded"]) == ("completed", 2)


async def test_a_job_that_has_ended_is_sent_once(autojump_clock, api):
    job = await api.ended([OK])
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        assert [seen.job["status"] for seen in await stream.all()] == ["completed"]


async def test_a_client_that_has_seen_the_end_is_told_not_to_come_back(autojump_clock, api):
    job = await api.ended([OK])
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        (seen,) = await stream.all()
    answer = await api.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": seen.id})
    assert (answer.status, answer.body) == (204, b"")


async def test_a_client_that_comes_back_is_not_told_what_it_knows(autojump_clock, api):
    job = await api.batch()
    path = f"/v1/jobs/{job['id']}/events"
    async with streaming(api, path) as stream:
        seen = await stream.next()
    async with streaming(api, path, last=seen.id) as stream:
        await trio.sleep(60)
        await api.submitted(job["id"])
        assert (await stream.next()).job["status"] == "running"


async def test_a_client_that_comes_back_is_told_at_once_what_it_missed(autojump_clock, api):
    job = await api.batch()
    path = f"/v1/jobs/{job['id']}/events"
    async with streaming(api, path) as stream:
        seen = await stream.next()
    await api.submitted(job["id"])
    began = trio.current_time()
    async with streaming(api, path, last=seen.id) as stream:
        assert (await stream.next()).job["status"] == "running"
    assert trio.current_time() - began <= PAUSE


@pytest.mark.parametrize("key", ["other", "read"])
async def test_an_unknown_and_a_foreign_job_have_no_stream(autojump_clock, api, key):
    job = await api.batch()
    asked = job["id"] if key == "other" else NOBODY
    assert (await api.get(f"/v1/jobs/{asked}/events", key=key)).code == (404, "not_found")


async def test_without_a_key_there_is_no_stream(autojump_clock, api):
    assert (await api.get("/v1/events", key=None)).code == (401, "unauthenticated")


@pytest.mark.parametrize("last", ["x", "job-1:2:3", ":1:999999999999999999", ":1", "a:1:1"])
async def test_what_no_stream_has_sent_is_no_event_id(autojump_clock, api, last):
    answer = await api.get("/v1/events", headers={"Last-Event-ID": last})
    assert (answer.status, answer.error["param"]) == (422, "Last-Event-ID")


async def test_a_head_request_is_answered_at_once(autojump_clock, api):
    answer = await api.call("HEAD", "/v1/events")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", b"")


async def test_streams_are_neither_cached_nor_held_back(autojump_clock, api):
    async with streaming(api, "/v1/events") as stream:
        headers = stream.connection.headers
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store, no-transform", "no")
    assert "content-length" not in headers


async def test_silence_is_broken_every_fifteen_seconds(autojump_clock, api):
    job = await api.batch()
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        await stream.next()
        with trio.move_on_after(4 * KEEP_ALIVE + 1):
            await stream.next()
    assert stream.comments == ["keep-alive"] * 4


async def test_an_organization_hears_of_all_its_jobs_and_of_no_others(autojump_clock, api):
    async with streaming(api, "/v1/events") as stream, streaming(api, "/v1/events", key="other") as others:
        ours = await api.batch()
        assert (await stream.next()).job["id"] == ours["id"]
        theirs = await api.batch(key="other")
        assert (await others.next()).job["id"] == theirs["id"]
        again = await api.batch()
        assert (await stream.next()).job["id"] == again["id"]
        with trio.move_on_after(60) as waited:
            await others.next()
        assert waited.cancelled_caught


async def test_an_organizations_stream_begins_with_what_happens_from_then_on(autojump_clock, api):
    await api.batch()
    await trio.sleep(1)
    async with streaming(api, "/v1/events") as stream:
        with trio.move_on_after(60) as waited:
            await stream.next()
    assert waited.cancelled_caught


async def test_who_begins_to_follow_a_job_tells_nobody_else_of_it(autojump_clock, api):
    job = await api.batch()
    await trio.sleep(1)
    async with streaming(api, "/v1/events") as whole, streaming(api, f"/v1/jobs/{job['id']}/events") as one:
        await one.next()
        with trio.move_on_after(60) as waited:
            await whole.next()
    assert waited.cancelled_caught


async def test_an_organizations_stream_is_resumed_where_it_broke_off(autojump_clock, api):
    async with streaming(api, "/v1/events") as stream:
        await api.batch()
        seen = await stream.next()
    await trio.sleep(3600)
    missed = {(await api.batch())["id"] for _ in range(5)}
    async with streaming(api, "/v1/events", last=seen.id) as stream:
        found = {(await stream.next()).job["id"] for _ in range(5)}
        after = await api.batch()
        assert (await stream.next()).job["id"] == after["id"]
    assert found == missed


async def test_a_stream_that_broke_off_before_its_first_event_is_resumed_too(autojump_clock, api):
    async with streaming(api, "/v1/events") as stream:
        with trio.move_on_after(1):
            await stream.next()
    await trio.sleep(3600)
    job = await api.batch()
    async with streaming(api, "/v1/events", last=stream.last_id) as stream:
        assert (await stream.next()).job["id"] == job["id"]


async def test_a_job_that_changes_a_hundred_times_a_second_is_sent_four_times(autojump_clock, api):
    job = await api.batch()
    (batch,) = await api.submitted(job["id"])
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        await stream.next()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_often, api, batch, 500)
            began = trio.current_time()
            sent = [await stream.next()]
            while sent[-1].job["request_counts"]["succeeded"] < 500:
                sent.append(await stream.next())
    assert trio.current_time() - began < 6
    assert 15 < len(sent) < 23


async def test_a_client_that_does_not_read_gets_the_latest_state_when_it_does(autojump_clock, api):
    job = await api.batch()
    (batch,) = await api.submitted(job["id"])
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        await stream.next()
        await change_often(api, batch, 1000)
        await trio.sleep(1)
        found = [await stream.next() for _ in range(12)]  # ten wait in the test client's channel
    assert found[-1].job["request_counts"]["succeeded"] == 1000


async def change_often(api: Api, batch, times: int) -> None:
    """As results would: a hundred changes in a second."""
    for _ in range(times):
        await trio.sleep(0.01)
        await api.database.write(count_one, batch.job_key, now=api.services.clock.now())


def count_one(tx, key, *, now):
    table = tables.jobs
    changed = (
        sa.update(table)
        .where(table.c.id == key)
        .values(succeeded=table.c.succeeded + 1, version=table.c.version + 1, updated_at=now)
        .returning(table.c.public_id)
    )
    announce_jobs(tx, [tx.execute(changed).scalar_one()])


async def test_a_change_that_nobody_announced_is_found_soon(autojump_clock, api):
    job = await api.batch()
    await trio.sleep(1)
    unheard = attrs.evolve(api.database, changes=Changes())
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as one, streaming(api, "/v1/events") as whole:
        await one.next()
        await trio.sleep(60)
        await unheard.write(jobs.cancel_job, None, job["id"], now=api.services.clock.now(), ids=api.services.ids)
        with trio.fail_after(CHECK_EVERY + 3 * PAUSE):
            assert (await one.next()).job["status"] == "cancelled"
            assert (await whole.next()).job["status"] == "cancelled"


async def test_what_was_found_by_looking_is_not_told_again(autojump_clock, api):
    async with streaming(api, "/v1/events") as stream:
        await api.batch()
        await stream.next()
        with trio.move_on_after(60) as waited:
            await stream.next()
    assert waited.cancelled_caught


async def test_a_deleted_job_ends_its_streams(autojump_clock, api):
    job = await api.batch()
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as stream:
        await stream.next()
        await api.post(f"/v1/jobs/{job['id']}/cancel")
        assert [seen.job["status"] for seen in await stream.all()] == ["cancelled"]


async def test_a_revoked_key_hears_nothing_more(autojump_clock, api):
    key_id = next(key["id"] for key in (await api.get("/v1/admin/keys")).json["data"] if key["name"] == "read")
    async with streaming(api, "/v1/events") as stream, streaming(api, "/v1/events", key="write") as another:
        assert (await api.call("DELETE", f"/v1/admin/keys/{key_id}")).status == 200
        with trio.fail_after(CHECK_EVERY + 2 * PAUSE):
            assert await stream.all() == []
        await api.batch()
        await another.next()


async def test_the_servers_stop_ends_every_stream_at_once(autojump_clock, api):
    job = await api.batch()
    await trio.sleep(1)
    async with streaming(api, f"/v1/jobs/{job['id']}/events") as one, streaming(api, "/v1/events") as whole:
        await one.next()
        began = trio.current_time()
        api.services.stopping.set()
        assert [await one.all(), await whole.all()] == [[], []]
    assert trio.current_time() == began


async def test_a_client_that_goes_away_leaves_nothing_behind(autojump_clock, api):
    job = await api.batch()
    async with streaming(api, f"/v1/jobs/{job['id']}/events"), streaming(api, "/v1/events"):
        assert len(api.services.live._listeners()) == 2
    await wait_all_tasks_blocked()
    assert api.services.live._listeners() == []


async def test_five_hundred_listeners_cost_one_reading(autojump_clock, api):
    job = await api.batch()
    await trio.sleep(1)
    listeners = [listener_of(job["id"] if number % 2 else None, await principal_of(api)) for number in range(500)]
    live = api.services.live
    with ExitStack() as listening:
        for listener in listeners:
            listening.enter_context(live.listening(listener))
        await trio.sleep(1)
        for listener in listeners:
            listener.take()
        readings: list[None] = []
        live.database = attrs.evolve(api.database, offload_read=counting(readings))
        await api.submitted(job["id"])
        await trio.sleep(1)
        assert len(readings) == 1
        told = [listener.take() for listener in listeners]
        assert len({id(data) for data in told}) == 1
        assert b'"status":"running"' in told[0]
        readings.clear()
        await trio.sleep(600)
        assert len(readings) <= 3 * 600 / CHECK_EVERY


def counting(readings: list[None]):
    async def offload(work):
        readings.append(None)
        return await inline(work)

    return offload


def listener_of(job_id: str | None, principal: Principal) -> Listener:
    return Listener(principal=principal, job_id=job_id, known=None)


async def principal_of(api: Api) -> Principal:
    found = await api.database.read(accounts.principal_of, hash_key(api.keys["read"]), now=api.services.clock.now())
    assert found is not None
    return found


async def test_what_waits_for_a_slow_reader_of_an_organization_is_bounded_and_nothing_is_lost(autojump_clock, api):
    listener = listener_of(None, await principal_of(api))
    with api.services.live.listening(listener):
        made = [(await api.batch(1, metadata={"padding": "x" * 15_000}))["id"] for _ in range(60)]
        await trio.sleep(10)
        seen = b""
        for _ in range(100):
            data = listener.take()
            assert len(data) < MOST_WAITING + 40_000
            seen += data
            await trio.sleep(1)
    assert [job_id for job_id in made if job_id.encode() not in seen] == []
    assert listener.behind is None


@pytest.mark.postgresql
async def test_a_change_is_told_on_another_instance(postgres_database):
    async with trio_asyncio.open_loop(), open_api(postgres_database) as api, trio.open_nursery() as nursery:
        feed = NotificationFeed(postgresql.conninfo(api.database.url))
        nursery.start_soon(actor(feed, api.services.changes).run)
        elsewhere = attrs.evolve(api.database, changes=Changes())
        job = await api.batch()
        async with streaming(api, f"/v1/jobs/{job['id']}/events") as one, streaming(api, "/v1/events") as whole:
            await one.next()
            await elsewhere.write(jobs.cancel_job, None, job["id"], now=api.services.clock.now(), ids=api.services.ids)
            with trio.fail_after(CHECK_EVERY / 2):
                assert (await one.next()).job["status"] == "cancelled"
                while (await whole.next()).job["status"] != "cancelled":
                    pass
        nursery.cancel_scope.cancel()


def actor(feed: NotificationFeed, changes: Changes) -> Actor:
    return Actor(feed=feed, changes=changes, work=lambda: None, step_down=lambda _epoch: None)


@pytest.mark.sockets
async def test_a_stream_arrives_over_a_socket_event_by_event_and_ends_with_the_server(api):
    job = await api.batch()
    app = create_app(api.services)
    async with served(app) as server, await server.connect() as stream:
        request = get(f"/v1/jobs/{job['id']}/events", f"x-api-key: {api.keys['read']}")
        await stream.send_all(request)
        assert (await read_answer(stream, b"\n\n\r\n")).endswith(b"retry: 1000\n\n\r\n")
        assert b'"status":"pending"' in await read_answer(stream, b"\n\n\r\n")
        await api.submitted(job["id"])
        assert b'"status":"running"' in await read_answer(stream, b"\n\n\r\n")
        api.services.stopping.set()
        server.stop.set()
        with trio.fail_after(2):
            assert (await read_all(stream)).endswith(b"0\r\n\r\n")
            await server.stopped.wait()
