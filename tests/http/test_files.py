"""`/v1/files`: uploaded in parts, resumed, bounded, completed, gone."""

from __future__ import annotations

import gzip
import hashlib
from datetime import timedelta

import pytest
import trio
from tests.http.api import Answer, Api, open_api

from backburner.errors import Conflict
from backburner.files import INGEST_FILE, MAX_PART_BYTES
from backburner.model import NewJob
from backburner.states import JobType
from backburner.storage import files, handler_jobs, tables
from backburner.storage.files import FileLimits

UNKNOWN = "file-00000000-0000-7000-8000-000000000000"


async def new(api: Api, key: str = "admin", **said) -> str:
    answer = await api.post("/v1/files", json={"name": "a.jsonl", **said}, key=key)
    assert answer.status == 201, answer.body
    return answer.json["id"]


async def put(api: Api, file: str, number: int | str, data: bytes, query: str = "", **more) -> Answer:
    path = f"/v1/files/{file}/parts/{number}{query}"
    return await api.call("PUT", path, data=data, kind="application/octet-stream", **more)


async def complete(api: Api, file: str, **said) -> Answer:
    return await api.post(f"/v1/files/{file}/complete", json=said)


async def content(api: Api, file: str) -> bytes:
    def read(tx) -> bytes:
        found = files.get_file(tx, 1, file)
        return b"".join(files.piece_of(tx, found.key, part.number, 0) for part in files.parts_of(tx, found))

    return await api.database.read(read)


async def wait_for(api: Api, file: str) -> None:
    """Queue a job that is to read the file."""
    now = api.services.clock.now()
    new = NewJob(
        id=api.services.ids.new("job"), job_type=JobType.JOB, organization_key=1, user_key=1, created_at=now,
        handler=INGEST_FILE, input={"file_id": file},
    )  # fmt: skip
    await api.database.write(handler_jobs.make_handler_job, new, handler_jobs.QueueRules(3), now=now)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_parts_in_any_order_make_a_file(autojump_clock, api):
    file = await new(api, bytes=11, sha256=sha256(b"hello world"))
    for number, data in ((3, b"ld"), (1, b"hello "), (2, b"wor")):
        answer = await put(api, file, number, data)
        assert (answer.status, answer.json["bytes"], answer.json["sha256"]) == (200, len(data), sha256(data))
    done = await complete(api, file, parts=3)
    assert (done.status, done.json["status"], done.json["bytes"]) == (200, "complete", 11)
    assert done.json["sha256"] == sha256(b"hello world")
    assert await content(api, file) == b"hello world"


async def test_a_broken_upload_sees_what_it_need_not_send_again(autojump_clock, api):
    file = await new(api)
    await put(api, file, 1, b"a")
    await put(api, file, 3, b"ccc")
    found = (await api.get(f"/v1/files/{file}")).json
    assert [(part["number"], part["bytes"]) for part in found["parts"]["data"]] == [(1, 1), (3, 3)]
    assert (found["status"], found["bytes"], found["parts"]["total"]) == ("uploading", 4, 2)
    answer = await complete(api, file)
    assert answer.code == (409, "file_incomplete")
    assert "part 2 of 3 is missing" in answer.error["message"]


async def test_a_part_sent_again_changes_nothing_and_another_replaces_it(autojump_clock, api):
    file = await new(api)
    await put(api, file, 1, b"first")
    before = (await api.get(f"/v1/files/{file}")).json
    await trio.sleep(5)
    assert (await put(api, file, 1, b"first")).status == 200
    assert (await api.get(f"/v1/files/{file}")).json == before
    assert (await put(api, file, 1, b"2nd")).status == 200
    assert await content(api, file) == b"2nd"
    assert (await complete(api, file, bytes=3)).status == 200


