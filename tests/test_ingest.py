"""`ingest_file` in a whole instance: from a file to one batch job, whatever happens in between."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import pytest
import sqlalchemy as sa
import trio
from tests.test_handlers import queue
from tests.world import Life, World, open_world

from backburner.errors import StorageUnavailable
from backburner.files import INGEST_FILE, Part
from backburner.ingestion.ingest import IngestRules
from backburner.model import Job, Principal
from backburner.states import JobStatus
from backburner.storage import files, tables
from backburner.storage.files import FileLimits
from backburner.storage.items import results_page

PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 9}
TEMPLATE = {**PARAMS, "messages": [{"role": "user", "content": "Of {city}: {what}"}]}


def line(number: int, **params) -> bytes:
    body = {**PARAMS, "messages": [{"role": "user", "content": f"n{number}"}], **params}
    return msgspec.json.encode({"custom_id": f"c-{number}", "params": body}) + b"\n"


def lines(count: int) -> bytes:
    return b"".join(map(line, range(count)))


async def stored(
    world: World, data: bytes, name: str = "a.jsonl", *, size: int = 100_000, complete: bool = True
) -> str:
    """An uploaded file in parts of `size` bytes."""
    now, limits = world.clock.now(), FileLimits()
    who = Principal(
        key_id="key-1", organization_key=1, organization_id="org", user_key=1, user_id="user", scopes=frozenset(),
        is_operator=True,
    )  # fmt: skip
    about = {"name": name, "expected_bytes": None, "sha256": None}
    file = await world.database.write(files.create_file, who, **about, limits=limits, now=now, ids=world.ids)
    for number, start in enumerate(range(0, len(data), size), 1):
        piece = data[start : start + size]
        part = Part(number, len(piece), hashlib.sha256(piece).hexdigest())
        file = await world.database.write(files.put_part, 1, file.id, part, piece, limits=limits, now=now)
    if complete:
        await world.database.write(files.complete_file, 1, file, sha256=None, now=now)
    return file.id


@asynccontextmanager
async def ingested(data: bytes, name: str = "a.jsonl", *, size: int = 100_000, **asked):
    """The ended job of a file, and the world it ran in."""
    async with open_world() as world, world.instance() as system:
        file = await stored(world, data, name, size=size)
        job = await queue(world, INGEST_FILE, {"file_id": file, **asked}, system=system, attempts=10)
        yield await world.ended(system, job), world


async def batches(world: World) -> list[Job]:
    query = sa.select(tables.jobs.c.public_id).where(tables.jobs.c.job_type == "batch")
    ids = await world.database.read(lambda tx: list(tx.execute(query).scalars()))
    return [await world.job(attrs.make_class("Named", ["id"])(public_id)) for public_id in ids]


async def requests_of(world: World) -> dict[str, Any]:
    """The params of the only batch by custom id."""
    query = sa.select(tables.items.c.custom_id, tables.requests.c.params).join(
        tables.requests,
        sa.and_(tables.requests.c.job_id == tables.items.c.job_id, tables.requests.c.idx == tables.items.c.request_idx),
    )
    rows = await world.database.read(lambda tx: tx.execute(query.order_by(tables.items.c.idx)).all())
    return {row.custom_id: msgspec.json.decode(row.params) for row in rows}


async def test_a_file_becomes_one_batch_that_runs(autojump_clock):
    async with ingested(lines(1200), size=7001, metadata={"mine": 1}, callback_url="https://example.com/h") as found:
        job, world = found
        assert (job.status, job.error) == (JobStatus.COMPLETED, None)
        (batch,) = await batches(world)
        assert job.result == {"job_id": batch.id, "requests": 1200}
        assert (batch.metadata["mine"], batch.metadata["parent_job_id"]) == (1, job.id)
        assert batch.callback_url == "https://example.com/h"
        await trio.sleep(600)
        text, _ = await world.database.read(results_page, batch, statuses=(), after=-1, limit=1_000_000)
        assert len(text.splitlines()) == 1200


async def test_progress_tells_of_files_bytes_and_lines(autojump_clock):
    data = lines(1500)
    async with ingested(data) as (job, _):
        assert job.metadata["progress"] == {
            "processed": len(data), "total": len(data), "message": "a.jsonl: 1,500 lines", "total_files": 1,
            "processed_files": 1, "bytes": len(data), "lines": 1500,
        }  # fmt: skip


async def test_wrong_lines_are_all_named_and_nothing_is_made(autojump_clock):
    data = line(1) + b"\n" + line(2, max_tokens=0) + b"{\n" + line(1) + line(5, model="")
    async with ingested(data) as (job, world):
        assert (job.status, job.error["code"], job.error["attempt"]) == (JobStatus.FAILED, "invalid_requests", 1)
        assert [(row["line"], row["custom_id"], row["param"]) for row in job.error["details"]] == [
            (3, "c-2", "params.max_tokens"), (4, None, None), (5, "c-1", "custom_id"), (6, "c-5", "params.model"),
        ]  # fmt: skip
        assert job.error["message"].startswith("4 requests are not valid, nothing was stored. lines[3]")
        assert await batches(world) == []


async def test_rows_of_csv_and_a_template_make_requests(autojump_clock):
    data = 'id,city,what\r\na1,"Köln, West","two\nlines ""quoted"""\r\n\r\na2,Ulm,{braces}\r\n'.encode()
    async with ingested(data, "t.csv", template=TEMPLATE, custom_id="id", size=5) as (job, world):
        assert job.error is None
        told = {key: params["messages"][0]["content"] for key, params in (await requests_of(world)).items()}
        assert told == {"a1": 'Of Köln, West: two\nlines "quoted"', "a2": "Of Ulm: {braces}"}


