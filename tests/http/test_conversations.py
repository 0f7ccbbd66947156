"""Runs, steps and messages: views on items and their results."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
import trio
from tests.http.api import Api, request

from backburner.commands import BatchEnded, BatchIngested, ResultPage, ResultRow
from backburner.model import Usage
from backburner.states import ItemStatus
from backburner.storage import batches

OK, ERRORED = ItemStatus.SUCCEEDED, ItemStatus.ERRORED
SAID = {"type": "tool_use", "id": "t-1", "name": "send_message", "input": {"message": "Hello there"}}
LOOKED = {"type": "tool_use", "id": "t-2", "name": "look_up", "input": {"q": "x"}}


def answer(*content: Any, **more: Any) -> str:
    """A result whose message has these blocks."""
    message = {
        "role": "assistant", "model": "claude-x", "stop_reason": "end_turn", "content": list(content),
        "usage": {"input_tokens": 7, "output_tokens": 2}, **more,
    }  # fmt: skip
    return msgspec.json.encode({"type": "succeeded", "message": message}).decode()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


async def answered(api: Api, job: Any, *results: str) -> None:
    """Bring these results of a job of one provider batch, which ends with them."""
    await api.submitted(job["id"])
    await trio.sleep(60)
    record, now = await api.record(job["id"]), api.services.clock.now()
    batch = (await api.database.read(batches.batches_of_job, record.key))[0]
    await api.lead(
        BatchEnded(
            term=api.term, batch_key=batch.key, provider_status="ended", response=b"{}", at=now, next_poll_at=now
        )
    )
    rows = tuple(ResultRow(n, json.loads(result)["type"], result)
                 for n, result in enumerate(results))  # fmt: skip
    page = ResultPage(
        term=api.term, batch_key=batch.key, job_key=record.key, round=1, rows=rows,
        counts=Counter(row.status for row in rows), usage=Usage(), byte_size=1000,
    )  # fmt: skip
    await api.lead(page, BatchIngested(term=api.term, batch_key=batch.key, at=now))


async def data(api: Api, path: str, **options: Any) -> list[Any]:
    found = await api.get(path, **options)
    assert found.status == 200, found.body
    return found.json["data"]


def uuid_of(job: Any) -> str:
    return job["id"].removeprefix("job-")


async def batch_of(api: Api, *requests: Any) -> Any:
    made = await api.post("/v1/batches", json={"requests": list(requests)})
    assert made.status == 202, made.body
    return made.json


# --- steps -------------------------------------------------------------------------------------------------


async def test_a_step_tells_what_was_asked_and_what_came_back(autojump_clock, api_on_each):
    api = api_on_each
    job = await batch_of(api, request(0) | {"agent_id": "agent-1"}, request(1))
    uuid = uuid_of(job)
    before = await data(api, f"/v1/jobs/{job['id']}/steps")
    assert [(step["status"], step["model"], step["completed_at"]) for step in before] == [
        ("processing", "claude-haiku-4-5", None)
    ] * 2
    await answered(api, job, answer(text("Hm."), LOOKED, stop_reason="tool_use"), '{"type":"expired"}')
    first, second = await data(api, f"/v1/jobs/{job['id']}/steps")
    assert first == {
        "id": f"step-{uuid}-0-1", "object": "step", "job_id": job["id"], "item_id": f"item-{uuid}-0",
        "run_id": f"run-{uuid}-0", "custom_id": "c-0", "agent_id": "agent-1", "round": 1, "status": "succeeded",
        "stop_reason": "tool_use", "model": "claude-x", "cost_usd": None,
        "usage": {
            "input_tokens": 7, "output_tokens": 2, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0
        },
        "tool_calls": [{"id": "t-2", "name": "look_up", "input": {"q": "x"}}],
        "created_at": "2026-01-01T00:00:00.000000Z", "completed_at": "2026-01-01T00:01:00.000000Z",
    }  # fmt: skip
    assert (second["status"], second["stop_reason"], second["usage"]) == ("expired", None, None)
    assert (await api.get(f"/v1/steps/{first['id']}")).json == first
    assert await data(api, f"/v1/jobs/{job['id']}/steps?item=c-1") == [second]
    assert await data(api, f"/v1/jobs/{job['id']}/steps?item=nobody") == []
    assert await data(api, f"/v1/runs/{first['run_id']}/steps") == [first]


async def test_items_that_were_never_sent_have_steps_that_say_so(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.batch(2)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert [step["status"] for step in await data(api, f"/v1/jobs/{job['id']}/steps")] == ["canceled"] * 2
    assert [run["status"] for run in await data(api, "/v1/runs")] == ["cancelled"] * 2


async def test_a_retry_shows_the_requests_that_it_shares(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.ended([OK, ERRORED])
    again = (await api.post(f"/v1/batches/{job['id']}/retry", json={})).json
    (step,) = await data(api, f"/v1/jobs/{again['id']}/steps")
    assert (step["custom_id"], step["model"]) == ("c-1", "claude-haiku-4-5")
    assert [one["content"] for one in await data(api, f"/v1/steps/{step['id']}/messages")] == ["Hi"]


async def test_a_job_that_is_no_batch_has_no_steps(autojump_clock, api):
    job = (await api.post("/v1/jobs", json={})).json
    assert await data(api, f"/v1/jobs/{job['id']}/steps") == await data(api, f"/v1/jobs/{job['id']}/messages") == []
    assert await data(api, "/v1/runs") == []


# --- messages ----------------------------------------------------------------------------------------------


async def test_messages_are_those_asked_and_the_answer(autojump_clock, api_on_each):
    api = api_on_each
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": [
        text("Say it")]}]  # fmt: skip
    job = await batch_of(api, request(0, system="Be kind", messages=asked), request(1))
    uuid = uuid_of(job)
    await answered(api, job, answer(text("It")), '{"type":"canceled"}')
    found = await data(api, f"/v1/jobs/{job['id']}/messages")
    assert [(one["role"], one["content"]) for one in found] == [
        ("system", "Be kind"), ("user", "Hi"), ("assistant", "Yes?"), ("user", [text("Say it")]),
        ("assistant", [text("It")]), ("user", "Hi"),
    ]  # fmt: skip
    assert found[4] == {
        "id": f"message-{uuid}-0-1-4", "object": "message", "job_id": job["id"], "item_id": f"item-{uuid}-0",
        "step_id": f"step-{uuid}-0-1", "round": 1, "role": "assistant", "content": [text("It")],
        "created_at": "2026-01-01T00:01:00.000000Z",
    }  # fmt: skip
    assert await data(api, f"/v1/runs/run-{uuid}-0/messages") == found[:5]
    assert await data(api, f"/v1/steps/step-{uuid}-1-1/messages") == found[5:]
    assert await data(api, f"/v1/jobs/{job['id']}/messages?item=c-1") == found[5:]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_of_messages_join_to_the_whole_both_ways(autojump_clock, api, limit):
    job = await batch_of(api, *(request(n, system=f"s {n}") for n in range(25)))
    await answered(api, job, *(answer(text(f"a {n}")) for n in range(25)))
    path = f"/v1/jobs/{job['id']}/messages"
    whole = [one["id"] for one in await data(api, f"{path}?limit=1000")]
    assert len(whole) == 75
    for order, direction in (("asc", "after"), ("desc", "after"), ("asc", "before"), ("desc", "before")):
        seen = await walked(api, path, limit, order, direction)
        assert seen == (whole if order == "asc" else whole[::-1])


async def walked(api: Api, path: str, limit: int, order: str, direction: str) -> list[str]:
    """Every id of a list, page by page; `before` walks from the end to the beginning."""
    seen: list[str] = []
    if direction == "before":
        (last,) = await data(api, f"{path}?limit=1&order={'desc' if order == 'asc' else 'asc'}")
        seen = [last["id"]]
    while True:
        edge = seen[-1 if direction == "after" else 0] if seen else ""
        page = (await api.get(f"{path}?limit={limit}&order={order}" + (f"&{direction}={edge}" if edge else ""))).json
        ids = [one["id"] for one in page["data"]]
        seen = seen + ids if direction == "after" else ids + seen
        assert len(seen) == len(set(seen))
        if not page["has_more"]:
            return seen
        assert len(ids) == limit


async def test_half_surrogate_pairs_are_replaced_where_they_are_shown(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.batch(1)
    broken = (
        r'{"type":"succeeded","message":{"role":"assistant","content":[{"type":"text","text":"a\ud800b\ud83d\ude00"}]}}'
    )
    await answered(api, job, broken)
    assert (await data(api, f"/v1/jobs/{job['id']}/messages"))[1]["content"] == [text("a\ufffdb😀")]
    assert (await data(api, f"/v1/jobs/{job['id']}/steps"))[0]["status"] == "succeeded"


async def test_whatever_was_sent_verbatim_can_be_shown(autojump_clock, api):
    job = await batch_of(api, request(0, messages=["hm", 5, {"role": 3}, {"role": "user", "content": None}]))
    found = await data(api, f"/v1/jobs/{job['id']}/messages")
    assert [(one["role"], one["content"]) for one in found] == [
        ("user", "hm"), ("user", 5), ("user", None), ("user", None)
    ]  # fmt: skip


# --- request_config ----------------------------------------------------------------------------------------


async def shown(api: Api, config: dict[str, Any]) -> list[tuple[str, Any]]:
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [LOOKED]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t-2", "content": "42"}]}]  # fmt: skip
    requests = [request(0, system="Be kind", messages=asked)]
    made = await api.post("/v1/batches", json={"requests": requests, "request_config": config})
    assert made.status == 202, made.body
    await answered(api, made.json, answer(SAID))
    return [(one["role"], one["content"]) for one in await data(api, f"/v1/jobs/{made.json['id']}/messages")]


async def test_a_message_sent_by_tool_is_shown_as_text_unless_asked_otherwise(autojump_clock, api):
    assert (await shown(api, {}))[-1] == ("assistant", [text("Hello there")])
    assert (await shown(api, {"use_assistant_message": False}))[-1] == ("assistant", [SAID])
    assert (await shown(api, {"assistant_message_tool_name": "other"}))[-1] == ("assistant", [SAID])
    renamed = {"assistant_message_tool_name": "look_up", "assistant_message_tool_kwarg": "q"}
    assert (await shown(api, renamed))[2] == ("assistant", [text("x")])


@pytest.mark.parametrize(
    ("types", "places"),
    [
        (None, [0, 1, 2, 3, 4]),
        ([], []),
        (["user"], [1, 3]),
        (["user_message"], [1]),
        (["tool_return_message"], [3]),
        (["tool_call_message"], [2]),
        (["assistant_message", "system"], [0, 4]),
        (["reasoning_message"], []),
    ],
)
async def test_only_the_wanted_kinds_of_message_are_shown(autojump_clock, api, types, places):
    whole = await shown(api, {})
    assert await shown(api, {"include_return_message_types": types}) == [whole[place] for place in places]


# --- runs --------------------------------------------------------------------------------------------------


async def test_a_run_sums_up_one_items_conversation(autojump_clock, api_on_each):
    api = api_on_each
    made = await api.post(
        "/v1/batches",
        json={"requests": [request(0) | {"agent_id": "agent-1"}, request(1), request(2)], "metadata": {"k": "v"}},
    )
    job = made.json
    uuid = uuid_of(job)
    assert [run["status"] for run in await data(api, "/v1/runs")] == ["pending"] * 3
    await answered(api, job, answer(text("It")), '{"type":"errored","error":{}}', '{"type":"canceled"}')
    found = await data(api, "/v1/runs?order=asc")
    assert found[0] == {
        "id": f"run-{uuid}-0", "object": "run", "job_id": job["id"], "item_id": f"item-{uuid}-0",
        "agent_id": "agent-1", "status": "completed", "stop_reason": "end_turn", "rounds": 1,
        "usage": {
            "input_tokens": 7, "output_tokens": 2, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0
        },
        "created_at": job["created_at"], "completed_at": "2026-01-01T00:01:00.000000Z", "metadata": {"k": "v"},
    }  # fmt: skip
    assert [(run["status"], run["stop_reason"]) for run in found[1:]] == [
        ("failed", "error"), ("cancelled", "cancelled")
    ]  # fmt: skip
    assert (await api.get(f"/v1/runs/{found[0]['id']}")).json == found[0]


async def test_runs_are_listed_by_status_and_agent(autojump_clock, api_on_each):
    api = api_on_each
    waiting = await batch_of(api, request(0) | {"agent_id": "a"}, request(1))
    await trio.sleep(1)
    running = await api.batch(1)
    await trio.sleep(1)
    await api.submitted(running["id"])
    done = await batch_of(api, request(0), request(1) | {"agent_id": "a"})
    await answered(api, done, answer(text("It")), '{"type":"errored","error":{}}')

    def ids(job: Any, *indices: int) -> list[str]:
        return [f"run-{uuid_of(job)}-{index}" for index in indices]

    async def listed(query: str) -> list[str]:
        return [run["id"] for run in await data(api, f"/v1/runs?order=asc&{query}")]

    assert await listed("") == [*ids(waiting, 0, 1), *ids(running, 0), *ids(done, 0, 1)]
    assert await listed("status=pending") == ids(waiting, 0, 1)
    assert await listed("status=running") == ids(running, 0)
    assert await listed("status=completed&status=failed") == ids(done, 0, 1)
    assert await listed("status=failed&status=pending") == [*ids(waiting, 0, 1), *ids(done, 1)]
    assert await listed("status=created") == []
    assert await listed("agent_id=a") == [*ids(waiting, 0), *ids(done, 1)]
    assert await listed("agent_id=a&status=failed") == ids(done, 1)


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_pages_of_runs_and_steps_join_to_the_whole_both_ways(autojump_clock, api_on_each, limit):
    api = api_on_each
    made = []
    for count in (3, 1, 4):
        made.append(await api.batch(count))
        await trio.sleep(1)
    whole = [
        f"run-{uuid_of(job)}-{index}" for job, count in zip(made, (3, 1, 4), strict=True) for index in range(count)
    ]
    steps = [f"step-{uuid_of(made[2])}-{index}-1" for index in range(4)]
    for order, direction in (("asc", "after"), ("desc", "after"), ("asc", "before"), ("desc", "before")):
        expected = whole if order == "asc" else whole[::-1]
        assert await walked(api, "/v1/runs", limit, order, direction) == expected
        expected = steps if order == "asc" else steps[::-1]
        assert await walked(api, f"/v1/jobs/{made[2]['id']}/steps", limit, order, direction) == expected


async def test_runs_are_listed_newest_first_and_parts_in_their_order(autojump_clock, api):
    job = await api.batch(2)
    assert [run["id"][-1] for run in await data(api, "/v1/runs")] == ["1", "0"]
    assert [step["custom_id"] for step in await data(api, f"/v1/jobs/{job['id']}/steps")] == ["c-0", "c-1"]


# --- what is not there -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "runs/run-{}-0", "runs/run-{}-0/steps", "runs/run-{}-0/messages", "steps/step-{}-0-1", "steps/step-{}-0-1/messages",
    "jobs/job-{}/steps", "jobs/job-{}/messages",
])  # fmt: skip
async def test_foreign_and_unknown_parts_answer_alike(autojump_clock, api, path):
    uuid, nobody = uuid_of(await api.batch(1)), "00000000-0000-7000-8000-000000000000"
    foreign = await api.get(f"/v1/{path.format(uuid)}", key="other")
    unknown = await api.get(f"/v1/{path.format(nobody)}", key="other")
    assert foreign.code == unknown.code == (404, "not_found")
    assert foreign.error["message"].replace(uuid, nobody) == unknown.error["message"]
    assert await data(api, "/v1/runs", key="other") == []


@pytest.mark.parametrize(
    "path", ["runs/run-{}-1", "runs/run-{}-1/steps", "runs/run-{}-00", "steps/step-{}-0-2", "steps/step-{}-1-1",
             "steps/step-{}-0", "runs/x", "steps/step-{}-0-2/messages", "runs/run-{}-999999999"],
)  # fmt: skip
async def test_parts_that_a_job_does_not_have_are_not_found(autojump_clock, api, path):
    job = await api.batch(1)
    assert (await api.get(f"/v1/{path.format(uuid_of(job))}")).code == (404, "not_found")


async def test_a_cursor_of_another_job_is_refused(autojump_clock, api):
    job, other = await api.batch(1), await api.batch(1)
    cursor = f"step-{uuid_of(other)}-0-1"
    assert (await api.get(f"/v1/jobs/{job['id']}/steps?after={cursor}")).error["param"] == "after"
    assert (await api.get(f"/v1/jobs/{job['id']}/steps?before={cursor}")).error["param"] == "before"
    assert (await api.get(f"/v1/runs?after=run-{uuid_of(other)}-0")).status == 200
    assert (await api.get("/v1/runs?after=run-1")).status == 422