async def test_a_complete_file_does_not_change_any_more(autojump_clock, api):
    file = await new(api)
    await put(api, file, 1, b"whole")
    first = await complete(api, file)
    assert (await complete(api, file)).json == first.json
    assert (await put(api, file, 1, b"whole")).status == 200
    assert (await put(api, file, 1, b"other")).code == (409, "file_complete")
    assert (await put(api, file, 2, b"more")).code == (409, "file_complete")


@pytest.mark.parametrize(
    ("announced", "said", "code"),
    [
        ({"bytes": 4}, {}, (409, "file_incomplete")),
        ({}, {"bytes": 6}, (409, "file_incomplete")),
        ({}, {"parts": 1}, (409, "file_incomplete")),
        ({}, {"parts": 3}, (409, "file_incomplete")),
        ({"sha256": sha256(b"other")}, {}, (422, "checksum_mismatch")),
        ({}, {"sha256": sha256(b"other")}, (422, "checksum_mismatch")),
        ({"sha256": sha256(b"abcde")}, {"sha256": sha256(b"x")}, (409, "file_changed")),
    ],
)
async def test_what_is_said_of_a_file_has_to_be_true(autojump_clock, api, announced, said, code):
    file = await new(api, **announced)
    await put(api, file, 1, b"abc")
    await put(api, file, 2, b"de")
    assert (await complete(api, file, **said)).code == code
    assert (await api.get(f"/v1/files/{file}")).json["status"] == "uploading"


async def test_a_part_that_came_while_a_file_was_completed_is_not_lost(autojump_clock, api):
    file = await new(api)
    await put(api, file, 1, b"a")
    seen = await api.database.read(files.get_file, 1, file)
    await put(api, file, 2, b"b")
    with pytest.raises(Conflict, match="Another part"):
        await api.database.write(files.complete_file, 1, seen, sha256=None, now=api.services.clock.now())


async def test_a_part_with_the_wrong_digest_is_not_stored(autojump_clock, api):
    file = await new(api)
    assert (await put(api, file, 1, b"abc", f"?sha256={sha256(b'abd')}")).code == (422, "checksum_mismatch")
    assert (await api.get(f"/v1/files/{file}")).json["parts"] == {"total": 0, "data": []}
    assert (await put(api, file, 1, b"abc", f"?sha256={sha256(b'abc')}")).status == 200


async def test_a_gzipped_part_is_stored_as_what_it_holds(autojump_clock, api):
    file = await new(api)
    answer = await put(api, file, 1, gzip.compress(b"abc"), headers={"Content-Encoding": "gzip"})
    assert answer.json["bytes"] == 3
    assert await content(api, file) == b"abc"


@pytest.mark.parametrize(
    ("number", "sent", "code"),
    [
        (0, {}, (404, "not_found")),
        ("x", {}, (404, "not_found")),
        (100_001, {}, (404, "not_found")),
        (1, {"data": b""}, (422, "empty_part")),
        (1, {"kind": "application/json"}, (415, "unsupported_media_type")),
        (1, {"data": bytes(MAX_PART_BYTES + 1)}, (413, "request_too_large")),
    ],
)
async def test_what_is_no_part_is_refused(autojump_clock, api, number, sent, code):
    file = await new(api)
    whole = {"data": b"x", "kind": "application/octet-stream", **sent}
    answer = await api.call("PUT", f"/v1/files/{file}/parts/{number}", **whole)
    assert answer.code == code
    assert (await api.get(f"/v1/files/{file}")).json["bytes"] == 0


async def test_a_file_and_all_files_of_an_organization_are_bounded(autojump_clock):
    async with open_api(files=FileLimits(most=10, of_organization=15)) as api:
        answer = await api.post("/v1/files", json={"name": "a", "bytes": 11})
        assert answer.code == (422, "file_too_large")
        first, second = await new(api), await new(api)
        assert (await put(api, first, 1, b"123456")).status == 200
        assert (await put(api, first, 2, b"12345")).code == (422, "file_too_large")
        assert (await put(api, second, 1, b"1234567890")).code == (429, "quota_file_bytes")
        assert (await put(api, second, 1, b"123456789")).status == 200
        assert (await put(api, second, 1, b"12345678")).status == 200
        assert (await put(api, await new(api, "other"), 1, b"1", key="other")).status == 200
        await api.call("DELETE", f"/v1/files/{first}")
        assert (await put(api, second, 1, b"1234567890")).status == 200


