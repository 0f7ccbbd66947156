"""Jobs that their owner moves: made, changed, ended, found by their metadata."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
import trio
from tests.http.api import Api

from backburner.job_metadata import MAX_METADATA_BYTES
from backburner.states import TRANSITIONS, ItemStatus, JobStatus
from backburner.storage import jobs, tables

HOOK = "https://example.org/hook"
#: How a job gets into each state.
WAYS = {
    "created": [],
    "pending": ["pending"],
    "running": ["pending", "running"],
    "completed": ["pending", "running", "completed"],
    "failed": ["failed"],
    "cancelled": ["cancelled"],
    "expired": ["pending", "expired"],
}


async def made(api: Api, **body: Any) -> Any:
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status == 202, answer.body
    return answer.json


async def patched(api: Api, job: Any, **changes: Any) -> Any:
    answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json=changes)
    assert answer.status == 200, answer.body
    return answer.json


async def job_in(api: Api, state: str, **body: Any) -> Any:
    job = await made(api, **body)
    for status in WAYS[state]:
        job = await patched(api, job, status=status)
    assert job["status"] == state
    return job


# --- making ------------------------------------------------------------------------------------------------


async def test_a_job_without_a_handler_waits_for_its_owner(autojump_clock, api_on_each):
    api = api_on_each
    body = {
        "job_type": "job", "input": {"files": [1, 2]}, "metadata": {"source": "s-1"}, "priority": 3, "agent_id": "a",
        "request_config": {"use_assistant_message": False}, "callback_url": HOOK, "deadline_seconds": 90,
    }  # fmt: skip
    answer = await api.post("/v1/jobs", json=body)
    job = answer.json
    assert (answer.status, answer.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    kept = ("job_type", "input", "metadata", "priority", "request_config", "callback_url", "agent_id")
    assert {name: job[name] for name in kept} == {name: body[name] for name in kept}
    assert (job["status"], job["background"], job["completed_at"]) == ("created", True, None)
    assert (job["request_counts"], job["usage"], job["provider_batches"]) == (None, None, None)
    assert job["deadline_at"] == "2026-01-01T00:01:30.000000Z"
    assert (await api.get(f"/v1/jobs/{job['id']}")).json == job


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"handler": "shell"}, "unknown_handler", "handler"),
        ({"job_type": "batch"}, "invalid_value", "job_type"),
        ({"deadline_seconds": 0}, "out_of_range", "deadline_seconds"),
        ({"priority": 2**31}, "out_of_range", "priority"),
        ({"metadata": []}, "invalid_type", "metadata"),
        ({"metadata": {"a": "x" * MAX_METADATA_BYTES}}, "metadata_too_large", "metadata"),
        ({"request_config": {"use_assistant_message": "no"}}, "invalid_type", "request_config.use_assistant_message"),
        (
            {"request_config": {"include_return_message_types": ["letter"]}},
            "invalid_value",
            "request_config.include_return_message_types",
        ),
        ({"callback_url": "http://127.0.0.1/x"}, None, "callback_url"),
        ({"callback": "x"}, "unknown_field", "callback"),
    ],
)
async def test_what_a_job_cannot_be_is_refused_by_name(autojump_clock, api, body, code, param):
    answer = await api.post("/v1/jobs", json=body)
    assert (answer.status, answer.error["param"]) == (422, param)
    assert code in (None, answer.error["code"])
    assert (await api.get("/v1/jobs")).json["data"] == []


async def test_a_job_in_the_foreground_answers_when_it_is_finished(autojump_clock, api):
    async def owner():
        await trio.sleep(7)
        (job,) = (await api.get("/v1/jobs?status=created")).json["data"]
        for status in WAYS["completed"]:
            await patched(api, job, status=status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner)
        answer = await api.post("/v1/jobs", json={"background": False})
    assert (answer.status, answer.json["status"], trio.current_time()) == (200, "completed", 7)


async def test_a_job_in_the_foreground_that_takes_too_long_is_answered_as_it_is(autojump_clock, api):
    answer = await api.post("/v1/jobs", json={"background": False, "timeout_seconds": 12})
    assert (answer.status, answer.json["status"], trio.current_time()) == (202, "created", 12)


# --- moving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*JobStatus])
async def test_the_state_table_decides_every_step(autojump_clock, api, state):
    for to in JobStatus:
        job = await job_in(api, state)
        answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json={"status": to})
        if to in TRANSITIONS[state]:
            assert (answer.status, answer.json["status"]) == (200, to)
            assert (answer.json["completed_at"] is not None) == to.is_terminal
        else:
            assert answer.code == (409, "illegal_transition")
            assert f"{state} cannot become {to}" in answer.error["message"]
            assert (await api.get(f"/v1/jobs/{job['id']}")).json == job


async def test_an_owner_reports_progress_and_the_end(autojump_clock, api_on_each):
    api = api_on_each
    job = await job_in(api, "running", metadata={"source_id": "s", "total_files": 2, "processed_files": 0})
    assert job["started_at"] is not None
    await trio.sleep(5)
    job = await patched(api, job, metadata={"processed_files": 1, "source_id": None, "note": {"a": 1}}, ttft_ns=7)
    assert job["metadata"] == {"total_files": 2, "processed_files": 1, "note": {"a": 1}}
    job = await patched(
        api, job, status="completed", stop_reason="end_turn", result={"rows": 3}, metadata={"processed_files": 2}
    )
    assert (job["result"], job["stop_reason"], job["ttft_ns"]) == ({"rows": 3}, "end_turn", 7)
    assert (job["total_duration_ns"], job["completed_at"]) == (5 * 10**9, "2026-01-01T00:00:05.000000Z")
    assert job["metadata"]["processed_files"] == 2


async def test_a_failure_keeps_the_error_and_the_duration_of_the_owner(autojump_clock, api):
    job = await made(api)
    job = await patched(api, job, status="failed", error={"code": "boom"}, total_duration_ns=12)
    assert (job["error"], job["total_duration_ns"], job["stop_reason"]) == ({"code": "boom"}, 12, None)


async def test_metadata_stays_within_its_size_when_it_is_merged(autojump_clock, api):
    job = await made(api, metadata={"a": "x" * 10_000})
    answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json={"metadata": {"b": "x" * 10_000}})
    assert answer.code == (422, "metadata_too_large")
    assert (await api.get(f"/v1/jobs/{job['id']}")).json == job
    assert (await patched(api, job, metadata={"a": None, "b": "x" * 10_000}))["metadata"].keys() == {"b"}


async def test_the_status_of_a_batch_is_not_the_owners_to_set(autojump_clock, api):
    job = await api.batch()
    answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json={"status": "cancelled"})
    assert answer.code == (409, "status_not_settable")
    assert (await patched(api, job, metadata={"seen": True}))["metadata"] == {"seen": True}


async def test_if_match_guards_against_a_change_in_between(autojump_clock, api):
    job = await made(api)
    path = f"/v1/jobs/{job['id']}"
    tag = (await api.get(path)).headers["ETag"]
    first = await api.call("PATCH", path, json={"metadata": {"a": 1}}, headers={"If-Match": tag})
    second = await api.call("PATCH", path, json={"metadata": {"a": 2}}, headers={"If-Match": tag})
    assert (first.status, second.code) == (200, (412, "precondition_failed"))
    assert first.headers["ETag"] != tag
    any_tag = await api.call("PATCH", path, json={"metadata": {"a": 3}}, headers={"If-Match": "*"})
    assert any_tag.json["metadata"] == {"a": 3}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"status": "done"}, "status"),
        ({"status": None}, "status"),
        ({"priority": 1}, "priority"),
        ({"metadata": None}, "metadata"),
        ({"ttft_ns": -1}, "ttft_ns"),
        ({"stop_reason": "x" * 256}, "stop_reason"),
    ],
)
async def test_what_cannot_be_changed_so_is_refused_by_name(autojump_clock, api, changes, param):
    job = await made(api)
    answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json=changes)
    assert (answer.status, answer.error["param"]) == (422, param)


async def test_changing_nothing_changes_nothing(autojump_clock, api):
    job = await made(api)
    assert await patched(api, job) == job


async def test_others_reach_no_job_and_readers_change_none(autojump_clock, api):
    job = await made(api)
    path = f"/v1/jobs/{job['id']}"
    assert (await api.call("PATCH", path, json={"status": "pending"}, key="other")).code == (404, "not_found")
    assert (await api.call("PATCH", path, json={"status": "pending"}, key="read")).status == 403
    assert (await api.post("/v1/jobs", json={}, key="read")).status == 403
    assert (await api.get(path)).json == job


# --- ending ------------------------------------------------------------------------------------------------


async def test_every_end_owes_one_webhook(autojump_clock, api):
    for state in ("completed", "failed", "cancelled", "expired"):
        job = await job_in(api, state, callback_url=HOOK)
        (delivery,) = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json["data"]
        assert (delivery["type"], delivery["status"]) == (f"job.{state}", "pending")


@pytest.mark.parametrize("state", ["created", "running"])
async def test_cancelling_takes_effect_at_once(autojump_clock, api, state):
    job = await job_in(api, state, callback_url=HOOK)
    answer = await api.call("PATCH", f"/api/jobs/{job['id']}/cancel")
    assert (answer.status, answer.json["status"], answer.json["stop_reason"]) == (200, "cancelled", "cancelled_by_user")
    assert answer.json["completed_at"] is not None
    assert (await api.call("PATCH", f"/api/jobs/{job['id']}/cancel")).status == 200


async def test_a_deadline_ends_a_job_in_any_state_and_owes_the_webhook(autojump_clock, api_on_each):
    api = api_on_each
    waiting = [await job_in(api, state, callback_url=HOOK, deadline_seconds=60) for state in ("created", "running")]
    done = await job_in(api, "completed", deadline_seconds=60)
    services = api.services

    async def expired(seconds: float) -> list[str]:
        now = services.clock.now() + timedelta(seconds=seconds)
        return await api.database.write(jobs.expire_jobs, now=now, limit=10, ids=services.ids)

    assert await expired(59) == []
    assert sorted(await expired(60)) == sorted(job["id"] for job in waiting)
    for job in waiting:
        found = (await api.get(f"/v1/jobs/{job['id']}")).json
        assert (found["status"], found["stop_reason"]) == ("expired", "deadline_exceeded")
        (delivery,) = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json["data"]
        assert delivery["type"] == "job.expired"
    assert (await api.get(f"/v1/jobs/{done['id']}")).json["status"] == "completed"


# --- finding -----------------------------------------------------------------------------------------------


async def listed(api: Api, query: str, path: str = "/v1/jobs", key: str = "admin") -> list[str]:
    answer = await api.get(f"{path}?{query}", key=key)
    assert answer.status == 200, answer.body
    return [job["id"] for job in answer.json["data"]]


async def test_jobs_are_found_by_their_metadata_of_today(autojump_clock, api_on_each):
    api = api_on_each
    first = await made(api, metadata={"source": "s-1", "n": 7, "half": 0.5, "big": True, "deep": {"a": 1}, "no": None})
    second = await api.batch(1, metadata={"source": "s-1", "n": "7"})
    both = [second["id"], first["id"]]
    assert await listed(api, "metadata.source=s-1") == both
    assert await listed(api, "metadata.n=7") == both
    assert await listed(api, "metadata.source=s-1&metadata.big=true") == [first["id"]]
    assert await listed(api, "metadata.half=0.5") == [first["id"]]
    assert await listed(api, "metadata.source=s-1&job_type=batch") == [second["id"]]
    assert await listed(api, "metadata.source=s-1&status=created&status=running") == [first["id"]]
    assert await listed(api, "metadata.deep=1") == await listed(api, "metadata.no=") == []
    await patched(api, first, metadata={"source": None, "n": 8})
    assert await listed(api, "metadata.source=s-1") == await listed(api, "metadata.n=7") == [second["id"]]
    assert await listed(api, "metadata.n=8") == [first["id"]]
    assert await listed(api, "metadata.n=8", "/v1/admin/jobs") == [first["id"]]
    assert await listed(api, "metadata.n=8", key="other") == []


async def test_a_deleted_job_leaves_nothing_to_be_found_by(autojump_clock, api_on_each):
    api = api_on_each
    job = await job_in(api, "failed", metadata={"a": "b"})
    assert (await api.call("DELETE", f"/v1/jobs/{job['id']}")).status == 200
    left = await api.database.read(lambda tx: tx.execute(sa.select(tables.job_metadata)).all())
    assert left == []


async def test_metadata_too_long_for_an_index_is_kept_and_not_sought(autojump_clock, api_on_each):
    api = api_on_each
    wide = "𝄞" * 255
    job = await made(api, metadata={wide: wide, "long": "x" * 9000})
    assert await listed(api, f"metadata.{quote(wide)}={quote(wide)}") == [job["id"]]
    assert (await api.get(f"/v1/jobs?metadata.long={'x' * 256}")).status == 422


async def test_filters_by_state_and_agent_meet(autojump_clock, api_on_each):
    api = api_on_each
    jobs_of = {}
    for state in WAYS:
        jobs_of[state] = (await job_in(api, state, agent_id="a"))["id"]
        await trio.sleep(1)
    batch = (await api.batch(1))["id"]
    await api.ended([ItemStatus.ERRORED])
    assert await listed(api, "status=running") == [jobs_of["running"]]
    assert await listed(api, "active=true") == [batch, *(jobs_of[s] for s in ("running", "pending", "created"))]
    assert await listed(api, "active=true&limit=2") == [batch, jobs_of["running"]]
    assert await listed(api, "agent_id=a&status=failed&status=expired") == [jobs_of["expired"], jobs_of["failed"]]
    assert await listed(api, "job_type=job&order=asc") == list(jobs_of.values())
    assert await listed(api, "agent_id=b") == []
    user = (await api.get(f"/v1/jobs/{batch}")).json
    query = f"user_id={user['user_id']}&organization_id={user['organization_id']}"
    assert await listed(api, f"{query}&status=running", "/v1/admin/jobs") == [jobs_of["running"]]
    assert len(await listed(api, query, "/v1/admin/jobs")) == len(WAYS) + 2


@pytest.mark.parametrize("query", ["", "job_type=job", "metadata.k=v", "agent_id=a", "status=created&status=failed"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_by_every_filter_show_each_job_once_while_others_come_and_go(autojump_clock, api, query, order):
    ids = []
    for _ in range(9):
        ids.append((await made(api, metadata={"k": "v"}, agent_id="a"))["id"])
        await trio.sleep(0.01)
    wanted = ids if order == "asc" else ids[::-1]
    seen: list[str] = []
    for step in range(5):
        page = (await api.get(f"/v1/jobs?{query}&order={order}&limit=2" + (f"&after={seen[-1]}" if seen else ""))).json
        seen += [job["id"] for job in page["data"]]
        assert page["has_more"] == (step < 4)
        await patched(api, {"id": seen[-1]}, status="failed")
        assert (await api.call("DELETE", f"/v1/jobs/{seen[-1]}")).status == 200
        if order == "desc":
            await made(api, metadata={"k": "v"}, agent_id="a")
    assert seen == wanted
    assert all(one < other if order == "asc" else one > other for one, other in pairwise(seen))


async def test_the_time_of_creation_narrows_a_list_exactly(autojump_clock, api_on_each):
    api = api_on_each
    ids = []
    for _ in range(4):
        ids.append((await made(api))["id"])
        await trio.sleep(100)
    at = "2026-01-01T00:01:40Z"
    assert await listed(api, f"created_before={at}") == ids[:1]
    assert await listed(api, f"created_after={at}&order=asc") == ids[2:]
    assert await listed(api, "created_after=0001-01-01T00:00:00Z&created_before=9999-01-01T00:00:00Z&order=asc") == ids


async def test_the_older_routes_answer_too(autojump_clock, api):
    job = await job_in(api, "running")
    assert await listed(api, "status=running", "/api/jobs") == [job["id"]]
    assert await listed(api, "status=running", "/api/admin/jobs") == [job["id"]]
    assert (await api.get("/api/admin/scheduler/status")).status == 200
    active = await api.get("/v1/jobs/active")
    assert ([one["id"] for one in active.json["data"]], "Deprecation" in active.headers) == ([job["id"]], True)
    assert (await api.call("PATCH", f"/api/jobs/{job['id']}/cancel")).status == 200
