"""What clients do. A new workload is a function with `@workload`; each run draws some of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Set
from typing import Any

import msgspec
import trio

from simulation.clients import Client, Operation

Workload = Callable[[Client], Awaitable[None]]
WORKLOADS: dict[str, Workload] = {}
ODD = frozenset(range(1, 100, 2))
HOOKS = ("http://one.test/hook", "http://two.test/hook", "http://two.test/other", None)


def workload(run: Workload) -> Workload:
    """Have a share of the clients do this. It has to bear every answer, and to end when nothing goes wrong any more."""
    WORKLOADS[run.__name__] = run
    return run


@workload
async def a_batch_is_seen_to_its_end(client: Client) -> None:
    job_id = await make_batch(client)
    await client.ended(job_id)
    await download(client, job_id)


@workload
async def a_batch_of_many_chunks(client: Client) -> None:
    job_id = await make_batch(client, items=client.random.randint(5, 12), chunk_items=1)
    await client.ended(job_id)


@workload
async def a_batch_is_cancelled(client: Client) -> None:
    job_id = await make_batch(client)
    await trio.sleep(client.random.choice([0.0, 1.0, 10.0, 60.0]))
    ask = await client.insist("POST", f"/jobs/{job_id}/cancel")
    client.world.expect(ask.status in (200, 202, 409), f"cancelling {job_id} was answered {ask.status}")
    await client.ended(job_id)
    await download(client, job_id)


@workload
async def a_batch_has_a_deadline(client: Client) -> None:
    job_id = await make_batch(client, deadline_seconds=client.random.choice([1.0, 15.0, 90.0]))
    await client.ended(job_id)


@workload
async def what_failed_is_tried_again(client: Client) -> None:
    job_id = await make_batch(client, mark="[sandbox:errored]")
    await client.ended(job_id)
    ask = await client.insist("POST", f"/batches/{job_id}/retry", {}, key=f"retry {job_id}")
    client.world.expect(ask.status in (202, 409), f"retrying {job_id} was answered {ask.status}")
    if ask.status == 202:
        await client.ended(ask.json["id"])
        await download(client, ask.json["id"])


@workload
async def a_batch_holds_an_item_that_is_refused(client: Client) -> None:
    """The provider takes no batch with it: it is found, and no other item pays for it."""
    items = client.random.randint(2, 6)
    bad = client.random.randrange(items)
    mark = client.random.choice(["[sandbox:refused]", "[sandbox:refused_unnamed]"])
    job_id = await make_batch(client, items=items, mark=mark, marked={bad}, chunk_items=None)
    await client.ended(job_id)
    ask = await client.insist("GET", f"/batches/{job_id}/results")
    for number, line in enumerate(ask.answer.splitlines()):
        error = (msgspec.json.decode(line)["result"].get("error") or {}).get("error") or {}
        rejected = error.get("code") == "provider_rejected" and "not_isolated" not in error
        client.world.expect(not rejected or number == bad, f"item {number} of {job_id} was rejected for item {bad}")


@workload
async def a_batch_is_deleted(client: Client) -> None:
    job_id = await make_batch(client)
    await client.ended(job_id)
    client.world.ledger.deleting.add(job_id)
    ask = await client.insist("DELETE", f"/jobs/{job_id}")
    client.world.expect(ask.status in (200, 404), f"deleting {job_id} was answered {ask.status}")


@workload
async def a_webhook_is_sent_again(client: Client) -> None:
    job_id = await make_batch(client, callback_url=HOOKS[0])
    await client.ended(job_id)
    listed = await client.insist("GET", f"/jobs/{job_id}/deliveries")
    client.world.ledger.redelivering.add(job_id)
    for delivery in listed.json["data"]:
        await client.insist("POST", f"/jobs/{job_id}/deliveries/{delivery['id']}/redeliver")


@workload
async def a_job_is_moved_by_its_owner(client: Client) -> None:
    operation = client.operation(once=True)  # of a second one nobody would know, so that it would never end
    body = {"metadata": {"op": operation.name}, "callback_url": client.random.choice(HOOKS)}
    job_id = await make(client, operation, "/jobs", body)
    await patch(client, job_id, {"status": "pending"})
    await patch(client, job_id, {"status": "running"})
    async with trio.open_nursery() as nursery:  # of two ends, one wins
        nursery.start_soon(patch, client, job_id, {"status": "completed", "result": {"n": 1}})
        nursery.start_soon(patch, client, job_id, {"status": client.random.choice(["failed", "completed"])})
    await client.ended(job_id)


@workload
async def somebody_elses_job_is_asked_for(client: Client) -> None:
    job_id = await make_batch(client)
    stranger = 3 - client.organization
    for method, path in (("GET", f"/jobs/{job_id}"), ("POST", f"/jobs/{job_id}/cancel"), ("DELETE", f"/jobs/{job_id}")):
        ask = await client.insist(method, path, organization=stranger)
        client.world.expect(ask.status == 404, f"a stranger's {method} {path} was answered {ask.status}")
    await client.ended(job_id)


@workload
async def agents_use_tools(client: Client) -> None:
    rounds = client.random.choice([1, 2, 2])
    text = f'use tool add {{"a": 1, "b": 2}} use tool look {{"a": 3, "b": 4}} [sandbox:rounds={rounds}]'
    items = client.random.randint(1, 3)
    job_id = await make_batch(client, items=items, text=text, agent={"tools": ["add", "look"], "max_rounds": 4})
    if client.random.random() < 0.2:
        await trio.sleep(client.random.uniform(0.0, 60.0))
        await client.insist("POST", f"/jobs/{job_id}/cancel")
    await client.ended(job_id)


@workload
async def a_handler_works(client: Client) -> None:
    random = client.random
    operation = client.operation(once=random.random() < 0.7)
    body = {
        "handler": "toil",
        "input": {"seconds": random.choice([0.1, 3.0, 20.0, 50.0]), "fails_at": random.choice([0, 0, 0, 1, 2, 3])},
        "metadata": {"op": operation.name},
        "callback_url": random.choice(HOOKS),
    }
    job_id = await make(client, operation, "/jobs", body)
    if random.random() < 0.2:
        await trio.sleep(random.uniform(0.0, 20.0))
        await client.insist("POST", f"/jobs/{job_id}/cancel")
    await client.ended(job_id)


@workload
async def a_handler_orders_a_batch(client: Client) -> None:
    random = client.random
    operation = client.operation(once=random.random() < 0.7)
    body = {
        "handler": "order",
        "input": {"items": random.randint(1, 4), "fails_at": random.choice([0, 1, 1, 2])},
        "metadata": {"op": operation.name},
    }
    job_id = await make(client, operation, "/jobs", body)
    if random.random() < 0.5:
        await trio.sleep(random.uniform(0.0, 20.0))
        for batch in (await client.insist("GET", f"/jobs?metadata.parent_job_id={job_id}")).json["data"]:
            await patch(client, batch["id"], {"metadata": {"parent_job_id": None, "child_key": "another"}})
    await client.ended(job_id)


#: For these an instance has tools and handlers.
OF_WORKERS = (agents_use_tools, a_handler_works, a_handler_orders_a_batch)


# --- what workloads are made of ----------------------------------------------------------------------------


async def make_batch(
    client: Client,
    *,
    items: int | None = None,
    text: str = "question",
    mark: str = "",
    marked: Set[int] = ODD,
    **options: Any,
) -> str:
    """Make a batch job and return its id. Some of its requests carry the mark."""
    random = client.random
    count = items or random.randint(1, 6)
    operation = client.operation(once=random.random() < 0.8, custom_ids=[f"item-{number}" for number in range(count)])
    requests = [
        _request(custom_id, text, mark if number in marked else "")
        for number, custom_id in enumerate(operation.custom_ids)
    ]
    body = {
        "requests": requests,
        "metadata": {"op": operation.name},
        "callback_url": random.choice(HOOKS),
        "chunk_items": random.choice([2, 3, None]),
        **options,
    }
    return await make(client, operation, "/batches", body)


def _request(custom_id: str, text: str, mark: str) -> dict[str, Any]:
    content = f"{text} {custom_id} {mark}"
    messages = [{"role": "user", "content": content}]
    return {"custom_id": custom_id, "params": {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": messages}}


async def make(client: Client, operation: Operation, path: str, body: Any) -> str:
    """POST until there is a job. Without an Idempotency-Key some of them may be made by the way."""
    key = operation.name if operation.once else None
    ask = await client.insist("POST", path, body, key=key)
    client.world.expect(ask.status == 202, f"making {operation.name} was answered {ask.status}: {bytes(ask.answer)!r}")
    job_id = str(ask.json["id"])
    operation.acknowledged.add(job_id)
    client.world.witnesses.acknowledged(operation, job_id)
    return job_id


async def patch(client: Client, job_id: str, changes: Any) -> None:
    """Move a job; a conflict will do, since a repetition or a rival may have been faster."""
    ask = await client.insist("PATCH", f"/jobs/{job_id}", changes)
    client.world.expect(ask.status in (200, 409), f"moving {job_id} was answered {ask.status}")


async def download(client: Client, job_id: str) -> None:
    """Read all results: one for each item, in the order of the input, as many of each kind as the job counts."""
    ask = await client.insist("GET", f"/batches/{job_id}/results")
    client.world.witnesses.downloaded(job_id, ask)
