"""What the clients ask of conversations and the server itself, against the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import msgspec
import pytest
from tests.client.fakes import ok, page, script
from tests.http.api import Api, open_api, request

from backburner import ApiError, AsyncClient, Client
from backburner.client.conversations import Message


@asynccontextmanager
async def client_of(api: Api, key: str = "admin") -> AsyncIterator[AsyncClient]:
    transport = httpx2.ASGITransport(app=api.client.app)
    async with AsyncClient("http://server", api.keys[key], transport=transport) as client:
        yield client


ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn"}


async def test_a_conversation_is_read_from_its_run_to_its_messages(autojump_clock):
    async with open_api() as api, client_of(api, "read") as client:
        requests = [request(number) | {"agent_id": f"agent-{number}"} for number in range(2)]
        job = (await api.post("/v1/batches", json={"requests": requests})).json["id"]
        await api.submitted(job)
        await api.lines(job, [msgspec.json.encode({"type": "succeeded", "message": ANSWER}).decode()] * 2)
        (run,) = [found async for found in client.runs(agent_id="agent-1")]
        assert (run.job_id, run.status, run.stop_reason, run.rounds) == (job, "completed", "end_turn", 1)
        assert await client.run(run.id) == run
        (step,) = [found async for found in client.steps(run.id)]
        assert [found.custom_id async for found in client.steps(job, limit=1)] == ["c-0", "c-1"]
        assert await client.step(step.id) == step
        for whose, filters in ((run.id, {}), (step.id, {}), (job, {"item": "c-1"})):
            said = [(found.role, found.text) async for found in client.messages(whose, **filters)]
            assert said == [("user", "Hi"), ("assistant", "Yes.")]


async def test_an_operator_makes_an_organization_a_user_and_a_key(autojump_clock):
    async with open_api() as api, client_of(api) as client:
        made = await client.create_organization("acme", idempotency_key="once")
        assert (await client.create_organization("acme", idempotency_key="once")).id == made.id
        assert made in [found async for found in client.organizations()]
        user = await client.create_user(made.id, "ann")
        assert user in [found async for found in client.users()]
        key = await client.create_key(user_id=user.id, scopes=["read"], name="laptop")
        assert (key.organization_id, key.scopes) == (made.id, ["read"])
        assert (key.secret or "").startswith("bb_")
        (done,) = [found async for found in client.audit(action="key.create")]
        assert (done.object_type, done.object_id, done.detail["user_id"]) == ("key", key.id, user.id)
        assert (await client.revoke_key(key.id)).id == key.id
        assert key.id not in [found.id async for found in client.api_keys()]
        before = await client.webhook_secret()
        assert await client.rotate_webhook_secret() == await client.webhook_secret() != before


async def test_what_a_key_may_not_see_is_refused(autojump_clock):
    async with open_api() as api, client_of(api, "read") as client:
        with pytest.raises(ApiError) as caught:
            [found async for found in client.audit()]
        assert caught.value.status == 403


@pytest.mark.parametrize("ask", [lambda client: client.steps("step-1"), lambda client: client.messages("key-1")])
def test_an_id_of_another_kind_is_refused_before_anything_is_asked(ask):
    server = script(ok({}))
    with pytest.raises(ValueError, match="is not the id of a job or a run"):
        ask(Client("http://server", "bb_key", transport=server.transport))
    assert server.asked == []


def test_the_synchronous_client_asks_alike():
    server = script(
        page({"id": "run-1", "status": "running"}, has_more=True), page({"id": "run-2", "status": "failed"})
    )
    client = Client("http://server", "bb_key", transport=server.transport)
    assert [run.status for run in client.runs(status=["running", "failed"])] == ["running", "failed"]
    asked = "GET /v1/runs?status=running&status=failed"
    assert server.paths == [asked, f"{asked}&after=run-1"]


def test_the_text_of_a_message_is_at_hand():
    blocks = [{"type": "text", "text": "a"}, {"type": "tool_use", "name": "x"}, "odd", {"type": "text", "text": "b"}]
    texts = [Message(id="message-1", role="assistant", content=content).text for content in (blocks, "c", None)]
    assert texts == ["ab", "c", ""]
