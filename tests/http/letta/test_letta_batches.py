"""Message batches for Letta's clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import trio
from tests.http.api import Api
from tests.http.letta.test_letta_jobs import FIELDS

from backburner.states import ItemStatus
from backburner.storage import tables

BATCHES = "/letta/v1/messages/batches"


def ask(agent: str = "agent-1", **more: Any) -> dict[str, Any]:
    return {"agent_id": agent, "messages": [{"role": "user", "content": "Hi"}], **more}


async def create(api: Api, *requests: Any, headers: Any = None, **more: Any) -> Any:
    await trio.sleep(1)
    return await api.post(BATCHES, json={"requests": list(requests), **more}, headers=headers)


async def params(api: Api) -> list[Any]:
    """What goes to the provider, of every request there is."""
    query = sa.select(tables.requests.c.params).order_by(tables.requests.c.idx)
    found = await api.database.read(lambda tx: list(tx.execute(query).scalars()))
    return [msgspec.json.decode(one) for one in found]


async def test_a_new_batch_has_the_shape_that_the_client_knows(autojump_clock, api):
    answer = await create(api, ask("agent-1"), ask("agent-2"))
    batch = answer.json
    assert (answer.status, batch.keys()) == (200, FIELDS)
    assert (batch["status"], batch["job_type"], batch["background"]) == ("running", "batch", False)
    assert (batch["metadata"], batch["callback_url"]) == ({"job_type": "batch_messages"}, None)


async def test_the_items_are_named_after_their_agents(autojump_clock, api):
    batch = (await create(api, ask("agent-1"), ask("an agent"))).json
    items = (await api.get(f"/v1/batches/{batch['id']}/items")).json["data"]
    assert [item["agent_id"] for item in items] == ["agent-1", "an agent"]
    assert items[0]["custom_id"] == "agent-1"
    assert items[1]["custom_id"].startswith("agent-")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ask(), {"messages": [{"role": "user", "content": "Hi"}]}),
        ({"agent_id": "a", "input": "Hi"}, {"messages": [{"role": "user", "content": "Hi"}]}),
        (
            {"agent_id": "a", "input": [{"type": "text", "text": "Hi"}]},
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        ),
        (
            ask(messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi", "otid": "1"}]),
            {"system": [{"type": "text", "text": "Be kind."}], "messages": [{"role": "user", "content": "Hi"}]},
        ),
        (
            ask(model="m", max_tokens=7),
            {"messages": [{"role": "user", "content": "Hi"}], "model": "m", "max_tokens": 7},
        ),
        (ask(max_steps=3, use_assistant_message=True), {"messages": [{"role": "user", "content": "Hi"}]}),
    ],
)
async def test_a_request_becomes_one_for_the_provider(autojump_clock, api, request_, expected):
    assert (await create(api, request_)).status == 200
    assert await params(api) == [{"model": "claude-haiku-4-5", "max_tokens": 4096} | expected]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"requests": []}, 422),
        ({}, 422),
        ({"requests": [{"messages": [{"role": "user", "content": "Hi"}]}]}, 422),
        ({"requests": [{"agent_id": "a"}]}, 422),
        ({"requests": [ask(input="both")]}, 422),
        ({"requests": [ask(messages=[{"role": "system", "content": "x"}])]}, 422),
        ({"requests": [ask(messages=[{"role": "robot", "content": "x"}])]}, 422),
        ({"requests": [ask()], "callback_url": "http://127.0.0.1/"}, 422),
        ({"requests": [ask(), ask()]}, 409),
    ],
)
async def test_a_bad_batch_is_refused_and_leaves_nothing(autojump_clock, api, body, status):
    answer = await api.post(BATCHES, json=body)
    assert (answer.status, list(answer.json)) == (status, ["detail"])
    assert (await api.get(BATCHES)).json == []
    assert await api.staged() == 0


async def test_the_word_none_is_no_callback(autojump_clock, api):
    assert (await create(api, ask(), callback_url="None")).json["callback_url"] is None


async def test_a_repetition_by_the_client_finds_the_batch_that_was_made(autojump_clock, api):
    first = (await create(api, ask())).json["id"]
    again = (await create(api, ask(), headers={"x-stainless-retry-count": "1"})).json["id"]
    meant = (await create(api, ask())).json["id"]
    assert again == first
    assert meant != first


async def test_ended_batches_are_listed_too(autojump_clock, api):
    ended = (await api.ended([ItemStatus.SUCCEEDED]))["id"]
    open_ = (await create(api, ask())).json["id"]
    answer = await api.get(BATCHES)
    assert [(batch["id"], batch["status"]) for batch in answer.json] == [(open_, "running"), (ended, "completed")]


async def test_automatic_paging_reaches_every_batch_once(autojump_clock, api):
    made = [(await create(api, ask(str(number)))).json["id"] for number in range(7)]
    found: list[str] = []
    while page := (await api.get(f"{BATCHES}?limit=3" + (f"&after={found[-1]}" if found else ""))).json:
        found += [batch["id"] for batch in page]
    assert found == made[::-1]


async def test_a_batch_that_is_being_cancelled_counts_as_cancelled(autojump_clock, api):
    batch = (await create(api, ask())).json["id"]
    await api.submitted(batch)
    answer = await api.call("PATCH", f"{BATCHES}/{batch}/cancel")
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    assert (await api.get(f"{BATCHES}/{batch}")).json["status"] == "cancelled"


async def test_a_job_that_is_no_batch_is_none_here(autojump_clock, api):
    job = (await api.post("/v1/jobs", json={})).json["id"]
    assert (await api.get(f"{BATCHES}/{job}")).status == 404


async def test_messages_are_those_of_all_agents_the_last_first(autojump_clock, api):
    batch = (await create(api, ask("agent-1"), ask("agent-2"))).json["id"]
    await api.submitted(batch)
    await api.results(batch, [ItemStatus.SUCCEEDED, ItemStatus.SUCCEEDED])
    messages = (await api.get(f"{BATCHES}/{batch}/messages")).json["messages"]
    assert [(one["agent_id"], one["role"]) for one in messages] == [
        ("agent-2", "assistant"),
        ("agent-2", "user"),
        ("agent-1", "assistant"),
        ("agent-1", "user"),
    ]
    assert messages[1]["content"] == [{"type": "text", "text": "Hi"}]


async def test_messages_of_one_agent_page_by_page(autojump_clock, api):
    batch = (await create(api, ask("agent-1"), ask("an agent"))).json["id"]
    await api.submitted(batch)
    await api.results(batch, [ItemStatus.SUCCEEDED, ItemStatus.SUCCEEDED])
    path = f"{BATCHES}/{batch}/messages?agent_id=an%20agent&limit=1&order=asc"
    first = (await api.get(path)).json["messages"]
    second = (await api.get(f"{path}&after={first[-1]['id']}")).json["messages"]
    third = (await api.get(f"{path}&after={second[-1]['id']}")).json["messages"]
    assert [one["role"] for one in first + second] == ["user", "assistant"]
    assert third == []
