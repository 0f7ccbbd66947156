"""`POST /v1/jobs` with a handler: checked, queued, bounded, cancelled."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
import pytest
import trio
from tests.http.api import open_api
from tests.world import open_world

from backburner import App
from backburner.ingestion.ingest import Ingestion, IngestRules, ingest_handler
from backburner.storage import tables

app = App()


@app.handler("resize", max_attempts=7)
def resize(path: str, width: Annotated[int, msgspec.Meta(ge=1)] = 100) -> str:
    return path


@asynccontextmanager
async def opened(**options):
    async with open_api(handlers=app.handlers, **options) as api:
        yield api


async def test_a_job_with_a_handler_is_queued(autojump_clock):
    async with opened() as api:
        answer = await api.post("/v1/jobs", json={"handler": "resize", "input": {"path": "a"}, "priority": 3})
        assert answer.status == 202
        job = answer.json
        assert (job["status"], job["handler"], job["input"]) == ("pending", "resize", {"path": "a"})
        assert api.rung == ["work"]
        assert answer.headers["location"].endswith(job["id"])


async def test_an_unknown_handler_is_answered_with_the_known_ones(autojump_clock):
    async with opened() as api:
        answer = await api.post("/v1/jobs", json={"handler": "shrink"})
        assert (answer.code, answer.error["param"]) == ((422, "unknown_handler"), "handler")
        assert "resize" in answer.error["message"]


@pytest.mark.parametrize(
    ("given", "code", "place"),
    [
        ({"path": 1}, "invalid_type", "input.path"),
        ({"path": "a", "width": 0}, "out_of_range", "input.width"),
        ({}, "missing_field", "input.path"),
        ({"path": "a", "height": 2}, "unknown_field", "input.height"),
        ("a", "invalid_type", "input"),
        (None, "missing_field", "input.path"),
    ],
)
async def test_wrong_input_names_the_field(autojump_clock, given, code, place):
    async with opened() as api:
        answer = await api.post("/v1/jobs", json={"handler": "resize", "input": given})
        assert (answer.code, answer.error["param"]) == ((422, code), place)


async def test_a_full_queue_answers_429_and_when_to_come_again(autojump_clock):
    async with opened(max_queued_jobs=2) as api:
        sent = {"handler": "resize", "input": {"path": "a"}}
        assert [(await api.post("/v1/jobs", json=sent)).status for _ in range(2)] == [202, 202]
        answer = await api.post("/v1/jobs", json=sent)
        assert answer.code == (429, "queue_full")
        assert int(answer.headers["retry-after"]) > 0
        assert (await api.post("/v1/jobs", json={})).status == 202


async def test_the_status_follows_the_work_and_is_not_the_clients_to_set(autojump_clock):
    async with opened() as api:
        job = (await api.post("/v1/jobs", json={"handler": "resize", "input": {"path": "a"}})).json
        answer = await api.call("PATCH", f"/v1/jobs/{job['id']}", json={"status": "running"})
        assert answer.code == (409, "status_not_settable")


async def test_a_queued_job_is_cancelled_at_once_and_leaves_the_queue(autojump_clock):
    async with opened() as api:
        job = (await api.post("/v1/jobs", json={"handler": "resize", "input": {"path": "a"}})).json
        answer = await api.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")
        assert await api.database.read(lambda tx: tx.execute(tables.work.select()).all()) == []


async def test_without_background_the_answer_comes_when_the_time_is_up_at_the_latest(autojump_clock):
    async with opened() as api:
        sent = {"handler": "resize", "input": {"path": "a"}, "background": False, "timeout_seconds": 20}
        answer = await api.post("/v1/jobs", json=sent)
        assert (answer.status, answer.json["status"]) == (202, "pending")
        assert 20 <= trio.current_time() < 21


async def test_an_input_of_the_right_types_that_can_come_to_nothing_is_refused_too(autojump_clock, tmp_path):
    async with open_world() as world:
        rules = IngestRules(folder=str(tmp_path), max_items_per_job=3)
        ingestion = Ingestion(database=world.database, clock=world.clock, ids=world.ids, rules=rules)
    async with open_api(handlers={"ingest_file": ingest_handler(ingestion)}) as api:
        for given, code, place in (
            ({}, "missing_field", "input.file_id"),
            ({"file_id": "a", "path": "b"}, "missing_field", "input.file_id"),
            ({"path": "../b.jsonl"}, "path_not_allowed", "input.path"),
            ({"path": "b.txt"}, "unknown_format", "input.format"),
            ({"path": "b.csv"}, "missing_field", "input.template"),
            ({"file_id": "a", "template": "x }"}, "invalid_template", "input.template"),
            ({"file_id": "a", "delimiter": "::"}, "invalid_value", "input.delimiter"),
            ({"file_id": "a", "provider": "x"}, "unknown_provider", "input.provider"),
            ({"file_id": "a", "callback_url": "http://10.0.0.1/"}, "callback_url_forbidden", "input.callback_url"),
            ({"file_id": "a", "priority": "x"}, "invalid_type", "input.priority"),
            ({"file_id": "a", "chunk_items": 0}, "out_of_range", "input.chunk_items"),
        ):
            answer = await api.post("/v1/jobs", json={"handler": "ingest_file", "input": given})
            assert (answer.code, answer.error["param"]) == ((422, code), place)
        answer = await api.post("/v1/jobs", json={"handler": "ingest_file", "input": {"path": "b.jsonl"}})
        assert answer.status == 202
