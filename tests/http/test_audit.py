"""The audit log: each change leaves exactly one row, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import trio
from tests.http.api import Answer, Api, open_api, request, requests
from tests.http.test_absent_providers import left_behind

from backburner.api_keys import PREFIX
from backburner.http.anthropic.ids import batch_id_of, job_id_of
from backburner.states import ItemStatus
from backburner.storage import audit, batches, submissions, tables

FAILED = [ItemStatus.ERRORED]
VERSION = {"anthropic-version": "2023-06-01"}
UNKNOWN = "00000000-0000-7000-8000-000000000000"


async def rows(api: Api) -> list[Any]:
    query = sa.select(tables.audit_log).order_by(tables.audit_log.c.id)
    return await api.database.read(lambda tx: list(tx.execute(query)))


async def user_of(api: Api) -> Any:
    return (await api.get("/v1/admin/users")).json["data"][0]["id"]


async def made_key(api: Api) -> Any:
    return (await api.post("/v1/admin/keys", json={"user_id": await user_of(api), "scopes": ["read"]})).json


async def unresolved(api: Api) -> str:
    job = await api.batch(1)
    (batch,) = await api.database.read(batches.batches_of_job, (await api.record(job["id"])).key)
    now = api.services.clock.now()
    await api.database.write(batches.begin_attempt, batch.key, epoch=1, now=now)
    await api.database.write(submissions.set_unknown, batch.key, look_at=now, error={})
    return batch.id


async def delivered(api: Api) -> tuple[str, str]:
    job = await api.ended(FAILED, callback_url="https://example.com/hook")
    found = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json["data"]
    return job["id"], found[0]["id"]


async def plain(api: Api) -> Any:
    return (await api.post("/v1/jobs", json={})).json["id"]


async def foreign(api: Api, outcomes: Any = None) -> str:
    job = await (api.batch(1) if outcomes is None else api.ended(outcomes))
    return batch_id_of(job["id"])


def call(method: str, path: str, body: Any = None) -> Callable[[Api, Any], Awaitable[Answer]]:
    async def act(api: Api, ids: Any) -> Answer:
        filled = path.format(*([ids] if isinstance(ids, str) else ids or []))
        return await api.call(method, filled, json=body, headers=VERSION)

    return act


async def nothing(api: Api) -> None:
    """Nothing has to be there before."""


async def a_user(api: Api) -> Any:
    return await user_of(api)


async def make_key(api: Api, user: str) -> Answer:
    return await api.post("/v1/admin/keys", json={"user_id": user, "scopes": ["read"]})


async def make_user(api: Api, _: None) -> Answer:
    return await api.post("/v1/admin/users", json={"organization_id": "org-2", "name": "x"})


async def a_key_id(api: Api) -> Any:
    return (await made_key(api))["id"]


async def a_batch(api: Api) -> Any:
    return (await api.batch(1))["id"]


async def an_ended_batch(api: Api) -> Any:
    return (await api.ended(FAILED))["id"]


async def an_ended_foreign_batch(api: Api) -> str:
    return await foreign(api, FAILED)


async def a_run(api: Api) -> Any:
    return (await an_ended_batch(api)).replace("job-", "run-") + "-0"


async def a_step(api: Api) -> Any:
    return (await an_ended_batch(api)).replace("job-", "step-") + "-0-1"


async def a_file(api: Api) -> Any:
    return (await api.post("/v1/files", json={"name": "x"})).json["id"]


async def an_uploaded_file(api: Api) -> Any:
    file = await a_file(api)
    await put_part(api, file)
    return file


async def put_part(api: Api, ids: Any) -> Answer:
    file = ids if isinstance(ids, str) else ids[0]
    return await api.call("PUT", f"/v1/files/{file}/parts/1", data=b"x", kind="application/octet-stream")


LETTA = {"agent_id": f"agent-{UNKNOWN}", "messages": [{"role": "user", "content": "Hi"}]}


async def a_provider(api):
    await left_behind(api)
    return "gone"


#: Routes that look as if they changed something and only read.
READING = {"POST /letta/v1/runs/<run_id>/stream"}
#: Every route that changes something: what has to be there, the request, the action, whether it names its object.
CHANGES: dict[str, tuple[Any, Any, str]] = {
    "POST /v1/batches": (nothing, call("POST", "/v1/batches", {"requests": requests(2)}), "batch.create"),
    "POST /v1/batches/<job_id>/retry": (an_ended_batch, call("POST", "/v1/batches/{}/retry"), "batch.retry"),
    "POST /v1/batches/<job_id>/cancel": (a_batch, call("POST", "/v1/batches/{}/cancel"), "job.cancel"),
    "POST /v1/runs": (nothing, call("POST", "/v1/runs", {"params": request(1)["params"]}), "run.create"),
    "POST /v1/runs/<run_id>/fork": (a_run, call("POST", "/v1/runs/{}/fork"), "run.fork"),
    "POST /v1/jobs": (nothing, call("POST", "/v1/jobs", {"metadata": {"a": 1}}), "job.create"),
    "PATCH /v1/jobs/<job_id>": (plain, call("PATCH", "/v1/jobs/{}", {"metadata": {"a": 1}}), "job.update"),
    "DELETE /v1/jobs/<job_id>": (an_ended_batch, call("DELETE", "/v1/jobs/{}"), "job.delete"),
    "PATCH /v1/jobs/<job_id>/cancel": (a_batch, call("PATCH", "/v1/jobs/{}/cancel"), "job.cancel"),
    "POST /v1/jobs/<job_id>/cancel": (a_batch, call("POST", "/v1/jobs/{}/cancel"), "job.cancel"),
    "POST /v1/jobs/<job_id>/deliveries/<delivery_id>/redeliver": (
        delivered, call("POST", "/v1/jobs/{}/deliveries/{}/redeliver"), "delivery.redeliver",
    ),
    "POST /v1/files": (nothing, call("POST", "/v1/files", {"name": "x"}), "file.create"),
    "PUT /v1/files/<file_id>/parts/<number>": (a_file, put_part, "file.put_part"),
    "POST /v1/files/<file_id>/complete": (an_uploaded_file, call("POST", "/v1/files/{}/complete"), "file.complete"),
    "DELETE /v1/files/<file_id>": (a_file, call("DELETE", "/v1/files/{}"), "file.delete"),
    "POST /v1/admin/organizations": (
        nothing, call("POST", "/v1/admin/organizations", {"name": "x"}), "organization.create",
    ),
    "POST /v1/admin/users": (nothing, make_user, "user.create"),
    "POST /v1/admin/keys": (a_user, make_key, "key.create"),
    "DELETE /v1/admin/keys/<key_id>": (a_key_id, call("DELETE", "/v1/admin/keys/{}"), "key.revoke"),
    "POST /v1/admin/scheduler/poll": (nothing, call("POST", "/v1/admin/scheduler/poll"), "scheduler.poll"),
    "POST /v1/admin/scheduler/pause": (nothing, call("POST", "/v1/admin/scheduler/pause"), "scheduler.pause"),
    "POST /v1/admin/scheduler/resume": (nothing, call("POST", "/v1/admin/scheduler/resume"), "scheduler.resume"),
    "POST /v1/admin/scheduler/step-down": (
        nothing, call("POST", "/v1/admin/scheduler/step-down"), "scheduler.step_down",
    ),
    "POST /v1/admin/batches/<batch_id>/abandon": (
        unresolved, call("POST", "/v1/admin/batches/{}/abandon"), "provider_batch.abandon",
    ),
    "POST /v1/admin/batches/<batch_id>/adopt": (
        unresolved, call("POST", "/v1/admin/batches/{}/adopt", {"provider_batch_id": "m"}), "provider_batch.adopt",
    ),
    "POST /v1/admin/batches/<batch_id>/poll": (
        unresolved, call("POST", "/v1/admin/batches/{}/poll"), "provider_batch.poll",
    ),
    "POST /v1/admin/providers/<provider>/move-batches": (
        a_provider, call("POST", "/v1/admin/providers/{}/move-batches", {"to": "sandbox"}), "provider.move_batches",
    ),
    "POST /v1/admin/providers/<provider>/end-batches": (
        a_provider, call("POST", "/v1/admin/providers/{}/end-batches"), "provider.end_batches",
    ),
    "GET /v1/webhook-secret": (nothing, call("GET", "/v1/webhook-secret"), "webhook_secret.view"),
    "POST /v1/webhook-secret/rotate": (nothing, call("POST", "/v1/webhook-secret/rotate"), "webhook_secret.rotate"),
    "POST /anthropic/v1/messages/batches": (
        nothing, call("POST", "/anthropic/v1/messages/batches", {"requests": [request(1)]}), "batch.create",
    ),
    "POST /anthropic/v1/messages/batches/<batch_id>/cancel": (
        foreign, call("POST", "/anthropic/v1/messages/batches/{}/cancel"), "job.cancel",
    ),
    "DELETE /anthropic/v1/messages/batches/<batch_id>": (
        an_ended_foreign_batch, call("DELETE", "/anthropic/v1/messages/batches/{}"), "job.delete",
    ),
    "POST /letta/v1/messages/batches": (
        nothing, call("POST", "/letta/v1/messages/batches", {"requests": [LETTA]}), "batch.create",
    ),
    "PATCH /letta/v1/messages/batches/<job_id>/cancel": (
        a_batch, call("PATCH", "/letta/v1/messages/batches/{}/cancel"), "job.cancel",
    ),
    "PATCH /letta/v1/jobs/<job_id>/cancel": (a_batch, call("PATCH", "/letta/v1/jobs/{}/cancel"), "job.cancel"),
    "DELETE /letta/v1/jobs/<job_id>": (an_ended_batch, call("DELETE", "/letta/v1/jobs/{}"), "job.delete"),
    "PATCH /letta/v1/steps/<step_id>/feedback": (
        a_step, call("PATCH", "/letta/v1/steps/{}/feedback", {"feedback": "positive"}), "step.feedback",
    ),
    "DELETE /letta/v1/runs/<run_id>": (a_run, call("DELETE", "/letta/v1/runs/{}"), "job.delete"),
}  # fmt: skip


async def test_every_route_that_changes_something_is_in_the_table(api):
    served = {
        f"{method} {rule.rule}"
        for rule in api.client.app.url_map.iter_rules()
        for method in rule.methods - {"GET", "HEAD", "OPTIONS"}
        if not rule.rule.startswith("/api/")
    }
    assert served - set(CHANGES) == READING


@pytest.mark.parametrize("route", CHANGES)
async def test_a_change_leaves_one_row(api, route):
    prepare, change, action = CHANGES[route]
    ids = await prepare(api)
    before = await rows(api)
    answer = await change(api, ids)
    assert answer.status < 300, answer.body
    added = (await rows(api))[len(before) :]
    assert [row.action for row in added] == [action]
    (row,) = added
    assert (row.object_type, row.organization_id) == (action.partition(".")[0], 1)
    assert row.request_id == answer.headers["request-id"]
    assert (row.key_id[:4], row.user_id[:5]) == ("key-", "user-")
    if "<" in route:
        last = ids if isinstance(ids, str) else ids[-1]
        assert row.object_id in (last, job_id_of(last), last.replace("run-", "job-").removesuffix("-0"))
    elif action.endswith(".create"):
        made = row.object_id
        assert answer.json["id"] == (batch_id_of(made) if route.startswith("POST /anthropic") else made)


@pytest.mark.parametrize("route", [route for route in CHANGES if "<" in route])
async def test_a_change_of_nothing_leaves_none(api, route):
    _, change, _ = CHANGES[route]
    kinds = ("run", "") if "run_id" in route else ("file", "") if "file_id" in route else ("job", "delivery")
    answer = await change(api, [f"{kind}-{UNKNOWN}" for kind in kinds])
    assert answer.status == 404
    assert await rows(api) == []


@pytest.mark.parametrize("route", CHANGES)
async def test_a_change_that_is_not_allowed_leaves_one_that_says_so(api, route):
    method, _, path = route.partition(" ")
    for key in (None, "bb_x", "read"):
        assert (await api.call(method, path, key=key, json={})).status == (403 if key == "read" else 401)
    (row,) = await rows(api)
    assert row.action == "access.deny"


async def test_a_change_that_fails_in_the_database_leaves_none(api):
    job = await api.ended([ItemStatus.SUCCEEDED])
    before = await rows(api)
    assert (await api.post(f"/v1/jobs/{job['id']}/cancel")).code == (409, "job_terminal")
    assert await rows(api) == before


async def test_a_dry_run_and_a_replay_leave_none(api):
    await api.post("/v1/batches?dry_run=true", json={"requests": requests(1)})
    assert await rows(api) == []
    for _ in range(2):
        await api.post("/v1/batches", json={"requests": requests(1)}, headers={"Idempotency-Key": "a"})
    assert [row.action for row in await rows(api)] == ["batch.create"]


async def test_the_log_is_listed_with_who_what_and_when(autojump_clock, api):
    key = await made_key(api)
    await trio.sleep(1)
    job = await api.batch(1)
    await trio.sleep(1)
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    listed = (await api.get("/v1/admin/audit?limit=2")).json
    assert ([row["action"] for row in listed["data"]], listed["has_more"]) == (["job.cancel", "batch.create"], True)
    cancel = listed["data"][0]
    assert (cancel["object_type"], cancel["object_id"], cancel["at"]) == (
        "job", job["id"], "2026-01-01T00:00:02.000000Z",
    )  # fmt: skip
    assert (cancel["user_id"], cancel["organization_id"]) == (job["user_id"], job["organization_id"])
    rest = (await api.get(f"/v1/admin/audit?after={listed['last_id']}")).json
    assert [row["action"] for row in rest["data"]] == ["key.create"]
    assert rest["data"][0]["detail"] == {
        "user_id": key["user_id"], "organization_id": key["organization_id"], "scopes": ["read"],
    }  # fmt: skip
    for query, expected in (
        ("action=job.cancel", ["job.cancel"]),
        (f"object_id={job['id']}", ["job.cancel", "batch.create"]),
        (f"key_id={cancel['key_id']}&order=asc", ["key.create", "batch.create", "job.cancel"]),
        ("created_after=2026-01-01T00:00:01Z", ["job.cancel"]),
        ("user_id=user-x", []),
    ):
        found = (await api.get(f"/v1/admin/audit?{query}")).json["data"]
        assert [row["action"] for row in found] == expected


async def test_an_organization_sees_its_own_log_and_the_operator_all(api):
    await api.post("/v1/webhook-secret/rotate", key="other")
    await api.batch(1)
    theirs = (await api.get("/v1/admin/audit", key="other")).json["data"]
    assert [(row["action"], row["organization_id"]) for row in theirs] == [("webhook_secret.rotate", "org-2")]
    everything = (await api.get("/v1/admin/audit")).json["data"]
    assert {row["action"] for row in everything} == {"webhook_secret.rotate", "batch.create"}


async def test_the_log_holds_no_secret(api):
    secrets = [(await made_key(api))["secret"]]
    secrets.append((await api.post("/v1/webhook-secret/rotate")).json["secret"])
    secrets.append((await api.get("/v1/webhook-secret")).json["secret"])
    text = repr(await rows(api)) + (await api.get("/v1/admin/audit")).body.decode()
    assert [secret for secret in secrets if secret in text] == []
    assert f"{PREFIX}" not in text
    assert "whsec_" not in text


async def test_old_rows_are_swept(autojump_clock, api):
    for _ in range(3):
        await api.batch(1)
        await trio.sleep(10)
    before = api.services.clock.now() - timedelta(seconds=20)
    assert [await api.database.write(audit.sweep, before=before, most=1) for _ in range(3)] == [1, 0, 0]
    assert [row.at >= before for row in await rows(api)] == [True, True]


@pytest.mark.postgresql
async def test_the_log_is_written_on_postgresql_too(postgres_database):
    async with open_api(postgres_database) as api:
        await api.batch(1)
        (row,) = (await api.get("/v1/admin/audit?action=batch.create")).json["data"]
        assert row["object_type"] == "batch"