async def test_a_template_may_be_a_prompt_with_defaults_beside_it(autojump_clock):
    data = b"\xef\xbb\xbfcity\tcustom_id\nUlm\tx\n"
    async with ingested(data, "t.tsv", template="In {city}? {{}}", defaults={**PARAMS, "system": "s"}) as (job, world):
        assert job.error is None
        asked = {"messages": [{"role": "user", "content": "In Ulm? {}"}]}
        assert await requests_of(world) == {"x": {**PARAMS, "system": "s", **asked}}


async def test_wrong_rows_of_csv_are_named_by_their_lines(autojump_clock):
    data = b'city,what\na,b\nc\n"d\nd",e\nf,\xff\ng,h,i\n'
    async with ingested(data, "t.csv", template=TEMPLATE) as (job, _):
        found = {row["line"]: row["message"] for row in job.error["details"]}
        assert found == {
            3: "There are 1 fields; the header has 2.",
            6: "The row is not UTF-8.",
            7: "There are 3 fields; the header has 2.",
        }


async def test_rows_of_parquet_make_requests(autojump_clock):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"n": list(range(1200)), "city": ["Ulm"] * 1200, "unused": [None] * 1200, "what": [None] * 1200})
    file = io.BytesIO()
    parquet.write_table(table, file, row_group_size=500)
    template = {**TEMPLATE, "max_tokens": "{n}"}
    async with ingested(file.getvalue(), "t.parquet", template=template, size=3000) as (job, _):
        assert [(row["row"], row["param"]) for row in job.error["details"]] == [(1, "params.max_tokens")]
    async with ingested(file.getvalue(), "t.parquet", template=TEMPLATE, size=3000) as (job, world):
        assert job.error is None
        made = await requests_of(world)
        assert (len(made), made["row-1200"]["messages"][0]["content"]) == (1200, "Of Ulm: ")


async def test_rows_of_json_take_a_template_too(autojump_clock):
    data = b'{"city": "Ulm", "what": {"a": 1}, "custom_id": "x"}\n{"city": 1}\n[]\n'
    async with ingested(data, template=TEMPLATE, custom_id="custom_id") as (job, _):
        found = [(row["line"], row["message"][:30]) for row in job.error["details"]]
        assert found == [(2, "There is no column 'custom_id'"), (3, "The row is not a JSON object: ")]
    async with ingested(data.splitlines()[0], template=TEMPLATE, custom_id="custom_id") as (_, world):
        assert (await requests_of(world))["x"]["messages"][0]["content"] == 'Of Ulm: {"a":1}'


HOPELESS = [
    (b"x", "a.txt", {}, "unknown_format", "jsonl, csv, parquet"),
    (b"a\n", "a.csv", {}, "missing_field", "template"),
    (b"a,b\n1,2\n", "a.csv", {"template": "{c}"}, "unknown_column", "Its columns: 'a', 'b'"),
    (b"a,\xf6\n1,2\n", "a.csv", {"template": "{c}"}, "unknown_column", r"'a', '\udcf6'"),
    (b"a,a\n1,2\n", "a.csv", {"template": "{a}"}, "invalid_header", "'a' twice"),
    (b"\n", "a.csv", {"template": "{a}"}, "invalid_header", "names no columns"),
    (b"a\n" + b"x" * 300, "a.csv", {"template": "{a}"}, "line_too_long", "Line 2"),
    (b"a\n1\n", "a.csv", {"template": "{a"}, "invalid_template", "'{{'"),
    (b"PAR1", "a.parquet", {"template": "{a}"}, "invalid_file", "cannot be read as Parquet"),
    (b"\n\n", "a.jsonl", {}, "empty_batch", "at least one"),
    (b"x", "a.jsonl", {"provider": "other"}, "unknown_provider", "known: sandbox"),
    (b"x", "a.jsonl", {"callback_url": "http://127.0.0.1/"}, "callback_url_forbidden", "not allowed"),
]


