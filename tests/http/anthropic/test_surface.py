"""The shapes, headers and refusals that Anthropic's clients see."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
import sqlalchemy as sa
import trio
from tests.http.anthropic.client import HEADERS, ask
from tests.http.api import LIMITS, open_api, request, requests

from backburner.http.anthropic.ids import batch_id_of, job_id_of
from backburner.http.anthropic.problems import problem_response
from backburner.http.problem import Problem
from backburner.states import ItemStatus
from backburner.storage import batches, tables

UNKNOWN = f"/{batch_id_of('job-00000000-0000-7000-8000-000000000000')}"


async def create(api, count: int = 2, **options):
    answer = await ask(api, "POST", json={"requests": requests(count)}, **options)
    assert answer.status == 200, answer.body
    return answer.json


def error(answer) -> tuple[int, str]:
    shown = answer.json
    assert answer.headers["content-type"] == "application/json"
    assert (set(shown), set(shown["error"])) == ({"type", "error", "request_id"}, {"type", "message"})
    assert (shown["type"], shown["request_id"]) == ("error", answer.headers["request-id"])
    return answer.status, shown["error"]["type"]


async def test_a_new_batch_has_exactly_the_members_of_theirs(autojump_clock, api):
    answer = await ask(api, "POST", json={"requests": requests(2)})
    batch = answer.json
    assert batch == {
        "id": batch["id"],
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
    assert answer.headers["anthropic-organization-id"].startswith("org-")
    assert (await ask(api, "GET", f"/{batch['id']}")).json == batch
    assert api.rung == ["work"]


async def test_nothing_counts_as_done_before_the_end(autojump_clock, api):
    batch = await create(api)
    job_id = job_id_of(batch["id"])
    await api.submitted(job_id)
    await api.results(job_id, [ItemStatus.SUCCEEDED], whole=False)
    assert (await api.get(f"/v1/jobs/{job_id}")).json["request_counts"]["succeeded"] == 1
    assert (await ask(api, "GET", f"/{batch['id']}")).json["request_counts"]["processing"] == 2


@pytest.mark.parametrize(
    ("public_url", "headers", "root"),
    [
        ("https://batch.example.org/x", {}, "https://batch.example.org/x/anthropic"),
        (None, {"Host": "gateway:8283"}, ""),  # behind TLS, too: the client puts its own base before the path
    ],
)
async def test_the_url_of_results_leads_back_here(autojump_clock, public_url, headers, root):
    async with open_api(public_url=public_url) as api:
        job = await api.ended([ItemStatus.SUCCEEDED])
        batch_id = batch_id_of(job["id"])
        batch = (await ask(api, "GET", f"/{batch_id}", headers=HEADERS | headers)).json
    assert batch["results_url"] == f"{root}/v1/messages/batches/{batch_id}/results"


async def test_results_are_lines_without_a_carriage_return(autojump_clock, api):
    job = await api.ended([ItemStatus.SUCCEEDED, ItemStatus.CANCELED])
    spaced = tables.results.update().values(line=sa.func.replace(tables.results.c.line, "{", "{\r"))
    await api.database.write(lambda tx: tx.execute(spaced))
    answer = await ask(
        api, "GET", f"/{batch_id_of(job['id'])}/results", headers=HEADERS | {"Accept": "application/binary"}
    )
    assert answer.headers["content-type"] == "application/x-jsonl"
    *lines, last = answer.body.split(b"\n")
    assert last == b""
    assert [msgspec.json.decode(line)["result"]["type"] for line in lines] == ["succeeded", "canceled"]
    assert b"\r" not in answer.body


async def test_there_are_no_results_before_the_end(autojump_clock, api):
    batch = await create(api)
    assert error(await ask(api, "GET", f"/{batch['id']}/results")) == (404, "not_found_error")


async def test_cancelling_waits_for_the_provider_and_may_be_repeated(autojump_clock, api):
    batch = await create(api)
    await api.submitted(job_id_of(batch["id"]))
    await trio.sleep(5)
    first = (await ask(api, "POST", f"/{batch['id']}/cancel")).json
    assert (first["processing_status"], first["cancel_initiated_at"]) == ("canceling", "2026-01-01T00:00:05.000000Z")
    assert (await ask(api, "POST", f"/{batch['id']}/cancel")).json == first


async def test_cancelling_what_has_ended_changes_nothing(autojump_clock, api):
    job = await api.ended([ItemStatus.SUCCEEDED])
    path = f"/{batch_id_of(job['id'])}"
    before = (await ask(api, "GET", path)).json
    assert (await ask(api, "POST", f"{path}/cancel")).json == before


async def test_only_what_has_ended_is_deleted(autojump_clock, api):
    batch = await create(api)
    refused = await ask(api, "DELETE", f"/{batch['id']}")
    assert error(refused) == (400, "invalid_request_error")  # their clients repeat a 409
    assert refused.headers["x-should-retry"] == "false"
    await ask(api, "POST", f"/{batch['id']}/cancel")
    assert (await ask(api, "DELETE", f"/{batch['id']}")).json == {"id": batch["id"], "type": "message_batch_deleted"}
    assert (await api.get(f"/v1/jobs/{job_id_of(batch['id'])}")).status == 404


async def test_the_list_is_newest_first_with_cursors_in_both_directions(autojump_clock, api):
    made: list[str] = []
    for _ in range(5):
        made.insert(0, (await create(api))["id"])
        await trio.sleep(1)
    lists = {
        "": (made, False),
        "?limit=2&nonsense=1": (made[:2], True),
        f"?limit=2&after_id={made[1]}": (made[2:4], True),
        f"?limit=2&before_id={made[4]}": (made[2:4], True),
        f"?limit=3&before_id={made[2]}": (made[:2], False),
    }
    for query, (expected, has_more) in lists.items():
        page = (await ask(api, "GET", query)).json
        assert ([row["id"] for row in page["data"]], page["has_more"]) == (expected, has_more)
        assert (page["first_id"], page["last_id"]) == (expected[0], expected[-1])


async def test_the_list_may_be_empty(autojump_clock, api):
    assert (await ask(api, "GET")).json == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_the_list_has_20_batches_unless_asked(autojump_clock, api):
    for _ in range(21):
        await create(api, 1)
    page = (await ask(api, "GET")).json
    assert (len(page["data"]), page["has_more"]) == (20, True)
    assert len((await ask(api, "GET", "?limit=1000")).json["data"]) == 21


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "after_id=x", f"after_id={UNKNOWN[1:]}&before_id={UNKNOWN[1:]}"]
)
async def test_a_wrong_list_is_refused(autojump_clock, api, query):
    assert error(await ask(api, "GET", f"?{query}")) == (400, "invalid_request_error")


async def test_batches_of_the_other_api_are_seen_too(autojump_clock, api):
    job = await api.batch()
    assert [row["id"] for row in (await ask(api, "GET")).json["data"]] == [batch_id_of(job["id"])]


@pytest.mark.parametrize(
    ("version", "status"), [("2023-06-01", 200), ("2026-10-21", 200), ("2023-01-01", 400), (None, 400)]
)
async def test_two_versions_are_spoken(autojump_clock, api, version, status):
    headers = {} if version is None else {"anthropic-version": version}
    assert (await ask(api, "GET", headers=headers)).status == status


async def test_version_and_betas_go_to_the_provider_with_the_batch(autojump_clock, api):
    headers = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a-1, b-2",
        "anthropic-user-profile-id": "u",
        "x": "y",
    }
    batch = await create(api, headers=headers)
    job = await api.record(job_id_of(batch["id"]))
    assert await api.database.read(batches.provider_options, job.key) == {
        "anthropic-version": "2023-06-01", "anthropic-beta": "a-1, b-2", "anthropic-user-profile-id": "u",
    }  # fmt: skip


async def test_either_key_header_does_and_the_valid_one_counts(autojump_clock, api):
    good, bad = api.keys["read"], "sk-ant-something"
    for headers, status in (
        ({"x-api-key": good}, 200),
        ({"Authorization": f"Bearer {good}"}, 200),
        ({"Authorization": f"Bearer {bad}", "x-api-key": good}, 200),
        ({"Authorization": f"Bearer {good}", "x-api-key": bad}, 200),
        ({"Authorization": f"Bearer {bad}", "x-api-key": bad}, 401),
        ({}, 401),
    ):
        assert (await ask(api, "GET", key=None, headers=HEADERS | headers)).status == status


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        (("GET", UNKNOWN), "read", (404, "not_found_error")),
        (("GET", "/nonsense"), "read", (404, "not_found_error")),
        (("GET", "/a/b/c"), "read", (404, "not_found_error")),
        (("PUT", UNKNOWN), "write", (405, "invalid_request_error")),
        (("GET", ""), None, (401, "authentication_error")),
        (("POST", ""), "read", (403, "permission_error")),
    ],
)
async def test_errors_have_their_shape(autojump_clock, api, asked, key, expected):
    assert error(await ask(api, *asked, key=key)) == expected


async def test_another_organizations_batch_is_as_one_that_does_not_exist(autojump_clock, api):
    batch = await create(api)
    for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", ""), ("POST", "/cancel")):
        theirs = await ask(api, method, f"/{batch['id']}{path}", key="other")
        nobodys = await ask(api, method, f"{UNKNOWN}{path}", key="other")
        assert error(theirs) == error(nobodys) == (404, "not_found_error")
    assert (await ask(api, "GET", key="other")).json["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"requests": []},
        {},
        {"requests": [request(1), request(1)]},
        {"requests": [{"custom_id": "a b", "params": {}}]},
        {"requests": [{"custom_id": "a", "params": 1}]},
        {"requests": [request(1)], "metadata": {}},
    ],
)
async def test_a_wrong_batch_is_refused_and_leaves_nothing(autojump_clock, api, body):
    answer = await ask(api, "POST", json=body)
    assert error(answer) == (400, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"
    assert await api.staged() == 0


async def test_wrong_params_are_the_providers_to_judge(autojump_clock, api):
    rows = [{"custom_id": "a", "params": {"max_tokens": 0}}, {"custom_id": "b", "params": {"stream": True}}]
    assert (await ask(api, "POST", json={"requests": rows})).status == 200


async def test_a_body_that_is_too_large_is_refused_for_good(autojump_clock, api):
    answer = await ask(api, "POST", data=b" " * (LIMITS.max_request_bytes + 1))
    assert error(answer) == (413, "request_too_large")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("status", "code", "wait", "expected"),
    [
        (503, "unavailable", "2", (529, "2", None)),
        (503, "overloaded", "3600", (529, "60", None)),
        (429, "rate_limited", "0", (429, "1", None)),
        (409, "idempotency_key_in_use", "2", (409, "2", None)),
        (409, "job_not_terminal", None, (400, None, "false")),
        (415, "unsupported_media_type", None, (400, None, "false")),
    ],
)
async def test_what_passes_may_be_repeated_soon_and_what_stays_not_at_all(api, status, code, wait, expected):
    headers = {} if wait is None else {"Retry-After": wait}
    async with api.client.app.app_context():
        answer = problem_response(Problem(status=status, code=code, message="", request_id="req", headers=headers))
    assert (answer.status_code, answer.headers.get("Retry-After"), answer.headers.get("x-should-retry")) == expected


async def test_a_repeated_idempotency_key_works_here_too(autojump_clock, api):
    send = partial(create, api, headers=HEADERS | {"Idempotency-Key": "k"})
    assert await send() == await send()


async def test_an_unknown_route_below_the_surface_has_its_shape(autojump_clock, api):
    answer = await api.get("/anthropic/v1/messages", headers=HEADERS)
    assert error(answer) == (404, "not_found_error")
    assert (await api.get("/v1/nothing")).error["code"] == "not_found"
