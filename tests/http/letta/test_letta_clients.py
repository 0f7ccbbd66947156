"""Letta's own client over HTTP, and the requests of its older versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
from letta_client import ConflictError, Letta, NotFoundError
from tests.http.api import Answer, Api, open_api
from tests.http.letta.recorded import AGENTS, RECORDED, REQUESTS
from tests.http.raw import served

from backburner.states import ItemStatus

#: Members of a job, none of which may be left out.
JOB = {
    "id", "user_id", "status", "created_at", "updated_at", "completed_at", "stop_reason", "metadata", "job_type",
    "background", "agent_id", "callback_url", "callback_sent_at", "callback_status_code", "callback_error", "ttft_ns",
    "total_duration_ns", "created_by_id", "last_updated_by_id",
}  # fmt: skip
USAGE = {"completion_tokens", "prompt_tokens", "total_tokens"}


@attrs.frozen
class Scene:
    """A batch of two agents that has ended, one of one agent, one that runs, and a job."""

    api: Api
    ids: dict[str, str]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with open_api() as api:
        batch, single, running = [await made(api, requests) for requests in (REQUESTS, REQUESTS[:1], REQUESTS)]
        for job_id, count in ((batch, 2), (single, 1)):
            await api.submitted(job_id)
            await api.results(job_id, [ItemStatus.SUCCEEDED] * count)
        part = batch.removeprefix("job-")
        ids = {
            "batch": batch, "open": running, "job": (await api.post("/v1/jobs", json={})).json["id"],
            "run": f"run-{part}-0", "step": f"step-{part}-0-1", "message": f"message-{part}-0-1-0",
            "single": f"run-{single.removeprefix('job-')}-0", "agent": AGENTS[0],
        }  # fmt: skip
        yield Scene(api, ids)


async def made(api: Api, requests: list[Any]) -> str:
    return str((await api.post("/letta/v1/messages/batches", json={"requests": requests})).json["id"])


def fits(returned: str, answer: Answer) -> bool:
    """Whether the client can make of an answer what it says it does."""
    if returned == "stream":
        return answer.headers["content-type"].startswith("text/event-stream") and b"data: [DONE]" in answer.body
    found = answer.json
    if returned == "list":
        return isinstance(found, list) and all(isinstance(row["id"], str) for row in found)
    if returned == "messages":
        return all(isinstance(row["id"], str) and row["role"] for row in found["messages"])
    wanted = {"job": JOB, "object": {"id"}, "usage": USAGE, "any": set()}[returned]
    return wanted <= set(found or ())


@pytest.mark.parametrize("version", ["0.1.324", "1.7.0"])
async def test_what_older_clients_ask_is_answered(autojump_clock, scene, version):
    """In the recorded order: a job is cancelled before it is deleted."""
    for recorded in [found for found in RECORDED if found.version == version]:
        target = "/letta" + recorded.target.format(**scene.ids)
        answer = await scene.api.call(recorded.method, target, json=recorded.body, headers=recorded.headers)
        assert answer.status == 200, (recorded, answer.body)
        assert fits(recorded.returned, answer), (recorded, answer.body)


@pytest.mark.sockets
async def test_the_newest_client_reads_runs_and_steps(scene):
    async with served(scene.api.client.app) as server:
        await trio.to_thread.run_sync(use, server.address.url, scene.api.keys["write"], scene.ids)


def use(url: str, key: str, ids: dict[str, str]) -> None:
    with Letta(base_url=f"{url}/letta", api_key=key) as client:
        runs(client, ids)
        steps(client, ids)
        with pytest.raises(NotFoundError) as missing:
            client.runs.retrieve(ids["run"].replace("-0", "-9"))
        assert "detail" in missing.value.body
    with Letta(base_url=f"{url}/letta", api_key=key, max_retries=0) as client, pytest.raises(ConflictError):
        client.delete(f"/v1/runs/{ids['run']}", cast_to=object)


def runs(client: Letta, ids: dict[str, str]) -> None:
    listed = [run.id for run in client.runs.list(limit=2)]  # pages follow by themselves
    assert (len(listed), len(set(listed)), ids["run"] in listed) == (5, 5, True)
    assert [run.id for run in client.runs.list(statuses=["completed"], order="asc", agent_id=AGENTS[0])] == [
        ids["run"], ids["single"],
    ]  # fmt: skip
    run = client.runs.retrieve(ids["run"])
    assert (run.id, run.agent_id, run.status) == (ids["run"], AGENTS[0], "completed")
    said = list(client.runs.messages.list(ids["run"], limit=1))
    assert [message.message_type for message in said] == ["user_message", "assistant_message"]
    assert [step.id for step in client.runs.steps.list(ids["run"])] == [ids["step"]]
    assert client.runs.usage.retrieve(ids["run"]).prompt_tokens == 7
    assert client.runs.trace.retrieve(ids["run"]) == []
    told = [event.message_type for event in client.runs.messages.stream(ids["run"])]
    assert told == ["assistant_message", "stop_reason", "usage_statistics"]


def steps(client: Letta, ids: dict[str, str]) -> None:
    assert ids["step"] in [step.id for step in client.steps.list(limit=2)]
    assert client.steps.retrieve(ids["step"]).id == ids["step"]
    assert client.steps.metrics.retrieve(ids["step"]).id == ids["step"]
    assert client.steps.trace.retrieve(ids["step"]) is None
    assert len(list(client.steps.messages.list(ids["step"]))) == 2
    assert client.steps.feedback.create(ids["step"], feedback="positive", tags=["good"]).feedback == "positive"
