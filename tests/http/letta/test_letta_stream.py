"""Runs followed by Letta's clients as they go on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from tests.http.api import Api
from tests.http.streams import streaming

from backburner.http.events import KEEP_ALIVE
from backburner.states import ItemStatus

OK = ItemStatus.SUCCEEDED


def stream_of(job: Any, index: int = 0) -> str:
    return f"/letta/v1/runs/{job['id'].replace('job-', 'run-')}-{index}/stream"


def told(text: bytes | str) -> list[Any]:
    """The data of the events; a comment is none."""
    body = text.decode() if isinstance(text, bytes) else text
    found = [block.removeprefix("data: ") for block in body.split("\n\n") if block.startswith("data: ")]
    return [data if data == "[DONE]" else msgspec.json.decode(data) for data in found]


async def test_the_stream_of_an_ended_run_is_what_it_said_and_how_it_ended(autojump_clock, api):
    job = await api.ended([OK])
    answer = await api.post(stream_of(job), json={})
    *said, done = told(answer.body)
    assert answer.headers["content-type"] == "text/event-stream"
    assert [chunk["message_type"] for chunk in said] == ["assistant_message", "stop_reason", "usage_statistics"]
    assert [chunk["seq_id"] for chunk in said] == [1, 2, 3]
    assert (said[0]["content"][0]["text"], said[1]["stop_reason"]) == ("answer 0", "end_turn")
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("index", "kinds", "reason"),
    [
        (0, ["error_message", "stop_reason", "usage_statistics"], "error"),
        (1, ["stop_reason", "usage_statistics"], "cancelled"),
    ],
)
async def test_a_run_without_an_answer_says_how_it_ended(autojump_clock, api, index, kinds, reason):
    job = await api.ended([ItemStatus.ERRORED, ItemStatus.CANCELED])
    *said, _ = told((await api.post(stream_of(job, index), json={})).body)
    assert [chunk["message_type"] for chunk in said] == kinds
    assert [chunk["stop_reason"] for chunk in said if "stop_reason" in chunk] == [reason]


async def test_a_client_that_comes_back_gets_what_comes_after(autojump_clock, api):
    job = await api.ended([OK])
    said = told((await api.post(stream_of(job), json={"starting_after": 2})).body)
    assert [chunk["seq_id"] for chunk in said[:-1]] == [3]


async def test_a_running_run_is_followed_to_its_end_with_pings(autojump_clock, api):
    job = await api.batch(2)
    await api.submitted(job["id"])
    async with streaming(api, stream_of(job), method="POST") as stream:
        await trio.sleep(KEEP_ALIVE + 1)
        await api.results(job["id"], [OK, OK])
        *said, done = told(await stream.text())
    assert [chunk["message_type"] for chunk in said] == [
        "ping", "assistant_message", "stop_reason", "usage_statistics",
    ]  # fmt: skip
    assert said[0]["run_id"] == said[1]["run_id"]
    assert done == "[DONE]"


async def test_pings_can_be_left_out(autojump_clock, api):
    job = await api.batch(1)
    async with streaming(api, stream_of(job), method="POST", data=b'{"include_pings":false}') as stream:
        await trio.sleep(KEEP_ALIVE * 3)
        await api.submitted(job["id"])
        await api.results(job["id"], [OK])
        assert "ping" not in {chunk["message_type"] for chunk in told(await stream.text())[:-1]}


async def test_the_stream_of_a_deleted_job_ends(autojump_clock, api):
    job = (await api.ended([OK, OK]))["id"]
    other = await api.batch(1)
    async with streaming(api, stream_of(other), method="POST") as stream:
        await api.call("POST", f"/v1/jobs/{other['id']}/cancel")
        assert told(await stream.text())[-1] == "[DONE]"
    await api.call("DELETE", f"/v1/jobs/{job}")
    assert (await api.post(stream_of({"id": job}), json={})).status == 404


async def test_a_stream_ends_when_its_key_is_revoked(autojump_clock, api: Api):
    job = await api.batch(1)
    key = next(key for key in (await api.get("/v1/admin/keys")).json["data"] if key["name"] == "read")
    async with streaming(api, stream_of(job), method="POST") as stream:
        await api.call("DELETE", f"/v1/admin/keys/{key['id']}")
        assert told(await stream.text()) == []
