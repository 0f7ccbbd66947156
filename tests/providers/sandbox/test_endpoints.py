"""The endpoints as the official client sees them."""

from __future__ import annotations

import anthropic
import pytest
import trio
from tests.providers.sandbox.account import (
    BATCHES,
    make,
    new_sandbox,
    official,
    plain,
    read_lines,
    request,
    requests,
)

DAY = 24 * 60 * 60
TOO_MANY = b",".join(b'{"custom_id":"%d","params":{}}' % number for number in range(100_001))


async def test_a_batch_runs_and_every_item_gets_a_result(autojump_clock):
    async with official(new_sandbox()) as client:
        batch = await client.messages.batches.create(requests=requests(3))
        assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 3, None)
        await trio.sleep(60)
        batch = await client.messages.batches.retrieve(batch.id)
        assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 3)
        lines = [line async for line in await client.messages.batches.results(batch.id)]
    assert sorted(line.custom_id for line in lines) == ["item-0", "item-1", "item-2"]
    for line in lines:
        assert line.result.type == "succeeded"
        assert line.result.message.usage.service_tier == "batch"
        assert line.result.message.usage.output_tokens == 100
        assert line.result.message.content[0].type == "text"


async def test_the_object_has_the_documented_shape_with_explicit_nulls(autojump_clock):
    async with plain(new_sandbox()) as client:
        response = await client.post(BATCHES, json={"requests": requests(2)})
    batch = response.json()
    assert batch.pop("id").startswith("msgbatch_01")
    assert batch == {
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "expires_at": "2026-01-02T00:00:00.000000Z",
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }


async def test_an_ended_batch_names_its_results_under_the_address_that_the_client_used(autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0))
        await trio.sleep(60)
        batch = (await client.get(f"/some/prefix{BATCHES}/{batch_id}")).json()
        assert batch["results_url"] == f"http://sandbox/some/prefix{BATCHES}/{batch_id}/results"
        assert batch["ended_at"] == "2026-01-01T00:01:00.000000Z"


async def test_the_official_client_pages_through_the_list_newest_first(autojump_clock):
    async with official(new_sandbox()) as client:
        made = [(await client.messages.batches.create(requests=requests(1))).id for _ in range(5)]
        assert [batch.id async for batch in client.messages.batches.list(limit=2)] == made[::-1]
        newer = await client.messages.batches.list(limit=2, before_id=made[1])
        assert [batch.id for batch in newer.data] == [made[3], made[2]]
        assert newer.has_more


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after_id=nobody", "after_id=a&before_id=b"])
async def test_a_listing_that_cannot_be_is_refused(query, autojump_clock):
    async with plain(new_sandbox()) as client:
        response = await client.get(f"{BATCHES}?{query}")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_canceled_batch_keeps_what_had_finished(autojump_clock):
    async with official(new_sandbox(batch_seconds=100, cancel_seconds=10)) as client:
        batch = await client.messages.batches.create(requests=requests(100))
        await trio.sleep(40)
        canceling = await client.messages.batches.cancel(batch.id)
        assert canceling.processing_status == "canceling"
        assert await client.messages.batches.cancel(batch.id) == canceling
        await trio.sleep(10)
        ended = await client.messages.batches.retrieve(batch.id)
        outcomes = [line.result.type async for line in await client.messages.batches.results(batch.id)]
    assert ended.processing_status == "ended"
    assert 30 <= ended.request_counts.succeeded <= 70
    assert ended.request_counts.succeeded == outcomes.count("succeeded")
    assert ended.request_counts.canceled == outcomes.count("canceled") == 100 - outcomes.count("succeeded")


async def test_a_cancel_after_the_end_changes_nothing(autojump_clock):
    async with official(new_sandbox()) as client:
        batch = await client.messages.batches.create(requests=requests(1))
        await trio.sleep(60)
        assert (await client.messages.batches.cancel(batch.id)).cancel_initiated_at is None


async def test_what_has_not_finished_in_a_day_expires(autojump_clock):
    async with plain(new_sandbox(batch_seconds=2 * DAY)) as client:
        batch_id = await make(client, *requests(100))
        await trio.sleep(DAY)
        counts = (await client.get(f"{BATCHES}/{batch_id}")).json()["request_counts"]
        outcomes = [line["result"]["type"] for line in await read_lines(client, batch_id)]
    assert 30 <= counts["expired"] <= 70
    assert counts["succeeded"] + counts["expired"] == 100
    assert outcomes.count("expired") == counts["expired"]


