"""Jobs: shown, waited for, listed, cancelled, deleted."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest
import trio
from tests.http.api import Answer, Api

from backburner.changes import Changes
from backburner.http.jobs import LOOK_EVERY
from backburner.states import ItemStatus
from backburner.storage import jobs

NOBODY = "job-00000000-0000-7000-8000-000000000000"
OK = ItemStatus.SUCCEEDED


async def test_an_unknown_and_a_foreign_job_answer_alike(autojump_clock, api):
    job = await api.batch()
    for path in ("", "/deliveries"):
        foreign = await api.get(f"/v1/jobs/{job['id']}{path}", key="other")
        unknown = await api.get(f"/v1/jobs/{NOBODY}{path}", key="other")
        assert foreign.code == unknown.code == (404, "not_found")
        assert foreign.error["message"].replace(job["id"], NOBODY) == unknown.error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/batches/{}"),
        ("GET", "/v1/batches/{}/items"),
        ("GET", "/v1/batches/{}/results"),
        ("POST", "/v1/batches/{}/retry"),
        ("POST", "/v1/batches/{}/cancel"),
        ("POST", "/v1/jobs/{}/cancel"),
        ("PATCH", "/v1/jobs/{}/cancel"),
        ("DELETE", "/v1/jobs/{}"),
        ("GET", "/v1/jobs/{}/deliveries"),
        ("POST", "/v1/jobs/{}/deliveries/delivery-1/redeliver"),
    ],
)
async def test_another_organization_reaches_no_job_by_any_route(autojump_clock, api, method, path):
    job = await api.batch()
    assert (await api.call(method, path.format(job["id"]), key="other")).code == (404, "not_found")
    assert (await api.record(job["id"])).version == 1


@pytest.mark.parametrize("job_id", ["job-1", "x", "JOB-00000000-0000-7000-8000-000000000000", "%F0%9F", "a%20b"])
async def test_what_cannot_be_an_id_is_not_found(autojump_clock, api, job_id):
    assert (await api.get(f"/v1/jobs/{job_id}")).code == (404, "not_found")


async def test_the_etag_saves_the_second_answer(autojump_clock, api):
    job = await api.batch()
    first = await api.get(f"/v1/jobs/{job['id']}")
    again = await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    await api.submitted(job["id"])
    changed = await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status, changed.json["status"]) == (200, "running")


async def waited(api: Api, path: str, **options: Any) -> tuple[float, Answer]:
    """Seconds that an answer took, and the answer."""
    began = trio.current_time()
    answer = await api.get(path, **options)
    return trio.current_time() - began, answer


async def test_waiting_ends_with_the_next_change(autojump_clock, api):
    job = await api.batch()

    async def change():
        await trio.sleep(7)
        await api.submitted(job["id"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=60")
    assert (seconds, answer.json["status"]) == (7, "running")


@pytest.mark.parametrize("known", [{}, {"If-None-Match": '"0"'}], ids=["unknown", "old"])
async def test_waiting_for_the_end_lasts_over_other_changes(autojump_clock, api, known):
    job = await api.batch()

    async def run_it():
        await trio.sleep(7)
        await api.submitted(job["id"])
        await trio.sleep(13)
        await api.results(job["id"], [OK] * 3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_it)
        path = f"/v1/jobs/{job['id']}?until=ended&wait="
        seconds, answer = await waited(api, path + "10", headers=known)
        assert (seconds, answer.json["status"]) == (10, "running")
        seconds, answer = await waited(api, path + "60", headers=known)
        assert (seconds, answer.json["status"]) == (10, "completed")
    seconds, answer = await waited(api, path + "60", headers={"If-None-Match": answer.headers["ETag"]})
    assert (seconds, answer.status) == (0, 304)


async def test_a_change_that_nobody_announced_is_found_soon(autojump_clock, api):
    job = await api.batch()
    unheard = attrs.evolve(api.database, changes=Changes())

    async def change():
        await trio.sleep(1)
        await unheard.write(jobs.cancel_job, None, job["id"], now=api.services.clock.now(), ids=api.services.ids)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=60")
    assert (seconds, answer.json["status"]) == (LOOK_EVERY, "cancelled")


async def test_waiting_for_nothing_ends_in_time(autojump_clock, api):
    job = await api.batch()
    seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=12.5")
    assert (seconds, answer.status) == (12.5, 200)


async def test_waiting_with_an_etag_that_is_old_answers_at_once(autojump_clock, api):
    job = await api.batch()
    await api.submitted(job["id"])
    seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=60", headers={"If-None-Match": '"1"'})
    assert (seconds, answer.status) == (0, 200)
    tag = {"If-None-Match": answer.headers["ETag"]}
    seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=60", headers=tag)
    assert (seconds, answer.status) == (60, 304)


async def test_an_ended_job_is_not_waited_for(autojump_clock, api):
    job = await api.ended([OK])
    assert (await waited(api, f"/v1/jobs/{job['id']}?wait=60"))[0] == 0


async def test_a_stopping_server_answers_who_waits(autojump_clock, api):
    job = await api.batch()

    async def stop():
        await trio.sleep(2)
        api.services.stopping.set()
        api.services.changes.all_changed()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        seconds, answer = await waited(api, f"/v1/jobs/{job['id']}?wait=60")
    assert (seconds, answer.json["status"]) == (2, "pending")


async def test_a_job_deleted_while_somebody_waits_is_not_found(autojump_clock, api):
    job = await api.batch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(api.post, f"/v1/jobs/{job['id']}/cancel"))
        nursery.start_soon(partial(_delete_later, api, job["id"]))
        await trio.sleep(0.5)
        answer = await api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": "x"})
        assert answer.status == 200
    assert (await api.get(f"/v1/jobs/{job['id']}?wait=5")).status == 404


async def _delete_later(api: Api, job_id: str) -> None:
    await trio.sleep(1)
    await api.call("DELETE", f"/v1/jobs/{job_id}")


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=x", "wait=nan", "x=1", "wait=1&wait=2"])
async def test_a_bad_query_for_one_job_is_refused(autojump_clock, api, query):
    job = await api.batch()
    assert (await api.get(f"/v1/jobs/{job['id']}?{query}")).status == 422


# --- lists -------------------------------------------------------------------------------------------------


async def listed(api: Api, query: str = "", path: str = "/v1/jobs", key: str = "admin") -> list[str]:
    answer = await api.get(f"{path}?{query}", key=key)
    assert answer.status == 200, answer.body
    return [job["id"] for job in answer.json["data"]]


async def made(api: Api, count: int) -> list[str]:
    """Ids of so many jobs, oldest first, a second apart."""
    ids = []
    for _ in range(count):
        ids.append((await api.batch(1))["id"])
        await trio.sleep(1)
    return ids


async def test_pages_go_both_ways_and_keep_their_place(autojump_clock, api_on_each):
    api = api_on_each
    ids = await made(api, 5)
    first = (await api.get("/v1/jobs?limit=2")).json
    assert [job["id"] for job in first["data"]] == [ids[4], ids[3]]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[4], ids[3])
    assert await listed(api, f"limit=2&after={ids[3]}") == [ids[2], ids[1]]
    last = (await api.get(f"/v1/jobs?limit=2&after={ids[1]}")).json
    assert ([job["id"] for job in last["data"]], last["has_more"]) == ([ids[0]], False)
    assert await listed(api, f"limit=2&before={ids[0]}") == [ids[2], ids[1]]
    assert await listed(api, f"limit=2&order=asc&after={ids[1]}") == [ids[2], ids[3]]
    assert await listed(api, f"limit=2&order=asc&before={ids[4]}") == [ids[2], ids[3]]


async def test_a_deleted_job_still_marks_a_place(autojump_clock, api):
    ids = await made(api, 3)
    await api.post(f"/v1/jobs/{ids[1]}/cancel")
    assert (await api.call("DELETE", f"/v1/jobs/{ids[1]}")).status == 200
    assert await listed(api, f"after={ids[1]}") == [ids[0]]


async def test_an_empty_list_has_no_first_and_last(autojump_clock, api):
    assert (await api.get("/v1/jobs")).json == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_filters_narrow_the_list(autojump_clock, api_on_each):
    api = api_on_each
    ids = await made(api, 4)
    await api.post(f"/v1/jobs/{ids[0]}/cancel")
    await api.submitted(ids[1])
    assert await listed(api, "status=cancelled&status=running") == [ids[1], ids[0]]
    assert await listed(api, "active=true") == [ids[3], ids[2], ids[1]]
    assert await listed(api, "active=true&status=cancelled") == []
    assert await listed(api, "job_type=run") == []
    assert await listed(api, "job_type=batch", "/v1/admin/jobs") == ids[::-1]
    assert await listed(api, "agent_id=agent-1") == []
    assert await listed(api, "created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:03Z&order=asc") == [
        ids[1], ids[2],
    ]  # fmt: skip
    assert await listed(api, "", "/v1/batches") == ids[::-1]


async def test_active_jobs_have_a_deprecated_route(autojump_clock, api):
    ids = await made(api, 2)
    await api.post(f"/v1/jobs/{ids[0]}/cancel")
    answer = await api.get("/v1/jobs/active")
    assert [job["id"] for job in answer.json["data"]] == [ids[1]]
    assert answer.headers["Deprecation"].startswith("@")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=1e1", "limit"), ("order=up", "order"),
        ("after=job-1", "after"), ("before=batch-00000000-0000-7000-8000-000000000000", "before"),
        ("status=done", "status"), ("active=1", "active"), ("job_type=x", "job_type"),
        ("created_after=yesterday", "created_after"), ("created_before=2026-01-01T00:00:00", "created_before"),
        ("created_after=0001-01-01T00:00:00%2B12:00", "created_after"), ("organization_id=org-1", "organization_id"),
        ("limit=1&limit=2", "limit"), ("agent_id=", "agent_id"), ("agent_id=%00", "agent_id"), ("no=1", "no"),
    ],
)  # fmt: skip
async def test_a_bad_list_parameter_is_refused_and_named(autojump_clock, api, query, param):
    answer = await api.get(f"/v1/jobs?{query}")
    assert (answer.status, answer.error["param"]) == (422, param)


async def test_lists_show_only_the_callers_organization(autojump_clock, api):
    mine = (await api.batch(1))["id"]
    theirs = (await api.batch(1, key="other"))["id"]
    assert (await listed(api), await listed(api, key="other")) == ([mine], [theirs])


async def test_the_operator_sees_every_organizations_jobs(autojump_clock, api):
    mine = (await api.batch(1))["id"]
    await trio.sleep(1)
    theirs = (await api.batch(1, key="other"))["id"]
    owner = await api.record(theirs)
    assert await listed(api, "", "/v1/admin/jobs") == [theirs, mine]
    assert await listed(api, f"organization_id={owner.organization_id}", "/v1/admin/jobs") == [theirs]
    assert await listed(api, f"user_id={owner.user_id}", "/v1/admin/jobs") == [theirs]
    assert await listed(api, "", "/v1/admin/jobs", key="other") == [theirs]


# --- cancel and delete -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_cancelling_what_is_not_submitted_is_done_at_once_and_can_be_repeated(autojump_clock, api, method):
    job = await api.batch(callback_url="https://example.org/hook")
    api.rung.clear()
    answer = await api.call(method, f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status, answer.json["status"], answer.json["stop_reason"]) == (200, "cancelled", "cancelled_by_user")
    assert answer.json["request_counts"]["canceled"] == 3
    assert api.rung == ["work"]
    assert (await api.call(method, f"/v1/jobs/{job['id']}/cancel")).json == answer.json


async def test_cancelling_what_is_at_the_provider_waits_for_it(autojump_clock, api):
    job = await api.batch()
    await api.submitted(job["id"])
    answer = await api.post(f"/v1/batches/{job['id']}/cancel")
    assert (answer.status, answer.json["status"], answer.json["completed_at"]) == (202, "running", None)
    assert answer.json["cancel_requested_at"] is not None
    assert (await api.post(f"/v1/jobs/{job['id']}/cancel")).status == 202
    await api.results(job["id"], [OK, OK, ItemStatus.CANCELED])
    done = await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (done.status, done.json["status"]) == (200, "cancelled")


async def test_cancelling_what_has_ended_otherwise_is_a_conflict(autojump_clock, api):
    job = await api.ended([OK])
    assert (await api.post(f"/v1/jobs/{job['id']}/cancel")).code == (409, "job_terminal")


async def test_cancelling_takes_no_body_and_no_parameters(autojump_clock, api):
    job = await api.batch()
    path = f"/v1/jobs/{job['id']}/cancel"
    assert (await api.post(path, json={"why": 1})).code == (422, "unknown_field")
    assert (await api.post(f"{path}?force=true")).code == (422, "unknown_parameter")
    assert (await api.post(path, data=b"x", kind="text/plain")).code == (415, "unsupported_media_type")
    assert (await api.post(path, json={})).status == 200


async def test_deleting_answers_the_job_that_is_gone(autojump_clock, api):
    job = await api.ended([OK])
    answer = await api.call("DELETE", f"/v1/jobs/{job['id']}")
    assert (answer.status, answer.json["id"], answer.json["status"]) == (200, job["id"], "completed")
    assert (await api.get(f"/v1/jobs/{job['id']}")).status == 404
    assert (await api.call("DELETE", f"/v1/jobs/{job['id']}")).status == 404


async def test_deleting_what_runs_is_a_conflict(autojump_clock, api):
    job = await api.batch()
    assert (await api.call("DELETE", f"/v1/jobs/{job['id']}")).code == (409, "job_not_terminal")


# --- deliveries --------------------------------------------------------------------------------------------


async def test_deliveries_are_listed_and_made_again(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.ended([OK], callback_url="https://example.org/hook")
    page = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json
    (delivery,) = page["data"]
    assert page["first_id"] == page["last_id"] == delivery["id"]
    assert {name: delivery[name] for name in ("type", "url", "status", "attempts")} == {
        "type": "job.completed", "url": "https://example.org/hook", "status": "pending", "attempts": [],
    }  # fmt: skip
    api.rung.clear()
    again = await api.post(f"/v1/jobs/{job['id']}/deliveries/{delivery['id']}/redeliver")
    assert (again.status, again.json["id"], api.rung) == (202, delivery["id"], ["work"])


async def test_a_delivery_of_another_job_is_not_found(autojump_clock, api):
    job = await api.ended([OK], callback_url="https://example.org/hook")
    other = await api.batch()
    (delivery,) = (await api.get(f"/v1/jobs/{job['id']}/deliveries")).json["data"]
    answer = await api.post(f"/v1/jobs/{other['id']}/deliveries/{delivery['id']}/redeliver")
    assert answer.code == (404, "not_found")
