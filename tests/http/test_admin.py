"""Scheduler, keys, signing secrets, unresolved batches, health and metrics."""

from __future__ import annotations

import attrs
import pytest
import sqlalchemy as sa
import trio
from tests.http.api import instance_status, open_api

from backburner.errors import StorageUnavailable
from backburner.figures import HandlerFigures, JobFigures
from backburner.http.app import create_app
from backburner.http.services import InstanceStatus
from backburner.storage import batches, facts, submissions, tables
from backburner.storage.facts import ProviderState, is_polling, provider_states, set_provider

OTHERS_USER = "user-00000000-0000-7000-8000-000000000002"


async def own_user(api):
    found = (await api.get("/v1/admin/users")).json["data"]
    return next(user["id"] for user in found if user["name"] == "admin")


# --- scheduler ---------------------------------------------------------------------------------------------


async def test_the_status_says_who_leads_and_what_is_open(autojump_clock, api):
    job = await api.batch()
    await api.submitted(job["id"])
    await api.database.write(facts.set_fact, facts.LAST_CYCLE, {"errors": 0}, now=api.services.clock.now())
    status = (await api.get("/v1/admin/scheduler/status")).json
    assert {name: status[name] for name in ("is_leader", "leader", "polling_enabled", "last_cycle")} == {
        "is_leader": True,
        "leader": {"instance_id": "here", "epoch": 1, "acquired_at": "2026-01-01T00:00:00.000000Z"},
        "polling_enabled": True,
        "last_cycle": {"errors": 0},
    }
    assert {name: status[name] for name in ("next_tick_at", "open_provider_batches", "oldest_next_poll_at")} == {
        "next_tick_at": None, "open_provider_batches": 1, "oldest_next_poll_at": "2026-01-01T00:00:00.000000Z",
    }  # fmt: skip
    assert {name: status[name] for name in ("background_tasks", "writer_queue", "deliveries_pending")} == {
        "background_tasks": 2, "writer_queue": 4, "deliveries_pending": 0,
    }  # fmt: skip
    assert status["providers"] == [
        {"name": name, "state": "active", "reason": None, "retry_at": None} for name in ("anthropic", "sandbox")
    ]


async def test_polling_is_paused_and_resumed(api_on_each):
    api = api_on_each
    assert (await api.post("/v1/admin/scheduler/pause")).json["polling_enabled"] is False
    assert await api.database.read(is_polling) is False
    assert api.rung == []
    assert (await api.post("/v1/admin/scheduler/resume")).json["polling_enabled"] is True
    assert (await api.database.read(is_polling), sorted(api.rung)) == (True, ["poll", "work"])


async def test_resuming_tries_a_paused_provider_again(api):
    for name, state in (("anthropic", "paused"), ("sandbox", "waiting")):
        new = ProviderState(name=name, state=state, reason="because", retry_at=None)
        await api.database.write(set_provider, new, now=api.services.clock.now())
    await api.post("/v1/admin/scheduler/resume")
    found = await api.database.read(provider_states)
    assert [(provider.state, provider.reason) for provider in found] == [("active", None), ("waiting", "because")]


async def test_a_poll_can_be_asked_for(api):
    assert (await api.post("/v1/admin/scheduler/poll")).status == 200
    assert api.rung == ["poll"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/admin/scheduler/status"), ("POST", "/v1/admin/scheduler/poll"),
        ("POST", "/v1/admin/scheduler/pause"), ("POST", "/v1/admin/scheduler/resume"),
        ("GET", "/v1/admin/batches/unresolved"), ("POST", f"/v1/admin/batches/batch-{'0' * 8}/abandon"),
        ("POST", "/v1/admin/providers/gone/move-batches"), ("POST", "/v1/admin/providers/gone/end-batches"),
        ("GET", "/metrics"),
    ],
)  # fmt: skip
async def test_what_concerns_everybody_is_the_operators(api, method, path):
    assert (await api.call(method, path, key="other")).code == (403, "forbidden")
    assert await api.database.read(is_polling) is True


# --- unresolved batches ------------------------------------------------------------------------------------