async def test_only_an_ended_batch_can_be_deleted(autojump_clock):
    async with official(new_sandbox()) as client:
        batch = await client.messages.batches.create(requests=requests(1))
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.batches.delete(batch.id)
        await trio.sleep(60)
        assert (await client.messages.batches.delete(batch.id)).type == "message_batch_deleted"
        with pytest.raises(anthropic.NotFoundError) as raised:
            await client.messages.batches.retrieve(batch.id)
        assert raised.value.type == "not_found_error"
        assert [found async for found in client.messages.batches.list()] == []


async def test_results_are_there_from_the_end_until_29_days_after_the_beginning(autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0))
        assert (await client.get(f"{BATCHES}/{batch_id}/results")).status_code == 404
        await trio.sleep(29 * DAY - 1)
        assert (await client.get(f"{BATCHES}/{batch_id}/results")).status_code == 200
        await trio.sleep(1)
        assert (await client.get(f"{BATCHES}/{batch_id}/results")).status_code == 404
        batch = (await client.get(f"{BATCHES}/{batch_id}")).json()
        assert (batch["archived_at"], batch["results_url"]) == ("2026-01-30T00:00:00.000000Z", None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b'{"requests":[]}', "at least 1 item"),
        (b'{"requests":{}}', "requests: Expected `array`"),
        (b'{"requests":[{"custom_id":"a"}]}', "requests.0.params: Field required"),
        (b'{"requests":[{"custom_id":"a","params":7}]}', "requests.0.params"),
        (b'{"requests":[{"custom_id":"a b","params":{}}]}', "requests.0.custom_id: String should match"),
        (b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}]}', "requests.1.custom_id: Dup"),
        (b'{"requests":[{"custom_id":"a","params":{},"more":1}]}', "requests.0.more: Extra inputs are not permitted"),
        (b'{"requests":[{"custom_id":"a","params":{}}],"more":1}', "more: Extra inputs are not permitted"),
        (b'{"requests":[{"custom_id":"a","params":{"a":%b%b}}]}' % (b"[" * 99_999, b"]" * 99_999), "nested too deeply"),
        (b'{"requests":[%b]}' % TOO_MANY, "at most 100000"),
    ],
    ids=["json", "empty", "type", "params", "params type", "custom_id", "twice", "item field", "field", "deep", "many"],
)
async def test_a_create_that_cannot_be_is_refused_at_once(body, message, autojump_clock):
    async with plain(new_sandbox()) as client:
        response = await client.post(BATCHES, content=body)
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        assert message in response.json()["error"]["message"]
        assert (await client.get(BATCHES)).json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "many"}, "max_tokens: Expected `int`, got `str`"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role: Invalid enum value 'robot'"),
        ({"stream": True}, "stream: Streaming is not supported in batches"),
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        ({"tempreature": 1.0}, "tempreature: Extra inputs are not permitted"),
        (
            {"messages": [{"role": "user", "content": "x", "name": "y"}]},
            "messages.0.name: Extra inputs are not permitted",
        ),
        (
            {"max_tokens": 10**9, "model": "m"},
            "max_tokens: 1000000000 > 128000, which is the maximum allowed number of output tokens for m",
        ),
    ],
)
async def test_wrong_params_make_an_errored_line_and_not_a_refusal(params, message, autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, **params), request(1))
        await trio.sleep(60)
        results = {line["custom_id"]: line["result"] for line in await read_lines(client, batch_id)}
    assert results["item-0"]["error"]["error"] == {"type": "invalid_request_error", "message": message}
    assert results["item-1"]["type"] == "succeeded"


async def test_a_missing_field_is_named_in_the_errored_line(autojump_clock):
    wrong = request(0)
    del wrong["params"]["max_tokens"]
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, wrong)
        await trio.sleep(60)
        (line,) = await read_lines(client, batch_id)
    assert line["result"]["error"]["error"]["message"] == "max_tokens: Field required"


