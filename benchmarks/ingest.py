"""A large file through `ingest_file`: how fast its lines are taken in, and in how much memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import httpx2
import msgspec

from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, repeated
from benchmarks.watching import Memory, watched_server

PART = 4 * 1024 * 1024
LOOK = 0.05  # seconds
WARM = 1_000  # lines, so that what is loaded once does not count as growth
#: It reads and stores; polling would be another measure.
ENVIRON = {"BACKBURNER_ENABLE_BATCH_JOB_POLLING": "false"}


@attrs.define
class Found:
    """Of every run."""

    rates: list[float] = attrs.field(factory=list)  # lines a second
    upload: list[float] = attrs.field(factory=list)  # MB a second
    growth: list[float] = attrs.field(factory=list)  # MB


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        found = Found()
        repeated(partial(_run, database, options.items, found), options.runs)
        what = f"ingest_file of {options.items:,} lines, {database}"
        rows += [
            Row(what=what, unit="lines/s", ours=middle(found.rates)),
            Row(what=f"{what}: upload in parts", unit="MB/s", ours=middle(found.upload)),
            Row(what=f"{what}: memory growth", unit="MB", ours=middle(found.growth), target=64.0, better="less"),
        ]
    return rows


def _run(database: str, items: int, found: Found) -> None:
    with (
        fresh(database) as (folder, url),
        watched_server(folder, {"BACKBURNER_DATABASE_URL": url, **ENVIRON}) as server,
        server.client() as client,
    ):
        _ingested(client, _uploaded(client, WARM))
        began = time.perf_counter()
        file = _uploaded(client, items)
        found.upload.append(file["bytes"] / 1e6 / (time.perf_counter() - began))
        with Memory(server) as memory:
            found.rates.append(items / _ingested(client, file))
        found.growth.append(memory.growth)


def _uploaded(client: httpx2.Client, items: int) -> dict[str, Any]:
    file = client.post("/v1/files", json={"name": "bench.jsonl"}).raise_for_status().json()
    headers = {"content-type": "application/octet-stream"}
    for number, part in enumerate(_parts(items), 1):
        client.put(f"/v1/files/{file['id']}/parts/{number}", content=part, headers=headers).raise_for_status()
    done: dict[str, Any] = client.post(f"/v1/files/{file['id']}/complete").raise_for_status().json()
    return done


def _parts(items: int) -> Iterator[bytes]:
    params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "x" * 90}]}
    fixed, gathered = msgspec.json.encode(params), bytearray()
    for number in range(items):
        gathered += b'{"custom_id":"item-%07d","params":%b}\n' % (number, fixed)
        if len(gathered) >= PART:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _ingested(client: httpx2.Client, file: dict[str, Any]) -> float:
    """Seconds from queueing the job to its end."""
    asked = {"handler": "ingest_file", "input": {"file_id": file["id"]}}
    began = time.perf_counter()
    job = client.post("/v1/jobs", json=asked).raise_for_status().json()
    while job["status"] not in ("completed", "failed"):
        time.sleep(LOOK)
        job = client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
    if job["status"] != "completed":
        raise RuntimeError(f"the file was not taken in: {job['error']}")
    return time.perf_counter() - began
