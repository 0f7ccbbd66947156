"""What survives the process, and that a seed repeats everything."""

from __future__ import annotations

import msgspec
import trio
from tests.providers.sandbox.account import BATCHES, make, new_sandbox, plain, read_lines, request, requests


async def test_a_new_sandbox_on_the_same_file_goes_on_with_the_batches(autojump_clock, tmp_path):
    path = tmp_path / "state"
    async with plain(new_sandbox(path=path)) as client:  # never closed, as after kill -9
        running = await make(client, *requests(1000))
        canceled = await make(client, *requests(10))
        await client.post(f"{BATCHES}/{canceled}/cancel")
        deleted = await make(client, request(0))
        await trio.sleep(61)
        assert (await client.delete(f"{BATCHES}/{deleted}")).status_code == 200
        before = (await client.get(BATCHES)).json()
        results = (await client.get(f"{BATCHES}/{running}/results")).content
    engine = new_sandbox(path=path)
    async with plain(engine) as client:
        assert (await client.get(BATCHES)).json() == before
        assert (await client.get(f"{BATCHES}/{running}/results")).content == results
        assert (await client.get(f"{BATCHES}/{deleted}")).status_code == 404
        assert await make(client, request(0)) not in (running, canceled, deleted)
    engine.close()


async def test_a_batch_ends_at_its_time_whether_or_not_the_sandbox_ran(autojump_clock, tmp_path):
    async with plain(new_sandbox(path=tmp_path / "state")) as client:
        batch_id = await make(client, request(0))
    await trio.sleep(3600)
    async with plain(new_sandbox(path=tmp_path / "state")) as client:
        batch = (await client.get(f"{BATCHES}/{batch_id}")).json()
    assert batch["ended_at"] == "2026-01-01T00:01:00.000000Z"


async def test_without_a_file_a_new_sandbox_knows_nothing(autojump_clock):
    async with plain(new_sandbox()) as client:
        await make(client, request(0))
    async with plain(new_sandbox()) as client:
        assert (await client.get(BATCHES)).json()["data"] == []


async def test_the_same_seed_gives_the_same_bytes(autojump_clock):
    async def play(seed):
        start = trio.current_time()
        engine = new_sandbox(seed=seed, batch_seconds=(1, 50), errored=0.3)
        async with plain(engine) as client:
            batch_id = await make(client, *requests(50))
            await trio.sleep(60 - (trio.current_time() - start))
            view = (await client.get(f"{BATCHES}/{batch_id}")).json()
            results = await client.get(f"{BATCHES}/{batch_id}/results")
        view.pop("created_at"), view.pop("expires_at"), view.pop("ended_at"), view.pop("id"), view.pop("results_url")
        return view, sorted(results.content.split(b"\n"))

    assert await play(1) == await play(1)
    assert await play(1) != await play(2)


async def test_a_whole_run_repeats_exactly_at_the_same_time(autojump_clock):
    async def play():
        engine = new_sandbox(errored=0.3, batch_seconds=0)
        async with plain(engine) as client:
            created = await client.post(BATCHES, json={"requests": requests(2000)})
            results = await client.get(f"{BATCHES}/{created.json()['id']}/results")
        return created.headers.raw, created.content, results.headers.raw, results.content

    assert await play() == await play()


async def test_results_come_in_another_order_than_requests(autojump_clock):
    async with plain(new_sandbox(batch_seconds=0)) as client:
        lines = await read_lines(client, await make(client, *requests(100)))
    order = [int(line["custom_id"].removeprefix("item-")) for line in lines]
    assert sorted(order) == list(range(100))
    assert order != sorted(order)


async def test_the_pages_of_a_batch_are_shuffled_too(autojump_clock):
    async with plain(new_sandbox(batch_seconds=0)) as client:
        lines = await read_lines(client, await make(client, *requests(5120)))
    first = {line["custom_id"] for line in lines[:512]}
    assert first != {f"item-{number}" for number in range(512)}


async def test_a_hundred_thousand_items_come_back_each_once(autojump_clock, tmp_path):
    body = msgspec.json.encode({"requests": requests(100_000)})
    seen: set[bytes] = set()
    engine = new_sandbox(batch_seconds=0, errored=0.1, path=tmp_path / "state")
    lines = 0
    async with plain(engine) as client:
        batch = (await client.post(BATCHES, content=body)).json()
        async with client.stream("GET", f"{BATCHES}/{batch['id']}/results") as response:
            async for chunk in response.aiter_raw():
                assert len(chunk) < 100_000
                lines += chunk.count(b"\n")
                seen.update(line[14 : line.index(b'"', 14)] for line in chunk.splitlines())
    assert batch["request_counts"]["succeeded"] + batch["request_counts"]["errored"] == 100_000
    assert (lines, len(seen)) == (100_000, 100_000)
    engine.close()
