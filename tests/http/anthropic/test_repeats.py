"""A client that repeats `create` by itself does not make a second batch."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
import trio
from tests.http.anthropic.client import HEADERS, ask
from tests.http.api import requests

from backburner.http.anthropic.ids import job_id_of
from backburner.storage import repeats, staging, tables
from backburner.storage.audit import Already
from backburner.storage.repeats import Attempt


async def create(api, attempt: int = 0, *, count: int = 2, key: str = "write") -> str:
    headers = HEADERS | {"x-stainless-retry-count": str(attempt)}
    answer = await ask(api, "POST", json={"requests": requests(count)}, headers=headers, key=key)
    assert answer.status == 200
    return str(answer.json["id"])


async def jobs_of(api) -> int:
    query = sa.select(sa.func.count()).select_from(tables.jobs)
    return int(await api.database.read(lambda tx: tx.execute(query).scalar_one()))


async def test_a_repetition_gets_the_batch_already_made(autojump_clock, api_on_each):
    api = api_on_each
    first = await create(api)
    await trio.sleep(600)
    assert [await create(api, 1), await create(api, 2)] == [first, first]
    assert (await jobs_of(api), await api.staged()) == (1, 0)
    logged = sa.select(tables.audit_log.c.action)
    assert list(await api.database.read(lambda tx: tx.execute(logged).scalars().all())) == ["batch.create"]


async def test_two_calls_of_the_same_make_two_batches(autojump_clock, api):
    assert await create(api) != await create(api)


async def test_a_repetition_gets_the_last_of_them(autojump_clock, api):
    _, last = await create(api), await create(api)
    assert await create(api, 1) == last


@pytest.mark.parametrize(("count", "key", "wait"), [(3, "write", 0), (2, "admin", 0), (2, "write", 901)])
async def test_another_body_another_key_or_a_later_day_is_no_repetition(autojump_clock, api, count, key, wait):
    first = await create(api)
    await trio.sleep(wait)
    assert await create(api, 1, count=count, key=key) != first


async def test_a_repetition_of_what_came_to_nothing_makes_the_batch(autojump_clock, api):
    first = await create(api, 1)
    assert (await api.record(job_id_of(first))).counts.total == 2


async def test_a_first_attempt_that_was_overtaken_makes_no_second_batch(autojump_clock, api):
    began = api.services.clock.now()
    await trio.sleep(1)
    made = await create(api, 1)
    job = await api.record(job_id_of(made))
    row = await api.database.read(lambda tx: tx.execute(sa.select(tables.idempotency_keys)).one())
    now = api.services.clock.now()
    late = await api.database.write(staging.draw_key, now=now)
    attempt = Attempt(caller=row.caller, body_hash=row.body_hash, number=0, began=began)
    found = await api.database.write(repeats.make_job_once, attempt, late, None, [], now=now)
    assert found == Already(job)
    assert await api.staged() == 0


async def test_a_deleted_batch_is_made_again(autojump_clock, api):
    first = await create(api)
    await ask(api, "POST", f"/{first}/cancel")
    await ask(api, "DELETE", f"/{first}")
    assert await create(api, 1) != first
