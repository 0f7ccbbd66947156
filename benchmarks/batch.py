"""One large batch over HTTP: accepted, ingested from a sandbox in a process of its own, downloaded."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import msgspec
from tests.processes.harness import await_end, sandbox, submit, using

from benchmarks import bare
from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, percentile, repeated
from benchmarks.watching import Latency, Memory, Watched, processor_time, watched_server

TEXT = "Please sort this ticket into one of our categories and answer it politely. " * 12
REPLY_BYTES = 420  # with the envelope around it, a result of about 1 KB
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
Samples = dict[str, list[float]]


@attrs.frozen(kw_only=True)
class Targets:
    """What design says, by database."""

    ingest: float
    raw: str


TARGETS = {
    "sqlite": Targets(ingest=40_000, raw="executemany"),
    "postgresql": Targets(ingest=25_000, raw="one COPY"),
}


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        found: Samples = defaultdict(list)
        repeated(partial(_run, database, options.items, found), options.runs)
        rows += _rows(database, {name: middle(values) for name, values in found.items()})
    return rows


def _run(database: str, items: int, found: Samples) -> None:
    with fresh(database) as (folder, url):
        _journey(folder, url, items, found)


def requests(count: int) -> bytes:
    """Requests of about 1 KB as NDJSON, written as Python's json module writes them by itself."""
    line = (
        '{"custom_id": "item-%d", "params": {"model": "claude-haiku-5-5", "max_tokens": 1024, '
        '"messages": [{"role": "user", "content": "%s%d"}]}}\n'
    )
    return "".join([line % (number, TEXT, number) for number in range(count)]).encode()


def _journey(folder: Path, url: str, items: int, found: Samples) -> None:
    body = requests(items)
    environ = {"BACKBURNER_DATABASE_URL": url, "BACKBURNER_CHUNK_BYTES": "190000000"}
    with (
        sandbox(folder, "--reply-bytes", str(REPLY_BYTES), "--batch-seconds", "0.2") as provider,
        watched_server(folder, environ | using(provider)) as server,
        server.client() as client,
    ):
        await_end(client, submit(client, requests(100))["id"])  # everything is loaded afterwards
        job = _accept(server, client, body, items, found)
        _ingest(server, client, job["id"], items, found)
        lines = _download(client, job["id"], items, found)
    _raw(folder, url, body, lines, found)


def _accept(server: Watched, client: httpx2.Client, body: bytes, items: int, found: Samples) -> dict[str, Any]:
    began, used = time.monotonic(), processor_time(server.popen.pid)
    with Memory(server) as memory:
        job = submit(client, body, chunk_items=str(items))
    ended = time.monotonic()
    found["accept"].append(items / (ended - began))
    found["accept cpu"].append((processor_time(server.popen.pid) - used) / items * 1e6)
    found["accept memory"].append(memory.growth)
    found["accept stall"].append(server.longest_stall(began, ended) * 1000)
    return job


def _ingest(server: Watched, client: httpx2.Client, job_id: str, items: int, found: Samples) -> None:
    with Latency(server, job_id) as latency:
        while not latency.job.get("provider_batches", {}).get("ended"):
            time.sleep(0.002)
        began, used = time.monotonic(), processor_time(server.popen.pid)
        with Memory(server) as memory:
            job = await_end(client, job_id)
        ended = time.monotonic()
    assert job["request_counts"]["succeeded"] == items, job["request_counts"]
    (batch,) = client.get(f"/v1/batches/{job_id}").json()["provider_batches"]["data"]
    found["ingest"].append(items / (_time(batch["ingested_at"]) - _time(batch["ended_at"])))
    found["ingest cpu"].append((processor_time(server.popen.pid) - used) / items * 1e6)
    found["ingest memory"].append(memory.growth)
    found["ingest stall"].append(server.longest_stall(began, ended) * 1000)
    took = latency.within(began, ended) or [0.0]
    found["latency p50"].append(percentile(took, 0.5) * 1000)
    found["latency p99"].append(percentile(took, 0.99) * 1000)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _download(client: httpx2.Client, job_id: str, items: int, found: Samples) -> list[bytes]:
    began = time.monotonic()
    with client.stream("GET", f"/v1/batches/{job_id}/results") as answer:
        text = b"".join(answer.iter_bytes())
    found["download"].append(items / (time.monotonic() - began))
    lines = text.splitlines()
    assert len(lines) == items
    return lines


def _raw(folder: Path, url: str, body: bytes, lines: list[bytes], found: Samples) -> None:
    results = [(1, n, 1, 1, "succeeded", line[line.index(b"{", 1) : -1].decode()) for n, line in enumerate(lines)]
    params = [bytes(item["params"]).decode() for item in map(_decode_item, body.splitlines())]
    accepted = [(1, n, f"item-{n}", n, len(text), text) for n, text in enumerate(params)]
    found["result bytes"].append(sum(len(row[-1]) for row in results) / len(results))
    if url.startswith("sqlite"):
        written, read = bare.append(folder, results, page=4000)
        found["raw accept"].append(bare.append(folder, accepted, page=1000)[0])
    else:
        written, read = bare.copy(url, results)
        found["raw accept"].append(bare.copy(url, accepted)[0])
    found["raw ingest"].append(written)
    found["raw download"].append(read)


_decode_item = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _rows(database: str, found: dict[str, float]) -> list[Row]:
    name, targets = NAMES[database], TARGETS[database]

    def rate(what: str, target: float, raw: str, **more: Any) -> Row:
        return Row(
            what=f"{what}, {name}",
            unit="items/s",
            ours=found[what],
            raw=found[f"raw {what}"],
            raw_name=raw,
            target=target,
            **more,
        )

    def least(what: str, key: str, unit: str, target: float | None) -> Row:
        return Row(what=f"{what}, {name}", unit=unit, ours=found[key], target=target, better="less")

    return [
        rate("accept", 25_000, targets.raw),
        least("accept: processor time of an item", "accept cpu", "µs", None),
        least("accept: memory growth", "accept memory", "MB", 64),
        least("accept: longest stall of the event loop", "accept stall", "ms", 50),
        rate("ingest", targets.ingest, targets.raw, ratio_target=0.4),
        least("ingest: processor time of an item", "ingest cpu", "µs", None),
        least("ingest: memory growth", "ingest memory", "MB", 64),
        least("ingest: longest stall of the event loop", "ingest stall", "ms", 50),
        least("ingest: GET /v1/jobs/{id} meanwhile, p50", "latency p50", "ms", None),
        least("ingest: GET /v1/jobs/{id} meanwhile, p99", "latency p99", "ms", 100),
        rate("download", 50_000, "bare SELECT"),
    ]
