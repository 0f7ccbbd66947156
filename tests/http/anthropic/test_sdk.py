"""Anthropic's Python client against the whole application."""

from __future__ import annotations

import anthropic
import pytest
import trio
from tests.http.anthropic.client import open_client
from tests.http.api import requests

from backburner.http.anthropic.ids import job_id_of
from backburner.states import ItemStatus


async def test_a_batch_from_its_creation_to_its_results(autojump_clock, api, sdk):
    made = await sdk.messages.batches.create(requests=requests(2))
    assert (made.processing_status, made.request_counts.processing, made.results_url) == ("in_progress", 2, None)
    job_id = job_id_of(made.id)
    assert (await api.get(f"/v1/batches/{job_id}")).json["status"] == "pending"
    await api.submitted(job_id)
    await api.results(job_id, [ItemStatus.SUCCEEDED, ItemStatus.ERRORED])
    ended = await sdk.messages.batches.retrieve(made.id)
    assert (ended.processing_status, ended.archived_at) == ("ended", None)
    assert (ended.request_counts.succeeded, ended.request_counts.errored) == (1, 1)
    lines = [line async for line in await sdk.messages.batches.results(made.id)]
    assert [(line.custom_id, line.result.type) for line in lines] == [("c-0", "succeeded"), ("c-1", "errored")]
    assert lines[1].result.error.error.type == "invalid_request_error"
    deleted = await sdk.messages.batches.delete(made.id)
    assert (deleted.id, deleted.type) == (made.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.batches.retrieve(made.id)


async def test_the_beta_namespace_does_the_same(autojump_clock, api, sdk):
    made = await sdk.beta.messages.batches.create(requests=requests(1), betas=["one-2026", "two-2026"])
    assert (await sdk.beta.messages.batches.retrieve(made.id)).id == made.id
    assert (await sdk.beta.messages.batches.cancel(made.id)).processing_status == "ended"


async def test_the_list_is_paged_through(autojump_clock, api, sdk):
    made = []
    for _ in range(5):
        made.append((await sdk.messages.batches.create(requests=requests(1))).id)  # a pause follows
        await trio.sleep(1)
    assert [batch.id async for batch in sdk.messages.batches.list(limit=2)] == made[::-1]
    newer = await sdk.messages.batches.list(limit=2, before_id=made[0])
    assert ([batch.id for batch in newer.data], newer.has_more) == ([made[2], made[1]], True)


async def test_errors_have_their_classes(autojump_clock, api, sdk):
    with pytest.raises(anthropic.BadRequestError) as bad:
        await sdk.messages.batches.create(requests=[])
    assert (bad.value.type, bad.value.error_code) == ("invalid_request_error", None)
    assert bad.value.request_id == bad.value.response.json()["request_id"]
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.batches.results("msgbatch_01" + "0" * 22)
    async with open_client(api, api_key="bb_wrong") as other:
        with pytest.raises(anthropic.AuthenticationError):
            await other.messages.batches.list()
    async with open_client(api, api_key=api.keys["read"]) as reader:
        with pytest.raises(anthropic.PermissionDeniedError):
            await reader.messages.batches.create(requests=[])
