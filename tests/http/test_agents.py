"""Agents over HTTP: what may be said of one, runs, and forks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
import pytest
from tests.http.api import Answer, Api, open_api, request

from backburner.agent_options import ToolSpec

PARAMS = request(1)["params"]
HTTP = {"name": "look", "url": "https://tools.example.com/look"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with open_api("sqlite://", tools={"add": ToolSpec(name="add", description="Adds.")}) as opened:
        yield opened


async def test_a_run_is_a_job_with_the_agent_as_it_was_understood(api):
    asked = {"params": PARAMS, "agent": {"tools": ["add", HTTP], "max_rounds": 3}, "agent_id": "ada"}
    answer = await api.post("/v1/runs", json=asked)
    assert (answer.status, answer.json["job_type"], answer.json["agent_id"]) == (202, "run", "ada")
    assert [tool["name"] for tool in answer.json["agent"]["tools"]] == ["add", "look"]
    assert (answer.json["agent"]["max_rounds"], answer.json["request_counts"]["total"]) == (3, 1)
    run = await api.get(f"/v1/runs/{answer.json['id'].replace('job-', 'run-')}-0")
    assert (run.status, run.json["status"], run.json["agent_id"]) == (200, "pending", "ada")


@pytest.mark.parametrize(
    ("agent", "code", "param", "said"),
    [
        ({"tools": ["subtract"]}, "unknown_tool", "agent.tools[0]", "Known tools: add."),
        ({"tools": ["add", "add"]}, "duplicate_tool", "agent.tools[1]", "twice"),
        ({"tools": [{**HTTP, "url": "http://10.0.0.1/"}]}, "callback_url_forbidden", "agent.tools[0].url", "allowed"),
        ({"tools": [{**HTTP, "uri": "x"}]}, "unknown_field", "agent.tools[0].uri", "uri"),
        ({"max_rounds": 0}, "out_of_range", "agent.max_rounds", ">= 1"),
        ({"max_cost_usd": 1}, "missing_field", "agent.prices", "prices"),
        ({"tools": [{**HTTP, "input_schema": {"description": "x" * 70_000}}]}, "invalid_value", "agent.tools", "bytes"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(agent, code, param, said, api):
    for path, body in (("/v1/runs", {"params": PARAMS}), ("/v1/batches", {"requests": [request(1)]})):
        answer = await api.post(path, json={**body, "agent": agent})
        assert (answer.status, answer.json["error"]["param"]) == (422, param)
        assert answer.json["error"]["code"] == code or code == "out_of_range"
        assert said in answer.json["error"]["message"]


async def lines(api: Api, tools: str) -> Answer:
    query = quote(f'{{"tools":["{tools}"]}}')
    data = msgspec.json.encode(request(1)) + b"\n"
    return await api.post(f"/v1/batches?agent={query}", data=data, kind="application/x-ndjson")


async def test_lines_take_the_agent_as_a_parameter(api):
    answer = await lines(api, "add")
    assert (answer.status, answer.json["agent"]["tools"][0]["name"]) == (202, "add")
    refused = await lines(api, "no")
    assert (refused.status, refused.json["error"]["param"]) == (422, "agent.tools[0]")


async def test_a_fork_begins_with_the_request_of_a_step(api):
    made = (await api.post("/v1/runs", json={"params": PARAMS, "agent": {"tools": ["add"]}})).json
    run = made["id"].replace("job-", "run-") + "-0"
    fork = await api.post(f"/v1/runs/{run}/fork", json={"round": 1, "params": {"max_tokens": 7}})
    assert (fork.status, fork.json["agent"]) == (202, made["agent"])
    said = await api.get(f"/v1/jobs/{fork.json['id']}/messages")
    assert said.json["data"][0]["content"] == PARAMS["messages"][0]["content"]
    missing = await api.post(f"/v1/runs/{run}/fork", json={"round": 2})
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