async def test_an_unresolved_batch_is_shown_and_given_up(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.batch(2)
    now = api.services.clock.now()
    (batch,) = await api.database.read(batches.batches_of_job, (await api.record(job["id"])).key)
    assert (await api.get("/v1/admin/batches/unresolved")).json["data"] == []
    assert (await api.post(f"/v1/admin/batches/{batch.id}/abandon")).code == (409, "batch_not_unresolved")
    await api.database.write(batches.begin_attempt, batch.key, epoch=1, now=now)
    await api.database.write(submissions.set_unknown, batch.key, look_at=now, error={"code": "timeout"})
    (shown,) = (await api.get("/v1/admin/batches/unresolved")).json["data"]
    assert (shown["id"], shown["job_id"], shown["status"], shown["error"]) == (
        batch.id, job["id"], "unknown", {"code": "timeout"},
    )  # fmt: skip
    answer = await api.post(f"/v1/admin/batches/{batch.id}/abandon")
    assert (answer.status, answer.json["status"], answer.json["ended_job_id"]) == (200, "closed", job["id"])
    ended = (await api.get(f"/v1/jobs/{job['id']}")).json
    assert (ended["status"], ended["request_counts"]["errored"]) == ("failed", 2)


async def test_an_unknown_batch_cannot_be_given_up(api):
    for batch_id in ("batch-00000000-0000-7000-8000-000000000000", "x"):
        assert (await api.post(f"/v1/admin/batches/{batch_id}/abandon")).code == (404, "not_found")


async def lost_submission(api, items=2):
    """A job, and the provider batch of it whose submission got lost."""
    job = await api.batch(items)
    (batch,) = await api.database.read(batches.batches_of_job, (await api.record(job["id"])).key)
    now = api.services.clock.now()
    await api.database.write(batches.begin_attempt, batch.key, epoch=1, now=now)
    await api.database.write(submissions.set_unknown, batch.key, look_at=now, error={"code": "timeout"})
    return job, batch


async def test_an_unresolved_batch_is_told_which_one_it_is(autojump_clock, api_on_each):
    api = api_on_each
    _, batch = await lost_submission(api)
    path = f"/v1/admin/batches/{batch.id}"
    asked = {"provider_batch_id": "msgbatch_1"}
    for _ in range(2):  # a repetition changes nothing
        adopted = await api.post(f"{path}/adopt", json=asked)
        assert (adopted.status, adopted.json["status"], adopted.json["provider_batch_id"]) == (
            200, "submitted", "msgbatch_1",
        )  # fmt: skip
    assert "work" in api.rung
    assert (await api.get(path)).json == adopted.json
    (record,) = await api.database.read(batches.due_batches, batch.provider, now=api.services.clock.now(), limit=9)
    assert record.id == batch.id
    other = await api.post(f"{path}/adopt", json={"provider_batch_id": "msgbatch_2"})
    assert other.code == (409, "batch_not_unresolved")


async def test_a_provider_batch_that_is_anothers_cannot_be_adopted(autojump_clock, api_on_each):
    api = api_on_each
    (_, first), (_, second) = await lost_submission(api), await lost_submission(api)
    await api.post(f"/v1/admin/batches/{first.id}/adopt", json={"provider_batch_id": "msgbatch_1"})
    now = api.services.clock.now()
    await api.database.write(submissions.rule_out, second.key, ["msgbatch_2"], look_at=now)
    for taken in ("msgbatch_1", "msgbatch_2"):
        answer = await api.post(f"/v1/admin/batches/{second.id}/adopt", json={"provider_batch_id": taken})
        assert answer.code == (409, "provider_batch_taken")
    for wrong in ("", "a b", "x" * 300):
        answer = await api.post(f"/v1/admin/batches/{second.id}/adopt", json={"provider_batch_id": wrong})
        assert answer.status == 422


async def test_a_planned_batch_adopts_nothing(api):
    job = await api.batch(1)
    (batch,) = (await api.get(f"/v1/batches/{job['id']}")).json["provider_batches"]["data"]
    answer = await api.post(f"/v1/admin/batches/{batch['id']}/adopt", json={"provider_batch_id": "m"})
    assert answer.code == (409, "batch_not_unresolved")
    assert (await api.get(f"/v1/admin/batches/{batch['id']}")).json["status"] == "planned"


async def test_a_batch_can_be_made_due_until_it_is_final(autojump_clock, api_on_each):
    api = api_on_each
    _, batch = await lost_submission(api)
    await api.database.write(lambda tx: tx.execute(sa.update(tables.provider_batches).values(next_poll_at=None)))
    looked = await api.post(f"/v1/admin/batches/{batch.id}/poll")
    assert (looked.status, looked.json["next_poll_at"]) == (200, "2026-01-01T00:00:00.000000Z")
    assert "work" in api.rung
    await api.post(f"/v1/admin/batches/{batch.id}/abandon")
    assert (await api.post(f"/v1/admin/batches/{batch.id}/poll")).code == (409, "batch_final")


async def test_provider_batches_are_listed_by_status(autojump_clock, api_on_each):
    api = api_on_each
    _, lost = await lost_submission(api)
    await trio.sleep(1)
    await api.batch(1)
    everything = (await api.get("/v1/admin/batches")).json["data"]
    assert [row["status"] for row in everything] == ["planned", "unknown"]
    for query, expected in (
        ("status=unknown&status=quarantined", [lost.id]),
        ("status=closed", []),
        ("order=asc&limit=1", [lost.id]),
    ):
        assert [row["id"] for row in (await api.get(f"/v1/admin/batches?{query}")).json["data"]] == expected


# --- keys --------------------------------------------------------------------------------------------------


async def test_a_new_key_shows_its_secret_once_and_works(autojump_clock, api_on_each):
    api = api_on_each
    user = await own_user(api)
    asked = {
        "user_id": user,
        "scopes": ["write", "read", "read"],
        "name": "ci",
        "expires_at": "2026-01-01T01:00:00+00:30",
    }
    answer = await api.post("/v1/admin/keys", json=asked)
    made = answer.json
    assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
    assert (made["scopes"], made["name"], made["user_id"]) == (["read", "write"], "ci", user)
    assert made["expires_at"] == "2026-01-01T00:30:00.000000Z"
    assert made["secret"].startswith(made["prefix"])
    assert (await api.get("/v1/jobs", key=made["secret"])).status == 200
    listed = (await api.get("/v1/admin/keys")).json["data"]
    assert [key for key in listed if key["id"] == made["id"]] == [{k: v for k, v in made.items() if k != "secret"}]
    await trio.sleep(1800)
    assert (await api.get("/v1/jobs", key=made["secret"])).status == 401


async def test_a_revoked_key_is_refused_at_once(autojump_clock, api):
    made = (await api.post("/v1/admin/keys", json={"user_id": await own_user(api), "scopes": ["read"]})).json
    assert (await api.get("/v1/jobs", key=made["secret"])).status == 200
    revoked = await api.call("DELETE", f"/v1/admin/keys/{made['id']}")
    assert (revoked.status, revoked.json["id"], "secret" in revoked.json) == (200, made["id"], False)
    assert (await api.get("/v1/jobs", key=made["secret"])).status == 401
    assert (await api.call("DELETE", f"/v1/admin/keys/{made['id']}")).code == (404, "not_found")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"scopes": []}, 422, "scopes"),
        ({"scopes": ["root"]}, 422, "scopes[0]"),
        ({"name": ""}, 422, "name"),
        ({"name": "\0"}, 422, "name"),
        ({"expires_at": "2026-01-01T00:00:00"}, 422, "expires_at"),
        ({"expires_at": "2025-12-31T00:00:00Z"}, 422, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, 422, "expires_at"),
        ({"user_id": "user-1"}, 404, None),
        ({"x": 1}, 422, "x"),
        ({"user_id": None}, 422, "user_id"),
    ],
)
async def test_a_bad_new_key_is_refused(autojump_clock, api, change, status, param):
    answer = await api.post("/v1/admin/keys", json={"user_id": await own_user(api), "scopes": ["read"], **change})
    assert (answer.status, answer.error.get("param")) == (status, param)