async def test_the_old_version_still_takes_a_temperature(autojump_clock):
    async with plain(new_sandbox(), **{"anthropic-version": "2023-06-01"}) as client:
        batch_id = await make(client, request(0, temperature=1.0))
        await trio.sleep(60)
        (line,) = await read_lines(client, batch_id)
    assert line["result"]["type"] == "succeeded"


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"authorization": ""}, 401, "authentication_error"),
        ({"authorization": "Bearer other"}, 401, "authentication_error"),
        ({"authorization": "", "x-api-key": "k"}, 200, None),
        ({"anthropic-version": "2020-01-01"}, 400, "invalid_request_error"),
    ],
)
async def test_a_request_needs_the_key_and_a_version(headers, status, kind, autojump_clock):
    async with plain(new_sandbox(api_key="k"), **headers) as client:
        response = await client.get(BATCHES)
    assert response.status_code == status
    assert response.json().get("error", {}).get("type") == kind


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/else", 404), ("PUT", BATCHES, 405)])
async def test_what_the_service_does_not_have_is_answered_in_its_envelope(method, path, status, autojump_clock):
    async with plain(new_sandbox()) as client:
        response = await client.request(method, path)
    assert (response.status_code, response.json()["request_id"]) == (status, response.headers["request-id"])


async def test_every_answer_takes_the_latency(autojump_clock):
    async with plain(new_sandbox(latency_seconds=3)) as client:
        await client.get(BATCHES)
    assert trio.current_time() == pytest.approx(3)


async def test_speed_shortens_the_work_but_not_the_day(autojump_clock):
    async with plain(new_sandbox(batch_seconds=3600, speed=3600)) as client:
        batch_id = await make(client, request(0))
        await trio.sleep(1)
        batch = (await client.get(f"{BATCHES}/{batch_id}")).json()
    assert (batch["processing_status"], batch["expires_at"]) == ("ended", "2026-01-02T00:00:00.000000Z")


async def test_a_beta_allows_longer_answers(autojump_clock):
    async with plain(new_sandbox(), **{"anthropic-beta": "other, output-300k-2026-03-24"}) as client:
        batch_id = await make(client, request(0, max_tokens=300_000), request(1, max_tokens=300_001))
        await trio.sleep(60)
        results = {line["custom_id"]: line["result"]["type"] for line in await read_lines(client, batch_id)}
    assert results == {"item-0": "succeeded", "item-1": "errored"}


async def test_what_the_service_takes_is_taken(autojump_clock):
    known = {
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "thinking": {"type": "disabled"},
        "system": "be short",
    }
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, **known))
        await trio.sleep(60)
        (line,) = await read_lines(client, batch_id)
    assert line["result"]["type"] == "succeeded"


async def test_a_batch_is_seen_in_its_own_workspace_only(autojump_clock):
    engine = new_sandbox()
    async with plain(engine) as client, plain(engine, **{"anthropic-workspace-id": "wrkspc_two"}) as other:
        ours, theirs = await make(client, request(0)), await make(other, request(1))
        answers = [await client.get(BATCHES), await other.get(BATCHES)]
        assert [[batch["id"] for batch in answer.json()["data"]] for answer in answers] == [[ours], [theirs]]
        assert answers[1].headers["anthropic-workspace-id"] == "wrkspc_two"
        await trio.sleep(60)
        for path in ("", "/results", "/cancel"):
            send = other.post if path == "/cancel" else other.get
            answer = await send(f"{BATCHES}/{ours}{path}")
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
        assert (await other.delete(f"{BATCHES}/{ours}")).status_code == 404
        assert (await other.get(f"{BATCHES}?after_id={ours}")).status_code == 400
        assert [line["custom_id"] for line in await read_lines(other, theirs)] == ["item-1"]
        assert (
            await client.get(f"{BATCHES}/{ours}", headers={"anthropic-workspace-id": "wrkspc_01SandboxSandboxSandbox1"})
        ).is_success


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("refused", "requests.2.params.messages: A request asked for this refusal."),
        ("refused_unnamed", "messages: A request asked for this refusal."),
    ],
)
async def test_a_marked_request_makes_its_body_refused(marker, message, autojump_clock):
    async with plain(new_sandbox()) as client:
        body = {"requests": [request(0), request(1), request(2, f"[sandbox:{marker}]"), request(3)]}
        answer = await client.post(BATCHES, json=body)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
        assert (await client.get(BATCHES)).json()["data"] == []
