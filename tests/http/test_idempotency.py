"""`Idempotency-Key` on every POST."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import msgspec
import pytest
import sqlalchemy as sa
import trio
from tests.http.api import lines, request, requests

from backburner.errors import Conflict, StorageUnavailable
from backburner.http import idempotency as edge
from backburner.states import ItemStatus
from backburner.storage import idempotency, staging, tables
from backburner.storage.idempotency import Answer, Busy, Claim, Use

NDJSON = "application/x-ndjson"
KEY = {"Idempotency-Key": "k-1"}
USE = Use(caller="key-1", route="POST /v1/batches", key="k")


async def count(api, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(await api.database.read(lambda tx: tx.execute(query).scalar_one()))


async def create(api, *, path: str = "/v1/batches", key: str = "admin", headers=KEY, many: int = 2):
    return await api.post(path, json={"requests": requests(many)}, key=key, headers=headers)


async def test_a_repeated_post_gets_the_stored_answer_and_makes_nothing(autojump_clock, api_on_each):
    api = api_on_each
    first = await create(api)
    await trio.sleep(60)
    again = await create(api)
    assert (first.status, again.status) == (202, 202)
    assert again.body == first.body
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["request-id"] != first.headers["request-id"]
    assert await count(api, tables.jobs) == 1


async def test_another_body_is_refused(autojump_clock, api):
    await create(api)
    answer = await create(api, many=3)
    assert answer.code == (422, "idempotency_key_reused")
    assert answer.error["param"] == "Idempotency-Key"
    assert await count(api, tables.jobs) == 1


async def test_the_query_string_counts_as_body(autojump_clock, api):
    send = partial(api.post, data=lines(*requests(2)), kind=NDJSON, headers=KEY)
    await send("/v1/batches?priority=1")
    assert (await send("/v1/batches?priority=2")).code == (422, "idempotency_key_reused")
    assert (await send("/v1/batches?priority=1")).status == 202


async def test_both_bases_are_one_route(autojump_clock, api):
    first = await create(api)
    assert (await create(api, path="/api/batches")).json["id"] == first.json["id"]


async def test_keys_are_apart_by_caller(autojump_clock, api):
    answers = [await create(api, key=key) for key in ("admin", "write", "other")]
    assert len({answer.json["id"] for answer in answers}) == 3


async def test_keys_are_apart_by_the_object_of_the_route(autojump_clock, api):
    jobs = [(await api.batch())["id"] for _ in range(2)]
    answers = [await api.post(f"/v1/jobs/{job_id}/cancel", headers=KEY) for job_id in jobs]
    assert [answer.json["id"] for answer in answers] == jobs


async def test_fifty_at_once_make_one_job(autojump_clock, api_on_each):
    api, answers = api_on_each, []

    async def send() -> None:
        answers.append(await create(api))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(send)
    assert await count(api, tables.jobs) == 1
    assert {answer.status for answer in answers} <= {202, 409}
    assert len({answer.json["id"] for answer in answers if answer.status == 202}) == 1


async def test_while_the_first_is_under_way_others_are_told_to_wait(autojump_clock, api):
    await api.database.write(idempotency.claim, await use_of(api), now=api.services.clock.now())
    answer = await create(api)
    assert answer.code == (409, "idempotency_key_in_use")
    assert int(answer.headers["Retry-After"]) >= 1


async def use_of(api) -> Use:
    """The use that `create` makes."""
    await create(api)
    row = await api.database.read(lambda tx: tx.execute(sa.select(tables.idempotency_keys)).one())
    await api.database.write(lambda tx: tx.execute(sa.delete(tables.idempotency_keys)))
    return Use(caller=row.caller, route=row.route, key=row.key)


async def test_a_claim_whose_process_died_is_taken_over(autojump_clock, api):
    await api.database.write(idempotency.claim, await use_of(api), now=api.services.clock.now())
    await trio.sleep(idempotency.HELD.total_seconds())
    assert (await create(api)).status == 202


async def held_by(api, use: Use) -> edge.Held:
    """What a request of this use holds while it is under way."""
    claim = await api.database.write(idempotency.claim, use, now=api.services.clock.now())
    return edge.Held(claim, None, 1000)  # its request is not looked at


async def test_a_long_upload_keeps_its_claim(autojump_clock, api):
    async def act(_held):
        await trio.sleep(300)
        found = await api.database.write(idempotency.claim, USE, now=api.services.clock.now())
        raise StorageUnavailable(repr(found))

    with pytest.raises(StorageUnavailable, match="Busy"):
        await edge._held(api.services, await held_by(api, USE), act)


async def drawn(api, claim: Claim) -> None:
    """Something that is made under a claim."""
    await api.database.write(
        idempotency.recorded,
        idempotency.Record(claim, "h"),
        lambda _: Answer(status=200, body=b"{}"),
        partial(staging.draw_key, now=api.services.clock.now()),
    )


async def test_who_lost_his_claim_makes_nothing(autojump_clock, api):
    now = api.services.clock.now()
    lost = await api.database.write(idempotency.claim, USE, now=now)
    taken = await api.database.write(idempotency.claim, USE, now=now + idempotency.HELD)
    assert isinstance(taken, Claim)
    assert taken != lost
    with pytest.raises(Conflict):
        await drawn(api, lost)
    await drawn(api, taken)
    assert await count(api, tables.loose_keys) == 1


async def test_an_answer_and_what_it_made_are_stored_together_or_not_at_all(autojump_clock, api):
    claim = await api.database.write(idempotency.claim, USE, now=api.services.clock.now())

    def crash(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await api.database.write(
            idempotency.recorded,
            idempotency.Record(claim, "h"),
            crash,
            lambda tx: staging.draw_key(tx, now=api.services.clock.now()),
        )
    assert await count(api, tables.loose_keys) == 0
    assert await api.database.write(idempotency.claim, USE, now=api.services.clock.now()) == Busy()


async def test_an_error_is_not_stored(autojump_clock, api):
    bad = await api.post("/v1/batches", json={"requests": []}, headers=KEY)
    assert bad.status == 422
    assert await count(api, tables.idempotency_keys) == 0
    assert (await create(api)).status == 202


async def test_a_repeated_key_creation_omits_the_secret(autojump_clock, api):
    user = (await api.get("/v1/admin/users")).json["data"][0]["id"]
    send = partial(api.post, "/v1/admin/keys", json={"user_id": user, "scopes": ["read"]}, headers=KEY)
    first, again = await send(), await send()
    assert (first.status, again.status) == (201, 201)
    assert again.json == {name: value for name, value in first.json.items() if name != "secret"}
    assert again.headers["Cache-Control"] == "no-store"
    stored = await api.database.read(lambda tx: tx.execute(sa.select(tables.idempotency_keys.c.response)).scalar_one())
    assert first.json["secret"] not in stored


async def test_a_repeated_rotation_rotates_once_and_tells_no_secret(autojump_clock, api):
    first, again = [await api.post("/v1/webhook-secret/rotate", headers=KEY) for _ in range(2)]
    assert again.json == {}
    assert (await api.get("/v1/webhook-secret")).json == first.json


async def test_a_retry_is_made_once(autojump_clock, api):
    job = await api.ended([ItemStatus.ERRORED, ItemStatus.SUCCEEDED])
    send = partial(api.post, f"/v1/batches/{job['id']}/retry", headers=KEY)
    first, again = await send(), await send()
    assert (first.json, again.status) == (again.json, 202)
    assert await count(api, tables.jobs) == 2


@pytest.mark.parametrize("path", ["/v1/batches?dry_run=true", "/v1/admin/scheduler/poll", "/v1/admin/scheduler/pause"])
async def test_answers_of_requests_that_make_nothing_are_stored_too(autojump_clock, api, path):
    send = partial(api.post, path, json={"requests": requests(1)} if "batches" in path else None, headers=KEY)
    first, again = await send(), await send()
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(("key", "status"), [("k" * 255, 202), ("k" * 256, 422), ("", 422)])
async def test_keys_have_1_to_255_characters(autojump_clock, api, key, status):
    assert (await create(api, headers={"Idempotency-Key": key})).status == status


async def test_an_answer_is_kept_for_72_hours(autojump_clock, api):
    first = await create(api)
    await trio.sleep(timedelta(hours=72).total_seconds() - 1)
    assert (await create(api)).json["id"] == first.json["id"]
    await trio.sleep(1)
    assert (await create(api)).json["id"] != first.json["id"]


async def test_old_answers_are_swept(autojump_clock, api):
    await create(api)
    now = api.services.clock.now()
    assert await api.database.write(idempotency.sweep, now=now + timedelta(hours=71), most=10) == 0
    assert await api.database.write(idempotency.sweep, now=now + timedelta(hours=72), most=10) == 1


async def test_another_organization_learns_nothing_from_a_replay(autojump_clock, api):
    mine = await create(api)
    theirs = await create(api, key="other")
    assert theirs.status == 202
    assert mine.json["id"] not in theirs.body.decode()


async def test_a_streamed_body_is_hashed_whole(autojump_clock, api):
    rows = [request(number, system="x" * 10_000) for number in range(100)]
    send = partial(api.post, "/v1/batches", kind=NDJSON, headers=KEY)
    first = await send(data=lines(*rows))
    assert (await send(data=lines(*rows))).json == first.json
    rows[-1]["params"]["system"] = "y" * 10_000
    assert (await send(data=lines(*rows))).code == (422, "idempotency_key_reused")


async def test_a_get_ignores_the_header(autojump_clock, api):
    job = await api.batch()
    answers = [await api.get(f"/v1/jobs/{job['id']}", headers=KEY) for _ in range(2)]
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, False]
    assert msgspec.json.decode(answers[0].body)["id"] == job["id"]


async def test_a_request_that_is_cancelled_gives_its_key_back(autojump_clock, api):
    async def act(_held):
        await trio.sleep_forever()

    held = await held_by(api, USE)
    with trio.move_on_after(5):
        await edge._held(api.services, held, act)
    assert isinstance(await api.database.write(idempotency.claim, USE, now=api.services.clock.now()), Claim)