async def test_what_can_become_no_batch_fails_at_once_and_says_why(autojump_clock):
    async with open_world() as world:
        world.ingest = IngestRules(max_item_bytes=200)
        async with world.instance() as system:
            for data, name, asked, code, told in HOPELESS:
                file = await stored(world, data, name)
                job = await queue(world, INGEST_FILE, {"file_id": file, **asked}, system=system, attempts=10)
                ended = await world.ended(system, job)
                assert (ended.status, ended.error["code"], ended.error["attempt"]) == (JobStatus.FAILED, code, 1)
                assert told in ended.error["message"]
            assert await batches(world) == []
            assert trio.current_time() < 60  # wrong files are no reason to leave the handler alone


async def test_files_of_others_unfinished_and_deleted_ones_are_not_read(autojump_clock):
    async with open_world() as world, world.instance() as system:
        unfinished = await stored(world, lines(1), complete=False)
        gone, theirs = await stored(world, lines(1)), await stored(world, lines(1))
        await world.database.write(files.delete_file, 1, gone, now=world.clock.now())
        await world.database.write(give_away, theirs, now=world.clock.now())
        found = []
        for file in (unfinished, gone, theirs):
            job = await queue(world, INGEST_FILE, {"file_id": file}, system=system)
            found.append((await world.ended(system, job)).error["code"])
        assert found == ["file_incomplete", "file_not_found", "file_not_found"]


def give_away(tx, file: str, *, now) -> None:
    tx.execute(tables.organizations.insert().values(id=2, public_id="org-2", name="second", created_at=now))
    tx.execute(tables.files.update().where(tables.files.c.public_id == file).values(organization_id=2))


@pytest.fixture
def folder(tmp_path):
    allowed = tmp_path / "allowed"
    (allowed / "inner").mkdir(parents=True)
    (allowed / "inner" / "a.jsonl").write_bytes(lines(3))
    (tmp_path / "secret.jsonl").write_bytes(lines(4))
    (allowed / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (allowed / "links").symlink_to(tmp_path)
    os.mkfifo(allowed / "pipe.jsonl")
    return allowed


PATHS = {
    "inner/a.jsonl": None,
    "{folder}/inner/a.jsonl": None,
    "./inner//a.jsonl": None,
    "../secret.jsonl": "path_not_allowed",
    "inner/../../secret.jsonl": "path_not_allowed",
    "{folder}/../secret.jsonl": "path_not_allowed",
    "/etc/passwd.jsonl": "path_not_allowed",
    "{folder}2/a.jsonl": "path_not_allowed",
    "link.jsonl": "file_not_found",
    "links/secret.jsonl": "file_not_found",
    "inner/missing.jsonl": "file_not_found",
    "inner/a.jsonl/b.jsonl": "file_not_found",
    "pipe.jsonl": "file_not_found",
}


async def test_only_files_below_the_allowed_folder_are_read(autojump_clock, folder):
    async with open_world() as world:
        world.ingest = IngestRules(folder=str(folder))
        async with world.instance() as system:
            found = {}
            for path in PATHS:
                job = await queue(world, INGEST_FILE, {"path": path.format(folder=folder)}, system=system)
                error = (await world.ended(system, job)).error
                found[path] = error and error["code"]
            assert found == PATHS
            assert [batch.counts.total for batch in await batches(world)] == [3, 3, 3]


async def test_without_an_allowed_folder_no_path_is_read(autojump_clock, folder):
    async with open_world() as world, world.instance() as system:
        job = await queue(world, INGEST_FILE, {"path": str(folder / "inner/a.jsonl")}, system=system)
        assert (await world.ended(system, job)).error["code"] == "ingest_folder_not_set"


async def test_an_instance_killed_at_any_write_leaves_one_batch_in_the_end(autojump_clock):
    made = [await killed_after(writes) for writes in range(6, 21, 2)]
    assert made == sorted(made)
    assert set(made) == {0, 1}  # before the batch was made, and between that and the job's end


async def killed_after(writes: int) -> int:
    """How many batches there were when the instance died; in the end there is one."""
    async with open_world() as world:
        file = await stored(world, lines(1500))
        job = await queue(world, INGEST_FILE, {"file_id": file}, attempts=10)
        seen, dead = [], trio.Event()

        def trouble(when: str) -> None:
            seen.append(when)
            if seen.count("after write") == writes:
                life.is_over = True
                dead.set()

        life = Life(trouble=trouble)
        async with world.doomed_instance(life):
            await dead.wait()
        found = len(await batches(world))
        async with world.instance() as system:
            await world.ended(system, job)
            (batch,) = await batches(world)
            assert (batch.counts and batch.counts.total) == 1500
        return found


async def test_a_database_that_was_away_costs_an_attempt_not_the_job(autojump_clock):
    async with open_world() as world:
        file = await stored(world, lines(2500))
        job = await queue(world, INGEST_FILE, {"file_id": file}, attempts=10)
        failures = iter([False] * 12 + [True])

        def trouble(when: str) -> None:
            if when == "before read" and next(failures, False):
                raise StorageUnavailable("gone")

        async with world.instance(Life(trouble=trouble)) as system:
            ended = await world.ended(system, job)
            assert (ended.status, ended.result["requests"]) == (JobStatus.COMPLETED, 2500)
            assert len(await batches(world)) == 1