async def test_admins_of_other_organizations_handle_their_own_keys_only(api):
    mine = (await api.get("/v1/admin/keys")).json["data"]
    theirs = (await api.get("/v1/admin/keys", key="other")).json["data"]
    assert ({key["name"] for key in mine}, [key["name"] for key in theirs]) == (
        {"bootstrap", "write", "read", "other"}, ["other"],
    )  # fmt: skip
    assert [user["id"] for user in (await api.get("/v1/admin/users", key="other")).json["data"]] == [OTHERS_USER]
    foreign = {"user_id": await own_user(api), "scopes": ["admin"]}
    assert (await api.post("/v1/admin/keys", json=foreign, key="other")).code == (404, "not_found")
    bootstrap = next(key["id"] for key in mine if key["name"] == "bootstrap")
    assert (await api.call("DELETE", f"/v1/admin/keys/{bootstrap}", key="other")).status == 404
    assert (
        await api.post("/v1/admin/keys", json={"user_id": OTHERS_USER, "scopes": ["read"]}, key="other")
    ).status == 201


async def test_keys_are_paged(autojump_clock, api):
    user = await own_user(api)
    for name in "abc":
        await trio.sleep(1)
        await api.post("/v1/admin/keys", json={"user_id": user, "scopes": ["read"], "name": name})
    first = (await api.get("/v1/admin/keys?limit=2")).json
    assert ([key["name"] for key in first["data"]], first["has_more"]) == (["c", "b"], True)
    after = (await api.get(f"/v1/admin/keys?limit=1&after={first['last_id']}")).json
    assert [key["name"] for key in after["data"]] == ["a"]
    before = (await api.get(f"/v1/admin/keys?limit=1&before={after['first_id']}")).json
    assert ([key["name"] for key in before["data"]], before["has_more"]) == (["b"], True)