async def test_parts_are_received_a_few_at_a_time(autojump_clock):
    async with open_api(parts_at_once=trio.CapacityLimiter(1)) as api:
        file = await new(api)
        api.services.parts_at_once.acquire_on_behalf_of_nowait("somebody")
        answer = await put(api, file, 1, b"x")
        assert answer.code == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        api.services.parts_at_once.release_on_behalf_of("somebody")
        assert [(await put(api, file, 1, b"x")).status for _ in range(2)] == [200, 200]


async def test_files_are_listed_newest_first_and_to_their_organization_only(autojump_clock, api):
    made = []
    for _ in range(3):
        made.append(await new(api))
        await trio.sleep(1)
    await new(api, "other")
    listed = (await api.get("/v1/files?limit=2")).json
    assert ([file["id"] for file in listed["data"]], listed["has_more"]) == ([made[2], made[1]], True)
    assert listed["data"][0]["parts"] == {"total": 0}
    assert (await api.get(f"/v1/files/{made[0]}", key="other")).code == (404, "not_found")
    assert (await put(api, made[0], 1, b"x", key="other")).code == (404, "not_found")
    assert (await api.get(f"/v1/files/{UNKNOWN}")).code == (404, "not_found")


async def test_a_deleted_file_is_gone_at_once_and_its_bytes_are_swept(autojump_clock, api):
    file, other = await new(api), await new(api)
    for number in (1, 2, 3):
        await put(api, file, number, b"x")
    await put(api, other, 1, b"y")
    assert (await api.call("DELETE", f"/v1/files/{file}")).json["id"] == file
    assert (await api.get(f"/v1/files/{file}")).status == 404
    assert (await put(api, file, 4, b"x")).status == 404
    gone = [await api.database.write(files.sweep_parts, most=2) for _ in range(4)]
    assert gone == [2, 1, 1, 0]
    left = await api.database.read(lambda tx: tx.execute(tables.file_parts.select()).all())
    assert [row.data for row in left] == [b"y"]


async def test_what_nobody_uses_expires_and_use_puts_it_off(autojump_clock, api):
    file, used, spared = await new(api), await new(api), await new(api)
    found = (await api.get(f"/v1/files/{file}")).json
    assert found["created_at"][:10] == "2026-01-01"
    assert found["expires_at"][:10] == "2026-01-04"
    await trio.sleep(3600)
    await put(api, used, 1, b"x")
    await wait_for(api, spared)
    now = api.services.clock.now()
    before = now - timedelta(seconds=60)
    assert await api.database.write(files.expire_files, before=before, now=now) == 1
    assert await api.database.write(files.expire_files, before=before, now=now) == 0
    listed = (await api.get("/v1/files")).json["data"]
    assert {row["id"] for row in listed} == {used, spared}


@pytest.mark.postgresql
async def test_files_are_kept_on_postgresql_too(postgres_database):
    async with open_api(postgres_database, files=FileLimits(of_organization=300_000)) as api:
        file, data = await new(api), bytes(range(256)) * 1000
        assert (await put(api, file, 1, data)).status == 200
        assert (await put(api, file, 2, data)).code == (429, "quota_file_bytes")
        assert (await put(api, file, 2, b"end")).status == 200
        assert (await complete(api, file, sha256=sha256(data + b"end"))).status == 200
        assert await content(api, file) == data + b"end"
        await api.call("DELETE", f"/v1/files/{file}")
        assert [await api.database.write(files.sweep_parts, most=9) for _ in range(3)] == [2, 1, 0]
