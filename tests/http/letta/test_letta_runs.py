"""Runs and steps for Letta's clients."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.http.api import Api, request, result_text

from backburner.conversation import Message
from backburner.http.letta.message_shapes import batch_message, pieces
from backburner.states import ItemStatus

RUNS = "/letta/v1/runs"
STEPS = "/letta/v1/steps"


FAILED = result_text(0, ItemStatus.ERRORED)
CANCELED = result_text(0, ItemStatus.CANCELED)


def answer(stop_reason: str, text: str = "Hm.") -> str:
    """A stored result that ended so."""
    message = {"content": [{"type": "text", "text": f'"{text}"'}], "stop_reason": stop_reason}
    return msgspec.json.encode({"type": "succeeded", "message": message}).decode()


async def ended(api: Api) -> str:
    """The part of their ids that three runs have in common."""
    job = await api.ended([ItemStatus.SUCCEEDED, ItemStatus.ERRORED, ItemStatus.CANCELED])
    return str(job["id"].removeprefix("job-"))


async def test_runs_are_an_array_newest_first(autojump_clock, api):
    part = await ended(api)
    runs = (await api.get(RUNS)).json
    assert [(run["id"], run["status"]) for run in runs] == [
        (f"run-{part}-2", "cancelled"),
        (f"run-{part}-1", "failed"),
        (f"run-{part}-0", "completed"),
    ]
    assert all(run["agent_id"] == "" for run in runs)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?statuses=completed&statuses=failed", [1, 0]),
        ("?active=true", []),
        ("?background=false", []),
        ("?order=asc&limit=2", [0, 1]),
        ("?after=run-{}-2", [1, 0]),
        ("?before=run-{}-1", [2]),
        ("?order=asc&after=run-{}-0", [1, 2]),
        ("?agent_id=nobody", []),
        ("?conversation_id=ignored", [2, 1, 0]),
    ],
)
async def test_runs_can_be_asked_for(autojump_clock, api, query, expected):
    part = await ended(api)
    answer = await api.get(RUNS + query.format(part))
    assert [run["id"] for run in answer.json] == [f"run-{part}-{index}" for index in expected]


@pytest.mark.parametrize("query", ["?statuses=lost", "?stop_reason=boredom"])
async def test_what_cannot_be_asked_for_is_refused(autojump_clock, api, query):
    assert (await api.get(RUNS + query)).status == 422


async def test_runs_of_several_agents_are_listed_together(autojump_clock, api):
    made = [request(number) | {"agent_id": f"agent-{number}"} for number in range(3)]
    await api.post("/v1/batches", json={"requests": made})
    runs = (await api.get(f"{RUNS}?agent_ids=agent-2&agent_ids=agent-0")).json
    assert [run["agent_id"] for run in runs] == ["agent-2", "agent-0"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("end_turn", [4, 1]), ("error", [2]), ("cancelled", [3]), ("max_tokens_exceeded", [0]), ("tool_rule", [])],
)
async def test_runs_can_be_asked_for_by_their_stop_reason(autojump_clock, api_on_each, reason, expected):
    api = api_on_each
    job = await api.batch(5)
    await api.submitted(job["id"])
    answers = [answer("max_tokens", "end_turn"), answer("end_turn"), FAILED, CANCELED, answer("stop_sequence")]
    await api.lines(job["id"], answers)
    part = job["id"].removeprefix("job-")
    runs = (await api.get(f"{RUNS}?stop_reason={reason}&limit=2")).json
    assert [run["id"] for run in runs] == [f"run-{part}-{index}" for index in expected]


async def test_one_run_with_what_belongs_to_it(autojump_clock, api):
    part = await ended(api)
    run = f"{RUNS}/run-{part}-0"
    assert (await api.get(run)).json["id"] == f"run-{part}-0"
    assert (await api.get(f"{run}/usage")).json["total_tokens"] == 7
    assert [step["id"] for step in (await api.get(f"{run}/steps")).json] == [f"step-{part}-0-1"]
    kinds = [message["message_type"] for message in (await api.get(f"{run}/messages")).json]
    assert kinds == ["user_message", "assistant_message"]
    assert (await api.get(f"{run}/metrics")).json["num_steps"] == 1
    assert (await api.get(f"{run}/trace")).json == []


async def test_a_run_of_many_is_not_deleted_and_the_only_one_is(autojump_clock, api):
    part = await ended(api)
    assert (await api.call("DELETE", f"{RUNS}/run-{part}-0")).status == 409
    alone = (await api.ended([ItemStatus.SUCCEEDED]))["id"].replace("job-", "run-") + "-0"
    assert (await api.call("DELETE", f"{RUNS}/{alone}")).json["id"] == alone
    assert (await api.get(f"{RUNS}/{alone}")).status == 404


async def test_a_run_at_work_is_cancelled_and_deleted_once_it_has_ended(autojump_clock, api):
    job_id = (await api.batch(1))["id"]
    run = f"{RUNS}/{job_id.replace('job-', 'run-')}-0"
    answers = [await api.call("DELETE", run) for _ in range(2)]
    assert [(answer.status, answer.json["status"]) for answer in answers] == [(200, "cancelled"), (200, "cancelled")]
    assert (await api.get(run)).status == 404


async def test_a_run_that_the_provider_has_is_answered_while_it_is_being_cancelled(autojump_clock, api):
    job_id = (await api.batch(1))["id"]
    await api.submitted(job_id)
    run = f"{RUNS}/{job_id.replace('job-', 'run-')}-0"
    answers = [await api.call("DELETE", run) for _ in range(2)]
    assert [(answer.status, answer.json["status"]) for answer in answers] == [(200, "running"), (200, "running")]
    assert (await api.record(job_id)).cancel_requested_at is not None


async def test_steps_of_all_runs_page_by_page(autojump_clock, api):
    part = await ended(api)
    found: list[str] = []
    while page := (await api.get(f"{STEPS}/?limit=2" + (f"&after={found[-1]}" if found else ""))).json:
        found += [step["id"] for step in page]
    assert found == [f"step-{part}-{index}-1" for index in (2, 1, 0)]


async def test_one_step_with_what_belongs_to_it(autojump_clock, api):
    part = await ended(api)
    step = f"{STEPS}/step-{part}-0-1"
    shown = (await api.get(step)).json
    assert (shown["status"], shown["prompt_tokens"], shown["run_id"]) == ("success", 7, f"run-{part}-0")
    assert (await api.get(f"{STEPS}/step-{part}-1-1")).json["error_type"] == "errored"
    assert (await api.get(f"{step}/metrics")).json["step_ns"] is not None
    assert (await api.get(f"{step}/trace")).body == b"null"
    assert len((await api.get(f"{step}/messages")).json) == 2


async def said(api: Api, step: str, **body: Any) -> Any:
    answer = await api.call("PATCH", f"{STEPS}/{step}/feedback", json=body)
    assert answer.status == 200, answer.body
    return answer.json


async def test_feedback_is_shown_on_its_step_until_it_is_taken_back(autojump_clock, api_on_each):
    api = api_on_each
    step = f"step-{await ended(api)}-0-1"
    given = await said(api, step, feedback="positive", tags=["helpful"])
    assert (given["id"], given["feedback"], given["tags"]) == (step, "positive", ["helpful"])
    assert (await api.get(f"{STEPS}/{step}")).json == given
    again = await said(api, step, feedback="negative")
    assert (again["feedback"], again["tags"]) == ("negative", ["helpful"])
    assert (await said(api, step))["feedback"] is None


@pytest.mark.parametrize("body", [{"feedback": "fine"}, {"feedback": 1}, {"tags": "helpful"}, {"tags": ["x" * 256]}])
async def test_feedback_that_letta_does_not_know_is_refused(autojump_clock, api, body):
    part = await ended(api)
    answer = await api.call("PATCH", f"{STEPS}/step-{part}-0-1/feedback", json=body)
    assert (answer.status, list(answer.json)) == (422, ["detail"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?feedback=positive", [2]),
        ("?has_feedback=true&order=asc", [0, 2]),
        ("?has_feedback=false", [1]),
        ("?has_feedback=false&feedback=positive", []),
        ("?has_feedback=true&limit=1", [2]),
    ],
)
async def test_steps_can_be_asked_for_by_their_feedback(autojump_clock, api, query, expected):
    part = await ended(api)
    await said(api, f"step-{part}-0-1", feedback="negative")
    await said(api, f"step-{part}-1-1", tags=["only a tag"])
    await said(api, f"step-{part}-2-1", feedback="positive")
    found = (await api.get(STEPS + query)).json
    assert [step["id"] for step in found] == [f"step-{part}-{index}-1" for index in expected]


@pytest.mark.parametrize("path", ["", "/messages", "/steps", "/usage", "/metrics", "/trace"])
async def test_another_organizations_runs_are_not_found(autojump_clock, api, path):
    part = await ended(api)
    assert (await api.get(f"{RUNS}/run-{part}-0{path}", key="other")).status == 404


def message(api: Api, role: str, content: object) -> Message:
    return Message(
        job_id="job-x", index=0, agent_id="a", round=1, number=0, role=role, content=content,
        created_at=api.services.clock.now(),
    )  # fmt: skip


async def test_an_answer_with_thoughts_and_calls_becomes_typed_pieces(autojump_clock, api):
    said = message(
        api,
        "assistant",
        [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "One moment."},
            {"type": "tool_use", "id": "t-1", "name": "look", "input": {"at": "it"}},
        ],
    )
    found = {piece["message_type"]: piece for piece in pieces(said)}
    assert found["reasoning_message"]["reasoning"] == "Hm."
    assert found["assistant_message"]["content"] == "One moment."
    assert found["tool_call_message"]["tool_call"] == {
        "name": "look",
        "arguments": '{"at":"it"}',
        "tool_call_id": "t-1",
    }


async def test_a_tools_answer_has_the_role_tool(autojump_clock, api):
    said = message(api, "user", [{"type": "tool_result", "tool_use_id": "t-1", "content": "seen"}])
    assert (batch_message(said)["role"], batch_message(said)["tool_call_id"]) == ("tool", "t-1")
    assert [piece["tool_return"] for piece in pieces(said)] == ["seen"]
