"""Jobs for Letta's clients."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.http.api import Api

from backburner.states import ItemStatus

JOBS = "/letta/v1/jobs"
FIELDS = {
    "id", "user_id", "status", "created_at", "updated_at", "completed_at", "stop_reason", "metadata", "job_type",
    "background", "agent_id", "callback_url", "callback_sent_at", "callback_status_code", "callback_error", "ttft_ns",
    "total_duration_ns", "created_by_id", "last_updated_by_id",
}  # fmt: skip


async def plain(api: Api, **metadata: Any) -> str:
    """A job that its owner moves, a second after the one before."""
    await trio.sleep(1)
    return str((await api.post("/v1/jobs", json={"metadata": metadata})).json["id"])


async def listed(api: Api, query: str = "", path: str = JOBS) -> list[str]:
    answer = await api.get(f"{path}{query}")
    assert answer.status == 200, answer.body
    return [job["id"] for job in answer.json]


async def test_a_job_has_the_fields_that_the_client_knows(autojump_clock, api):
    job_id = await plain(api, source_id="s")
    job = (await api.get(f"{JOBS}/{job_id}")).json
    assert job.keys() == FIELDS
    assert (job["id"], job["status"], job["job_type"], job["metadata"]) == (
        job_id,
        "created",
        "job",
        {"source_id": "s"},
    )
    assert job["created_at"].endswith("Z")


async def test_the_list_is_an_array_of_jobs_that_are_no_batches_newest_first(autojump_clock, api):
    made = [await plain(api) for _ in range(3)]
    await api.batch()
    assert await listed(api) == made[::-1]


@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/", f"{JOBS}/active", f"{JOBS}/active/"])
async def test_paths_answer_with_and_without_a_slash(autojump_clock, api, path):
    job_id = await plain(api)
    assert await listed(api, path=path) == [job_id]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?limit=2", [4, 3]),
        ("?limit=0", [4, 3, 2, 1, 0]),
        ("?after={2}", [1, 0]),
        ("?before={2}", [4, 3]),
        ("?order=asc&after={2}", [3, 4]),
        ("?order=asc&before={2}", [0, 1]),
        ("?ascending=true", [4, 3, 2, 1, 0]),
        ("?order_by=created_at&colour=blue", [4, 3, 2, 1, 0]),
        ("?source_id=s-3", [3]),
    ],
)
async def test_cursors_follow_the_order_and_unknown_parameters_are_ignored(autojump_clock, api, query, expected):
    made = [await plain(api, source_id=f"s-{number}") for number in range(5)]
    assert await listed(api, query.format(*made)) == [made[number] for number in expected]


async def test_active_jobs_are_listed_oldest_first(autojump_clock, api):
    made = [await plain(api) for _ in range(3)]
    await api.call("PATCH", f"{JOBS}/{made[1]}/cancel")
    assert await listed(api, path=f"{JOBS}/active") == [made[0], made[2]]
    assert await listed(api, "?active=true") == [made[2], made[0]]


async def test_cancel_and_delete_answer_the_job(autojump_clock, api):
    job_id = await plain(api)
    cancelled = await api.call("PATCH", f"{JOBS}/{job_id}/cancel")
    assert (cancelled.status, cancelled.json["id"], cancelled.json["status"]) == (200, job_id, "cancelled")
    deleted = await api.call("DELETE", f"{JOBS}/{job_id}")
    assert (deleted.status, deleted.json["id"]) == (200, job_id)
    assert (await api.get(f"{JOBS}/{job_id}")).status == 404


async def test_a_job_that_is_not_over_is_not_deleted(autojump_clock, api):
    answer = await api.call("DELETE", f"{JOBS}/{await plain(api)}")
    assert (answer.status, list(answer.json)) == (409, ["detail"])


async def test_a_batch_can_be_looked_at_as_a_job(autojump_clock, api):
    batch = await api.ended([ItemStatus.SUCCEEDED])
    job = (await api.get(f"{JOBS}/{batch['id']}")).json
    assert (job["job_type"], job["status"]) == ("batch", "completed")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/letta/v1/nothing", 404),
        ("PUT", JOBS, 405),
        ("GET", f"{JOBS}/job-1", 404),
        ("GET", f"{JOBS}?limit=-1", 422),
        ("GET", f"{JOBS}?order=up", 422),
        ("GET", f"{JOBS}?active=perhaps", 422),
        ("GET", f"{JOBS}?after=job-1", 400),
        ("GET", f"{JOBS}?source_id=%FF", 422),
    ],
)
async def test_an_error_is_one_text(autojump_clock, api, method, path, status):
    answer = await api.call(method, path)
    assert answer.status == status
    assert isinstance(answer.json["detail"], str)
    assert list(answer.json) == ["detail"]


async def test_keys_and_scopes_hold_here_too(autojump_clock, api):
    job_id = await plain(api)
    assert (await api.get(JOBS, key=None)).status == 401
    assert (await api.call("PATCH", f"{JOBS}/{job_id}/cancel", key="read")).status == 403
    assert (await api.get(f"{JOBS}/{job_id}", key="other")).status == 404
    assert (await api.get(JOBS, key="other")).json == []
