"""One batch: its provider batches, items, results and retries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.http.api import Api, result_text

from backburner.states import ItemStatus
from backburner.storage import batches, items

OK, ERRORED, EXPIRED, CANCELED = ItemStatus.SUCCEEDED, ItemStatus.ERRORED, ItemStatus.EXPIRED, ItemStatus.CANCELED
MIXED = [OK, ERRORED, OK, EXPIRED, CANCELED]


async def test_a_batch_shows_its_provider_batches(autojump_clock, api):
    job = await api.batch(3, chunk_items=2)
    await api.submitted(job["id"])
    shown = (await api.get(f"/v1/batches/{job['id']}")).json
    first, second = shown["provider_batches"]["data"]
    assert (shown["status"], shown["provider_batches"]["total"]) == ("running", 2)
    assert (first["item_count"], second["item_count"], first["status"]) == (2, 1, "submitted")
    assert (first["provider"], first["round"], first["create_response"]) == ("sandbox", 1, {"id": "x"})
    assert first["provider_batch_id"].startswith("msgbatch_")
    assert first["request_counts"]["processing"] == 2
    assert set(first) >= {
        "id", "provider", "provider_batch_id", "round", "status", "provider_status", "item_count", "request_counts",
        "created_at", "submitted_at", "last_polled_at", "next_poll_at", "ended_at", "ingested_at", "not_found_since",
        "error", "create_response", "latest_polling_response",
    }  # fmt: skip


async def test_items_are_listed_in_the_order_of_the_input(autojump_clock, api):
    job = await api.ended(MIXED)
    page = (await api.get(f"/v1/batches/{job['id']}/items")).json
    uuid = job["id"].removeprefix("job-")
    assert [item["id"] for item in page["data"]] == [f"item-{uuid}-{n}" for n in range(5)]
    assert [item["status"] for item in page["data"]] == [status.value for status in MIXED]
    assert (page["has_more"], page["last_id"]) == (False, f"item-{uuid}-4")
    first, second = page["data"][:2]
    assert (first["custom_id"], first["index"], first["round"], first["error"]) == ("c-0", 0, 1, None)
    assert first["usage"]["input_tokens"] == 7
    assert second["error"]["error"]["message"] == "no"


async def test_items_are_paged_and_filtered(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.ended(MIXED)
    path = f"/v1/batches/{job['id']}/items"

    async def indices(query: str) -> list[int]:
        return [item["index"] for item in (await api.get(f"{path}?{query}")).json["data"]]

    cursor = "item-" + job["id"].removeprefix("job-")
    assert await indices(f"limit=2&after={cursor}-1") == [2, 3]
    assert await indices(f"limit=2&before={cursor}-4") == [2, 3]
    assert await indices(f"limit=2&order=desc&after={cursor}-3") == [2, 1]
    assert await indices("status=errored&status=canceled") == [1, 4]
    assert await indices("custom_id=c-3") == [3]
    assert await indices("custom_id=nobody") == []


@pytest.mark.parametrize(
    "query", ["after=item-1", "after=item-00000000-0000-7000-8000-000000000000-1", "status=pending", "custom_id=a%20b"]
)
async def test_a_bad_item_parameter_is_refused(autojump_clock, api, query):
    job = await api.batch()
    answer = await api.get(f"/v1/batches/{job['id']}/items?{query}")
    assert (answer.status, answer.error["param"]) == (422, query.partition("=")[0])


async def test_items_that_wait_are_processing(autojump_clock, api):
    job = await api.batch(1)
    (item,) = (await api.get(f"/v1/batches/{job['id']}/items")).json["data"]
    assert (item["status"], item["usage"], item["error"]) == ("processing", None, None)


async def results(api: Api, job_id: str, query: str = "") -> tuple[bytes, str | None]:
    answer = await api.get(f"/v1/batches/{job_id}/results?{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return answer.body, answer.headers.get("x-incomplete")


def line(index: int, status: ItemStatus) -> bytes:
    return f'{{"custom_id":"c-{index}","result":{result_text(index, status)}}}\n'.encode()


async def test_results_are_verbatim_and_in_the_order_of_the_input(autojump_clock, api_on_each):
    job = await api_on_each.ended(MIXED)
    expected = b"".join(line(index, status) for index, status in enumerate(MIXED))
    assert await results(api_on_each, job["id"]) == (expected, None)


async def test_results_of_some_statuses_only(autojump_clock, api):
    job = await api.ended(MIXED)
    assert await results(api, job["id"], "status=errored&status=expired") == (line(1, ERRORED) + line(3, EXPIRED), None)


async def test_results_so_far_are_marked_as_incomplete(autojump_clock, api):
    job = await api.batch(3)
    assert await results(api, job["id"]) == (b"", "true")
    await api.submitted(job["id"])
    await api.results(job["id"], [OK, ERRORED], whole=False)
    assert await results(api, job["id"]) == (line(0, OK) + line(1, ERRORED), "true")


async def test_results_of_many_pages_are_whole(autojump_clock, api):
    job = await api.ended([OK] * 3001)
    body, _ = await results(api, job["id"])
    assert [msgspec.json.decode(row)["custom_id"] for row in body.splitlines()] == [f"c-{n}" for n in range(3001)]


async def test_results_go_on_behind_an_item(autojump_clock, api_on_each):
    job = await api_on_each.ended(MIXED)
    whole = [line(index, status) for index, status in enumerate(MIXED)]
    for index in range(len(MIXED)):
        assert await results(api_on_each, job["id"], f"after=c-{index}") == (b"".join(whole[index + 1 :]), None)
    assert await results(api_on_each, job["id"], "after=c-1&status=errored&status=expired") == (line(3, EXPIRED), None)


@pytest.mark.parametrize("after", ["c-8", "C-1", "", "x" * 65, "%00"])
async def test_results_behind_an_item_that_there_is_not_are_refused(autojump_clock, api, after):
    job = await api.ended(MIXED)
    other = await api.ended([OK] * 9)
    answer = await api.get(f"/v1/batches/{job['id']}/results?after={after}")
    assert (answer.status, answer.error["param"]) == (422, "after")
    of_other = await api.get(f"/v1/batches/{other['id']}/results?after={after}")
    assert of_other.status == (200 if after == "c-8" else 422)


async def test_an_unknown_result_status_is_refused(autojump_clock, api):
    job = await api.batch()
    assert (await api.get(f"/v1/batches/{job['id']}/results?status=processing")).status == 422


# --- retry -------------------------------------------------------------------------------------------------


async def retry(api: Api, job: dict[str, Any], body: object = None):
    return await api.post(f"/v1/batches/{job['id']}/retry", json=body)


async def shown_items(api: Api, job_id: str) -> list[str]:
    return [item["custom_id"] for item in (await api.get(f"/v1/batches/{job_id}/items")).json["data"]]


async def test_a_retry_takes_what_did_not_succeed(autojump_clock, api_on_each):
    api = api_on_each
    job = await api.ended(
        MIXED, metadata={"a": 1}, priority=3, callback_url="https://example.org/hook", provider="anthropic"
    )
    api.rung.clear()
    answer = await retry(api, job)
    made = answer.json
    assert (answer.status, made["status"], made["retry_of"]) == (202, "pending", job["id"])
    assert answer.headers["Location"] == f"/v1/batches/{made['id']}"
    assert (made["metadata"], made["priority"], made["callback_url"]) == ({"a": 1}, 3, "https://example.org/hook")
    assert (await api.record(made["id"])).provider == "anthropic"
    assert await shown_items(api, made["id"]) == ["c-1", "c-3", "c-4"]
    assert api.rung == ["work"]


async def test_a_retry_of_a_retry_sends_the_first_jobs_requests(autojump_clock, api):
    job = await api.ended(MIXED)
    second = (await retry(api, job, {"statuses": ["errored", "expired"]})).json
    await api.submitted(second["id"])
    await api.results(second["id"], [OK, EXPIRED])
    third = (await retry(api, second)).json
    assert await shown_items(api, third["id"]) == ["c-3"]
    record = await api.record(third["id"])
    (batch,) = await api.database.read(batches.batches_of_job, record.key)
    sent = await api.database.read(batches.requests_of_batch, batch, lambda _, params: msgspec.json.decode(params))
    assert sent[0]["model"] == "claude-haiku-4-5"
    original = await api.record(job["id"])
    assert await api.database.read(items.requests_of, record.key) == original.key


async def test_a_retry_takes_the_items_that_are_named(autojump_clock, api):
    job = await api.ended(MIXED)
    made = (await retry(api, job, {"custom_ids": ["c-4", "c-0", "c-4"], "callback_url": None})).json
    assert await shown_items(api, made["id"]) == ["c-0", "c-4"]
    assert made["callback_url"] is None


async def test_unknown_names_are_listed(autojump_clock, api):
    job = await api.ended(MIXED)
    answer = await retry(api, job, {"custom_ids": ["c-1", "x", "y"]})
    assert answer.code == (422, "custom_id_unknown")
    assert [(row["param"], row["custom_id"]) for row in answer.error["details"]] == [
        ("custom_ids[1]", "x"), ("custom_ids[2]", "y"),
    ]  # fmt: skip


async def test_nothing_to_retry_is_a_conflict_and_leaves_nothing(autojump_clock, api):
    job = await api.ended([OK, OK])
    assert (await retry(api, job)).code == (409, "nothing_to_retry")
    assert await api.staged() == 0


async def test_a_running_job_cannot_be_retried(autojump_clock, api):
    assert (await retry(api, await api.batch())).code == (409, "job_not_terminal")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"statuses": ["succeeded"]}, "statuses[0]"),
        ({"statuses": []}, "statuses"),
        ({"statuses": ["errored", "failed"]}, "statuses[1]"),
        ({"custom_ids": ["c-1", "a b"]}, "custom_ids[1]"),
        ({"custom_ids": []}, "custom_ids"),
        ({"custom_ids": ["c-1"], "statuses": ["errored"]}, "custom_ids"),
        ({"callback_url": "http://localhost/"}, "callback_url"),
        ({"x": 1}, "x"),
    ],
)
async def test_a_bad_retry_is_refused(autojump_clock, api, body, param):
    job = await api.ended(MIXED)
    answer = await retry(api, job, body)
    assert (answer.status, answer.error["param"]) == (422, param)
