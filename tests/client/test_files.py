"""Uploading files and having batches made of them, against the whole application."""

from __future__ import annotations

import io

import httpx2
import pytest
from tests.client.fakes import job, ok, script
from tests.client.test_methods import client_of
from tests.http.api import open_api

from backburner import Client
from backburner.client import files
from backburner.client.errors import ApiError
from backburner.client.files import PART_BYTES

DATA = b"x" * PART_BYTES + b"y" * PART_BYTES + b"z"


async def test_a_file_is_uploaded_in_parts_and_told_of(autojump_clock):
    async with open_api() as api, client_of(api) as client:
        told: list[tuple[int, int | None]] = []
        done = await client.upload_file(io.BytesIO(DATA), name="a.csv", on_progress=lambda *p: told.append(p))
        assert (done.name, done.status, done.bytes) == ("a.csv", "complete", len(DATA))
        assert [n for n, _ in told] == [PART_BYTES, 2 * PART_BYTES, len(DATA)]
        assert [file.id async for file in client.files()] == [done.id]
        assert (await client.file(done.id)).bytes == len(DATA)
        await client.delete_file(done.id)
        with pytest.raises(ApiError):
            await client.file(done.id)


async def test_a_resumed_upload_sends_only_what_is_missing(autojump_clock, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(DATA)
    async with open_api() as api, client_of(api) as client:
        begun = await client._call(files.create_file("a.jsonl", None, None))
        await client._call(files.put_part(begun.id, files.FilePart(2, DATA[PART_BYTES : 2 * PART_BYTES])))
        before = (await api.get("/v1/admin/audit?action=file.put_part")).json["data"]
        done = await client.upload_file(path, resume=begun.id)
        after = (await api.get("/v1/admin/audit?action=file.put_part")).json["data"]
        assert (done.id, done.bytes, len(after) - len(before)) == (begun.id, len(DATA), 2)


def test_the_synchronous_client_asks_alike(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"abc")
    file = {"id": "file-1", "name": "a.jsonl"}
    server = script(ok(file, 201), ok({}), ok(file | {"status": "complete"}), ok(job("pending"), 202))
    with Client("http://server", "bb_key", transport=server.transport) as client:
        done = client.upload_file(path)
        client.ingest(file_id=done.id, template="{a}", job_metadata={"b": 1})
    assert server.paths[:1] == ["POST /v1/files"]
    assert server.paths[1].startswith("PUT /v1/files/file-1/parts/1?sha256=ba7816bf")
    assert server.paths[2:] == ["POST /v1/files/file-1/complete", "POST /v1/jobs"]
    assert server.bodies == [
        b'{"name":"a.jsonl","bytes":3}',
        b"abc",
        b'{"parts":1}',
        b'{"handler":"ingest_file","input":{"file_id":"file-1","template":"{a}"},"metadata":{"b":1}}',
    ]
    assert server.asked[1].headers["content-type"] == "application/octet-stream"


def test_a_part_whose_answer_is_lost_is_sent_again(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"abc")
    file = {"id": "file-1"}
    server = script(ok(file, 201), httpx2.ReadError("reset"), ok({}), ok(file))
    with Client("http://server", "bb_key", transport=server.transport, sleep=lambda _: None) as client:
        client.upload_file(path)
    assert [path[:4] for path in server.paths] == ["POST", "PUT ", "PUT ", "POST"]
