"""`POST /v1/batches`."""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
import pytest
from tests.http.api import LIMITS, lines, open_api, request, requests

from backburner.http.create_batch import ANY_ORDER_BYTES
from backburner.storage import batches

NDJSON = "application/x-ndjson"


async def stored_requests(api, job_id: str) -> list[bytes]:
    job = await api.record(job_id)
    found = await api.database.read(batches.batches_of_job, job.key)
    pages = [
        await api.database.read(batches.requests_of_batch, batch, lambda _, params: params.encode()) for batch in found
    ]
    return [params for page in pages for params in page]


async def test_a_json_batch_becomes_a_pending_job(autojump_clock, api):
    answer = await api.post(
        "/v1/batches",
        json={"requests": requests(3), "metadata": {"a": [1]}, "priority": 5, "deadline_seconds": 60, "chunk_items": 2},
    )
    job = answer.json
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/batches/{job['id']}"
    assert (job["object"], job["job_type"], job["status"]) == ("job", "batch", "pending")
    assert (job["metadata"], job["priority"]) == ({"a": [1]}, 5)
    assert (job["created_at"], job["deadline_at"]) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:01:00.000000Z")
    assert job["request_counts"] == {
        "total": 3, "processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert job["provider_batches"] == {"total": 2, "ended": 0, "ingested": 0}
    assert api.rung == ["work"]
    assert (await api.get(f"/v1/jobs/{job['id']}")).json == job


async def test_the_job_has_exactly_the_documented_members(autojump_clock, api):
    assert list(await api.batch()) == [
        "id", "object", "job_type", "status", "stop_reason", "background", "created_at", "updated_at", "started_at",
        "completed_at", "cancel_requested_at", "deadline_at", "user_id", "organization_id", "agent_id", "agent",
        "handler", "priority", "retry_of", "metadata", "request_config", "input", "result", "error", "hold",
        "callback_url", "callback_sent_at", "callback_status_code", "callback_error", "ttft_ns", "total_duration_ns",
        "request_counts", "usage", "provider_batches",
    ]  # fmt: skip


async def test_an_ndjson_batch_takes_its_options_from_the_query(autojump_clock, api):
    path = (
        "/v1/batches?provider=anthropic&priority=-3&deadline_seconds=1.5&chunk_items=1"
        '&metadata={"k":"v"}&callback_url=https://example.org/hook'
    )
    answer = await api.post(path, data=lines(*requests(2)), kind=NDJSON)
    job = answer.json
    assert answer.status == 202
    assert (job["priority"], job["metadata"], job["callback_url"]) == (-3, {"k": "v"}, "https://example.org/hook")
    assert job["deadline_at"] == "2026-01-01T00:00:01.500000Z"
    assert job["provider_batches"]["total"] == 2
    assert (await api.record(job["id"])).provider == "anthropic"


async def test_params_are_kept_byte_for_byte(autojump_clock, api_on_each):
    params = b'{ "max_tokens":10 ,"model":"m", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}], "x": 1.50 }'
    body = b'{"custom_id":"a","params":' + params + b"}\r\n\n"
    answer = await api_on_each.post("/v1/batches", data=body, kind=NDJSON)
    assert await stored_requests(api_on_each, answer.json["id"]) == [params]


async def test_a_byte_order_mark_at_the_start_of_ndjson_is_passed_over(autojump_clock, api):
    mark = b"\xef\xbb\xbf"
    answer = await api.post("/v1/batches", data=mark + lines(*requests(2)), kind=NDJSON)
    assert (answer.status, answer.json["request_counts"]["total"]) == (202, 2)
    answer = await api.post("/v1/batches", data=lines(*requests(1)) + mark + lines(*requests(1)), kind=NDJSON)
    assert (answer.status, answer.json["error"]["details"][0]["line"]) == (422, 2)


async def test_a_gzip_body_is_decoded(autojump_clock, api):
    body = gzip.compress(lines(*requests(2)))
    answer = await api.post("/v1/batches", data=body, kind=NDJSON, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["request_counts"]["total"]) == (202, 2)


async def test_the_old_base_answers_too(autojump_clock, api):
    answer = await api.post("/api/batches", json={"requests": requests(1)})
    assert answer.status == 202
    assert (await api.get(f"/api/jobs/{answer.json['id']}")).status == 200


async def test_the_location_begins_with_the_public_url(autojump_clock):
    async with open_api(public_url="https://batch.example.org/x/") as api:
        answer = await api.post("/v1/batches", json={"requests": requests(1)})
    assert answer.headers["Location"] == f"https://batch.example.org/x/v1/batches/{answer.json['id']}"


@pytest.mark.parametrize("order", [("defaults", "requests"), ("requests", "defaults")])
async def test_defaults_go_under_the_params_wherever_they_stand_in_a_small_body(autojump_clock, api, order):
    members = {
        "defaults": {"model": "m", "max_tokens": 5, "system": "s"},
        "requests": [{"custom_id": "a", "params": {"messages": [1], "max_tokens": 6}}],
    }
    answer = await api.post("/v1/batches", json={name: members[name] for name in order})
    assert answer.status == 202
    (params,) = await stored_requests(api, answer.json["id"])
    assert msgspec.json.decode(params) == {"model": "m", "max_tokens": 6, "system": "s", "messages": [1]}


async def test_defaults_before_the_requests_of_a_large_body_are_merged(autojump_clock, api):
    padded = [request(n, max_tokens=7, system="x" * 5000) for n in range(400)]
    for row in padded:
        del row["params"]["model"]
    answer = await api.post("/v1/batches", json={"defaults": {"model": "late"}, "requests": padded})
    assert answer.status == 202
    assert {msgspec.json.decode(p)["model"] for p in await stored_requests(api, answer.json["id"])} == {"late"}


async def test_defaults_behind_the_requests_of_a_large_body_are_refused(autojump_clock, api):
    padded = [request(n, system="x" * 5000) for n in range(ANY_ORDER_BYTES // 5000 + 100)]
    answer = await api.post("/v1/batches", json={"requests": padded, "defaults": {"system": "late"}})
    assert answer.code == (422, "defaults_too_late")
    assert await api.staged() == 0


async def test_a_dry_run_checks_and_keeps_nothing(autojump_clock, api):
    answer = await api.post("/v1/batches?dry_run=true", json={"requests": requests(3)})
    assert answer.status == 200
    assert (answer.json["valid"], answer.json["request_counts"]["total"]) == (True, 3)
    assert (await api.get("/v1/jobs")).json["data"] == []
    assert (await api.staged(), api.rung) == (0, [])


async def test_a_dry_run_finds_what_is_wrong(autojump_clock, api):
    answer = await api.post("/v1/batches?dry_run=true", data=lines(request(1), request(1)), kind=NDJSON)
    assert answer.code == (422, "custom_id_duplicate")


async def test_every_failing_line_is_reported(autojump_clock, api_on_each):
    body = lines(
        request(1), b"", b"{nonsense", request(2, max_tokens=0), request(1), {**request(3), "x": 1},
        request(4, stream=True), b'{"custom_id":"n","params":{"model":"\\u0000","max_tokens":1,"messages":[1]}}',
    )  # fmt: skip
    answer = await api_on_each.post("/v1/batches", data=body, kind=NDJSON)
    assert answer.code == (422, "invalid_requests")
    assert answer.error["param"] == "lines[3]"
    assert [(row["line"], row["custom_id"], row["param"]) for row in answer.error["details"]] == [
        (3, None, None), (4, "c-2", "params.max_tokens"), (5, "c-1", "custom_id"), (6, "c-3", "x"),
        (7, "c-4", "params.stream"), (8, "n", None),
    ]  # fmt: skip
    assert answer.error["message"].startswith("6 requests are not valid, nothing was stored. lines[3]: ")
    assert (await api_on_each.staged(), (await api_on_each.get("/v1/jobs")).json["data"]) == (0, [])


async def test_duplicates_alone_have_their_own_code_and_name_both_places(autojump_clock, api_on_each):
    rows = [*requests(1500), request(3), request(1499), request(7)]
    answer = await api_on_each.post("/v1/batches", json={"requests": rows})
    assert answer.code == (422, "custom_id_duplicate")
    assert answer.error["param"] == "requests[1500].custom_id"
    assert [(row["index"], row["custom_id"]) for row in answer.error["details"]] == [
        (1500, "c-3"), (1501, "c-1499"), (1502, "c-7"),
    ]  # fmt: skip
    assert answer.error["details"][1]["message"] == "The custom_id 'c-1499' is also that of requests[1499]."


async def test_places_of_duplicates_count_blank_and_failing_lines(autojump_clock, api):
    answer = await api.post("/v1/batches", data=lines(b"", request(1), b"[]", b"", request(2), request(1)), kind=NDJSON)
    assert answer.error["details"][1] == {
        "line": 6, "custom_id": "c-1", "param": "custom_id", "message": "The custom_id 'c-1' is also that of line 2.",
    }  # fmt: skip


async def test_a_report_has_the_first_thousand_rows_and_the_number_of_all(autojump_clock, api):
    rows = [request(n % 1200, max_tokens=0 if n % 2 else 1) for n in range(4000)]
    answer = await api.post("/v1/batches", json={"requests": rows})
    details = answer.error["details"]
    assert (len(details), details[-1]["index"]) == (1000, 1599)
    assert answer.error["message"].startswith("3,400 requests are not valid")


BAD: list[tuple[str, bytes, tuple[int, str], str | None]] = [
    ("empty", b'{"requests":[]}', (422, "empty_batch"), "requests"),
    ("no requests", b"{}", (422, "missing_field"), "requests"),
    ("not an array", b'{"requests":{}}', (422, "invalid_type"), "requests"),
    ("not JSON", b'{"requests":[', (400, "invalid_json"), None),
    ("array", b"[]", (422, "invalid_type"), None),
    ("broken item", b'{"requests":[{"custom_id":nope}]}', (400, "invalid_json"), "requests[0]"),
    ("agent", b'{"agent":{"tool":[]},"requests":[]}', (422, "unknown_field"), "agent.tool"),
    ("unknown", b'{"requests":[],"x":1}', (422, "unknown_field"), "x"),
    ("twice", b'{"priority":1,"priority":2,"requests":[]}', (400, "duplicate_key"), "priority"),
    ("provider", b'{"provider":"nobody","requests":[]}', (422, "unknown_provider"), "provider"),
    ("type", b'{"priority":"1","requests":[]}', (422, "invalid_type"), "priority"),
    ("range", b'{"priority":2147483648,"requests":[]}', (422, "out_of_range"), "priority"),
    ("deadline", b'{"deadline_seconds":0,"requests":[]}', (422, "out_of_range"), "deadline_seconds"),
    ("chunk", b'{"chunk_items":0,"requests":[]}', (422, "out_of_range"), "chunk_items"),
    ("metadata", b'{"metadata":[],"requests":[]}', (422, "invalid_type"), "metadata"),
    ("NUL", b'{"metadata":{"a":"\\u0000"},"requests":[]}', (422, "invalid_text"), "metadata.a"),
    ("surrogate", b'{"metadata":{"a":"\\ud800"},"requests":[]}', (422, "invalid_text"), "metadata.a"),
    ("NaN", b'{"metadata":{"a":NaN},"requests":[]}', (400, "invalid_json"), None),
    ("callback", b'{"callback_url":"ftp://x","requests":[]}', (422, "callback_url_invalid"), "callback_url"),
    (
        "private",
        b'{"callback_url":"http://127.0.0.1/","requests":[]}',
        (422, "callback_url_forbidden"),
        "callback_url",
    ),
]


@pytest.mark.parametrize(("body", "code", "param"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_a_bad_json_body_is_refused(autojump_clock, api, body, code, param):
    answer = await api.post("/v1/batches", data=body)
    assert (answer.code, answer.error.get("param")) == (code, param)
    assert await api.staged() == 0


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("metadata=[]", "invalid_type", "metadata"),
        ("metadata={", "invalid_value", "metadata"),
        ('metadata={"a":1,"a":2}', "invalid_value", "metadata"),
        ("metadata=" + '{"a":"%s"}' % ("x" * 7000), None, None),
        ("priority=1.5", "invalid_value", "priority"),
        ("deadline_seconds=0", "invalid_value", "deadline_seconds"),
        ("deadline_seconds=nan", "invalid_value", "deadline_seconds"),
        ("chunk_items=0", "invalid_value", "chunk_items"),
        ("dry_run=yes", "invalid_value", "dry_run"),
        ("agent=x", "invalid_value", "agent"),
        ("provider=nobody", "unknown_provider", "provider"),
        ("callback_url=http://10.0.0.1/", "callback_url_forbidden", "callback_url"),
    ],
)
async def test_a_bad_option_of_an_ndjson_batch_is_refused(autojump_clock, api, query, code, param):
    answer = await api.post(f"/v1/batches?{query}", data=lines(request(1)), kind=NDJSON)
    expected: Any = (202, None, None) if code is None else (422, code, param)
    assert (answer.status, *((answer.error["code"], answer.error["param"]) if code else (None, None))) == expected


async def test_options_of_a_json_batch_are_not_taken_from_the_query(autojump_clock, api):
    answer = await api.post("/v1/batches?priority=1", json={"requests": requests(1)})
    assert answer.code == (422, "unknown_parameter")


async def test_metadata_above_16_kb_is_refused(autojump_clock, api):
    answer = await api.post("/v1/batches", json={"requests": requests(1), "metadata": {"a": "x" * 16384}})
    assert answer.code == (422, "metadata_too_large")


async def test_private_callbacks_are_taken_where_the_settings_allow_them(autojump_clock):
    async with open_api(allow_private_callbacks=True) as api:
        assert (await api.batch(callback_url="http://127.0.0.1:9000/hook"))["callback_url"]


async def test_a_request_above_the_providers_limit_is_refused_with_its_place(autojump_clock, api):
    large = "x" * LIMITS.max_item_bytes
    answer = await api.post("/v1/batches", json={"requests": [request(0), request(1, system=large)]})
    assert answer.code == (422, "invalid_requests")
    assert [row["index"] for row in answer.error["details"]] == [1]


async def test_a_request_that_defaults_make_too_large_is_refused(autojump_clock, api):
    answer = await api.post(
        "/v1/batches", json={"defaults": {"system": "x" * (LIMITS.max_item_bytes - 20)}, "requests": requests(1)}
    )
    assert answer.code == (422, "invalid_requests")


async def test_more_items_than_a_job_may_have_are_refused(autojump_clock, api):
    answer = await api.post("/v1/batches", data=lines(*requests(LIMITS.max_items_per_job + 1)), kind=NDJSON)
    assert answer.code == (422, "too_many_items")
    assert await api.staged() == 0


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_above_the_limit_is_refused(autojump_clock, api, announced):
    body = lines(*(request(n, system="x" * 60_000) for n in range(80)))
    headers = {} if announced else {"Transfer-Encoding": "chunked"}
    answer = await api.post("/v1/batches", data=body, kind=NDJSON, headers=headers)
    assert answer.code == (413, "request_too_large")
    assert await api.staged() == 0


async def test_another_content_type_is_refused(autojump_clock, api):
    assert (await api.post("/v1/batches", data=b"{}", kind="text/plain")).code == (415, "unsupported_media_type")
    assert (await api.post("/v1/batches")).code == (415, "unsupported_media_type")


async def test_agent_ids_of_items_are_kept(autojump_clock, api):
    job = await api.post("/v1/batches", json={"requests": [{**request(0), "agent_id": "agent-1"}]})
    items = (await api.get(f"/v1/batches/{job.json['id']}/items")).json
    assert items["data"][0]["agent_id"] == "agent-1"
