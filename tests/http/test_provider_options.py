"""What a client's headers may ask of the provider: everything for the first organization, what is opened for others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.http.api import Answer, Api, open_api, requests

from backburner.storage import batches, tables

VERSION = {"anthropic-version": "2023-06-01"}
WORKSPACE = {**VERSION, "anthropic-workspace-id": "wrkspc_two"}
PARAMS = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


async def make_batch(api: Api, **options: Any) -> Answer:
    return await api.post("/v1/batches", json={"requests": requests(1)}, **options)


async def make_lines(api: Api, headers: dict[str, str], **options: Any) -> Answer:
    line = b'{"custom_id":"a","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}}'
    return await api.post(
        "/v1/batches", data=line, headers={**headers, "content-type": "application/x-ndjson"}, **options
    )


async def make_run(api: Api, **options: Any) -> Answer:
    return await api.post("/v1/runs", json={"params": PARAMS}, **options)


async def make_foreign(api: Api, **options: Any) -> Answer:
    return await api.post("/anthropic/v1/messages/batches", json={"requests": requests(1)}, **options)


async def make_letta(api: Api, **options: Any) -> Answer:
    body = {"requests": [{"agent_id": "agent-1", "messages": [{"role": "user", "content": "x"}]}]}
    return await api.post("/letta/v1/messages/batches", json=body, **options)


WAYS: list[Callable[..., Awaitable[Answer]]] = [make_batch, make_lines, make_run, make_foreign, make_letta]


async def stranger(api: Api) -> str:
    """The key of another organization."""
    made = (await api.post("/v1/admin/organizations", json={"name": "other"})).json
    user = await api.post("/v1/admin/users", json={"organization_id": made["id"], "name": "u"})
    key = await api.post("/v1/admin/keys", json={"user_id": user.json["id"], "scopes": ["write"]})
    return str(key.json["secret"])


async def options_of(api: Api) -> dict[str, str]:
    """Those of the newest job."""
    newest = sa.select(sa.func.max(tables.jobs.c.id))
    key = await api.database.read(lambda tx: tx.execute(newest).scalar_one())
    return dict(await api.database.read(batches.provider_options, key))


@pytest.mark.parametrize("make", WAYS)
async def test_the_first_organization_may_ask_for_anything_on_every_way_in(make, autojump_clock):
    async with open_api() as api:
        answer = await make(api, headers={**WORKSPACE, "anthropic-beta": "new"})
        assert answer.status in {200, 202}, answer.body
        assert await options_of(api) == {**WORKSPACE, "anthropic-beta": "new"}


@pytest.mark.parametrize("make", WAYS)
async def test_others_may_ask_for_what_the_setting_opens(make, autojump_clock):
    async with open_api(tenant_provider_headers=frozenset({"anthropic-beta=open"})) as api:
        key = await stranger(api)
        jobs = sa.select(sa.func.count()).select_from(tables.jobs)
        for headers in (WORKSPACE, {**VERSION, "anthropic-beta": "open, new"}):
            answer = await make(api, headers=headers, key=key)
            (name,) = headers.keys() - VERSION.keys()
            assert answer.status == 400
            assert name in answer.body.decode()
            assert "tenant_provider_headers" in answer.body.decode()
        assert await api.database.read(lambda tx: tx.execute(jobs).scalar_one()) == 0
        headers = {**VERSION, "anthropic-beta": "message-batches-2024-09-24,open"}
        answer = await make(api, headers=headers, key=key)
        assert answer.status in {200, 202}, answer.body
        assert await options_of(api) == headers


async def test_what_would_have_no_effect_is_refused(autojump_clock):
    async with open_api() as api:
        answer = await api.post("/v1/jobs", json={}, headers=WORKSPACE)
        assert answer.code == (400, "provider_header_forbidden")
        assert (await api.post("/v1/jobs", json={}, headers=VERSION)).status == 202