async def test_the_signing_secret_is_shown_and_rotated(api):
    old = (await api.get("/v1/webhook-secret")).json
    new = (await api.post("/v1/webhook-secret/rotate")).json
    assert old["secret"].startswith("whsec_")
    assert new != old
    assert (await api.get("/v1/webhook-secret")).json == new
    assert (await api.get("/v1/webhook-secret", key="other")).code == (404, "not_found")
    assert (await api.post("/v1/webhook-secret/rotate", key="other")).json != new


# --- health and metrics ------------------------------------------------------------------------------------


async def test_health_needs_no_key(api):
    assert (await api.get("/healthz", key=None)).json == {"status": "ok", "version": "1.2.3"}
    assert (await api.get("/readyz", key=None)).json == {"status": "ready", "version": "1.2.3", "warnings": []}
    assert (await api.get("/readyz?x=1", key=None)).status == 422


async def test_what_is_not_ready_says_why():
    async with open_api(ready=lambda: "The database is being migrated.") as api:
        answer = await api.get("/readyz", key=None)
    assert answer.code == (503, "not_ready")
    assert answer.error["message"] == "The database is being migrated."
    assert "Retry-After" in answer.headers


async def test_a_database_that_is_away_is_not_ready():
    async def away(_work):
        await trio.lowlevel.checkpoint()
        raise StorageUnavailable("password=hunter2")

    async with open_api() as api:
        broken = attrs.evolve(api.services, database=attrs.evolve(api.database, offload_read=away))
        client = create_app(broken).test_client()
        answers = [await client.get(path, headers={"x-api-key": "bb_x"}) for path in ("/readyz", "/v1/jobs")]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert b"hunter2" not in await answers[0].get_data()


async def test_metrics_show_what_is_open(api):
    job = await api.batch()
    await api.submitted(job["id"])
    answer = await api.get("/metrics", key="read")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.body.decode().splitlines()
    for line in (
        'backburner_active_jobs{status="running"} 1.0', 'backburner_open_provider_batches{status="submitted"} 1.0',
        "backburner_writer_queue 4.0", "backburner_is_leader 1.0", "backburner_deliveries_pending 0.0",
    ):  # fmt: skip
        assert line in lines


async def test_metrics_count_the_attempts_of_each_handler():
    about = {"executor": "thread", "running": 2, "succeeded": 40, "failed": 1, "ended": 0}
    handlers = [HandlerFigures(name="resize", state="resting", **about)]

    def status() -> InstanceStatus:
        return attrs.evolve(instance_status(), jobs=JobFigures(handlers=handlers))

    async with open_api(metrics_public=True, status=status) as api:
        lines = (await api.get("/metrics", key=None)).body.decode().splitlines()
        for line in (
            'backburner_handler_attempts_total{handler="resize",outcome="succeeded"} 40.0',
            'backburner_handler_attempts_total{handler="resize",outcome="failed"} 1.0',
            'backburner_handler_running{handler="resize"} 2.0',
            'backburner_handler_resting{handler="resize"} 1.0',
        ):
            assert line in lines


async def test_metrics_are_public_where_the_settings_say_so():
    async with open_api(metrics_public=True, status=instance_status) as api:
        assert (await api.get("/metrics", key=None)).status == 200
