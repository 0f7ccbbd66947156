"""Measures what inputs cost, in a process of its own: `python -m tests.cost.child SIZE GROUP...` writes JSON lines."""

from __future__ import annotations

import gc
import io
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio
from tests.cost import shapes
from tests.cost.growth import Measured, is_steep
from tests.cost.shapes import Shape
from tests.http.api import Api, open_api
from tests.providers.sandbox.account import BATCHES, new_sandbox, plain

from backburner.client.sse import Reader
from backburner.client.waiting import Download
from backburner.errors import BackburnerError
from backburner.http.services import Limits
from backburner.ingestion.requests import Form, open_requests
from backburner.ingestion.sources import Source

DOUBLINGS = 4
LIMITS = Limits(
    max_request_bytes=256 * 2**20, max_items_per_job=1_000_000, max_item_bytes=32 * 2**20, chunk_items=None,
    chunk_bytes=16 * 2**20,
)  # fmt: skip
JSON, NDJSON = "application/json", "application/x-ndjson"
NOBODY = "00000000-0000-7000-8000-000000000000"


@attrs.frozen(kw_only=True)
class Case:
    """One way to spend the server's time."""

    name: str
    shape: Shape
    size: int  #: bytes of the smallest input
    act: Callable[[bytes], Awaitable[object]]


# --- measuring -----------------------------------------------------------------------------------------------


async def measured(case: Case) -> Measured:
    found = Measured(name=case.name, sizes=[], seconds=[], peaks=[])
    for doubling in range(DOUBLINGS):
        data = case.shape(case.size << doubling)
        seconds, peak = await _once(case, data)
        found.sizes.append(len(data))
        found.seconds.append(seconds)
        found.peaks.append(peak)
        if is_steep(found.seconds):
            await _look_closer(case, found)
            break
    return found


async def _look_closer(case: Case, found: Measured) -> None:
    """The least of several times: a machine that does something else can only make it longer."""
    if found.seconds[-1] > 5:
        return
    for at, _ in enumerate(found.sizes):
        data = case.shape(case.size << at)
        for _ in range(2):
            seconds, _ = await _once(case, data)
            found.seconds[at] = min(found.seconds[at], seconds)


async def _once(case: Case, data: bytes) -> tuple[float, int]:
    Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240  # the peak begins anew
    before, began = _memory("VmRSS"), time.process_time()
    await case.act(data)
    return time.process_time() - began, _memory("VmHWM") - before


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


# --- what is measured ----------------------------------------------------------------------------------------


def routes(api: Api) -> Iterator[tuple[str, str]]:
    """Method and path of each route that may have a body, the older form of the paths left out."""
    for rule in api.client.app.url_map.iter_rules():
        for method in sorted(rule.methods & {"POST", "PUT", "PATCH"}):
            if not rule.rule.startswith("/api/"):
                yield method, rule.rule


def filled(path: str, job_id: str) -> str:
    """The path with ids in it; those of nobody, but for the job's."""
    mine = {"job_id": job_id, "run_id": f"run-{job_id[4:]}-0", "step_id": f"step-{job_id[4:]}-0-1", "number": "1"}
    return re.sub(
        r"<(?:\w+:)?(\w+)>", lambda found: mine.get(found[1], f"{found[1].removesuffix('_id')}-{NOBODY}"), path
    )


async def of_routes(api: Api, size: int) -> AsyncIterator[Case]:
    """Every JSON route with every kind of JSON, and every field that is documented with large values."""
    job_id = (await api.batch(2))["id"]
    documents = (await api.get("/openapi.json", key=None)).json
    for method, path in routes(api):
        act = _call(api, method, filled(path, job_id), JSON)
        for name, shape in shapes.JSON.items():
            yield Case(name=f"{method} {path}: {name}", shape=shape, size=size, act=act)
        for field in _fields(documents, method, path):
            for name, shape in shapes.VALUES.items():
                yield Case(
                    name=f"{method} {path}: {field} of {name}", shape=_as_field(field, shape), size=size, act=act
                )


def _fields(documents: Any, method: str, path: str) -> list[str]:
    operation = documents["paths"].get(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), {}).get(method.lower(), {})
    schema = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {})
    while "$ref" in schema:
        schema = documents["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", {}))


def _as_field(name: str, shape: Shape) -> Shape:
    return lambda size: b'{"%b":%b}' % (name.encode(), shape(size))


def _call(api: Api, method: str, path: str, kind: str, **headers: str) -> Callable[[bytes], Awaitable[object]]:
    async def act(data: bytes) -> None:
        sent = {"anthropic-version": "2023-06-01", **headers}
        answer = await api.call(method, path, data=data, kind=kind, headers=sent)
        assert answer.status != 500, answer.body[:500]

    return act


async def of_batches(api: Api, size: int) -> AsyncIterator[Case]:
    """The bodies that are read as they come."""
    lines = _call(api, "POST", "/v1/batches?dry_run=true", NDJSON)
    zipped = _call(api, "POST", "/v1/batches?dry_run=true", NDJSON, **{"Content-Encoding": "gzip"})
    for name, shape in shapes.NDJSON.items():
        yield Case(name=f"NDJSON: {name}", shape=shape, size=size, act=lines)
    for name, shape in shapes.GZIP.items():
        yield Case(name=f"NDJSON: {name}", shape=shape, size=size // 16, act=zipped)
    for path in ("/v1/batches", "/anthropic/v1/messages/batches", "/letta/v1/messages/batches"):
        for name, shape in shapes.DOCUMENTS.items():
            act = _call(api, "POST", path, JSON)
            yield Case(name=f"POST {path}: {name}", shape=shape, size=size, act=act)


async def of_documents(api: Api, size: int) -> AsyncIterator[Case]:
    """JSON that is too large to be read in one go."""
    act = _call(api, "POST", "/v1/jobs", JSON)
    for name, shape in shapes.JSON.items():
        yield Case(name=f"a large document: {name}", shape=shape, size=6 * size, act=act)
    for name, shape in shapes.VALUES.items():
        yield Case(name=f"a large field: {name}", shape=_as_field("input", shape), size=6 * size, act=act)


async def of_heads(api: Api, size: int) -> AsyncIterator[Case]:
    """Query strings, headers and paths, which are at most as long as a head may be."""
    query = {
        "a member": lambda text: f"/v1/jobs?metadata.a={text}",
        "a name of a member": lambda text: f"/v1/jobs?metadata.{text}=a",
        "many members": lambda text: "/v1/jobs?" + "&".join(f"metadata.{at}=a" for at in range(len(text) // 13)),
        "a cursor": lambda text: f"/v1/jobs?after={text}",
        "an unknown parameter": lambda text: f"/v1/jobs?{text}=1",
        "a path": lambda text: f"/v1/jobs/{text}",
        "statuses": lambda text: "/letta/v1/runs/?" + "&".join(["statuses=created"] * (len(text) // 17)),
    }
    for name, path in query.items():

        async def get(data: bytes, path: Callable[[str], str] = path) -> None:
            assert (await api.get(path(data.decode()))).status != 500

        yield Case(name=f"a request with {name}", shape=lambda size: b"a" * size, size=size // 8, act=get)
    for name in ("Idempotency-Key", "Authorization", "If-None-Match", "X-Request-Id", "Traceparent"):

        async def post(data: bytes, name: str = name) -> None:
            assert (await api.post("/v1/jobs", json={}, headers={name: data.decode()})).status != 500

        yield Case(name=f"the header {name}", shape=lambda size: b"a," * (size // 2), size=size // 8, act=post)


async def of_parsers(size: int) -> AsyncIterator[Case]:
    """What reads files, a server's answers and the sandbox's requests."""
    for name, opened in PARSERS.items():
        yield Case(name=f"a long line in {name}", shape=lambda size: b"x" * size, size=4 * size, act=_fed(opened))
    for name, (file, asked, shape) in FILES.items():
        yield Case(name=f"a file with {name}", shape=shape, size=2 * size, act=_ingest(file, asked))
    async with plain(new_sandbox()) as client:
        for name, shape in {**shapes.JSON, **shapes.DOCUMENTS}.items():

            async def post(data: bytes) -> None:
                await client.post(BATCHES, content=data, headers={"content-type": JSON})

            yield Case(name=f"the sandbox: {name}", shape=shape, size=size, act=post)


PARSERS: dict[str, Callable[[], Callable[[bytes], object]]] = {
    "results of a client": lambda: Download(job_id="", statuses=(), after=None, monotonic=time.monotonic).feed,
    "events of a client": lambda: partial(_listen, Reader()),
}


def _listen(reader: Reader, data: bytes) -> None:
    for _ in reader.feed(data):
        pass


def _fed(opened: Callable[[], Callable[[bytes], object]]) -> Callable[[bytes], Awaitable[object]]:
    async def act(data: bytes) -> None:
        feed = opened()
        for begin in range(0, len(data), 64):
            feed(data[begin : begin + 64])

    return act


def _header(size: int) -> bytes:
    names = shapes.names(size)
    return b",".join([*names, names[-1]]) + b"\n1\n"


FILES: dict[str, tuple[str, dict[str, Any], Shape]] = {
    "a header that names a column twice": ("a.csv", {"template": "{a}"}, _header),
    "a long value that is repeated": (
        "a.jsonl", {"template": "{a}" * 400 + "."}, lambda size: b'{"a":"' + b"x" * size + b'"}\n',
    ),
    "values that are nested": ("a.jsonl", {"template": "{a}"}, lambda size: b'{"a":[' + b"[]," * (size // 3) + b"1]}"),
    "blank lines": ("a.jsonl", {}, lambda size: b"\n" * size),
    "a column that is missing": (
        "a.jsonl", {"template": "{" + "c" * 10_000 + "}."}, lambda size: b"{}\n" * (size // 3),
    ),
}  # fmt: skip


def _ingest(name: str, asked: dict[str, Any]) -> Callable[[bytes], Awaitable[object]]:
    async def act(data: bytes) -> None:
        file = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type,unused-ignore]
        form = Form(**{"format": None, "template": None, "custom_id": None, "delimiter": None, "defaults": {}, **asked})
        try:
            requests = open_requests(Source(file=file, name=name, size=len(data)), form, longest=2**20)
            for _ in range(1000):
                if not requests.page() and getattr(requests, "is_over", True):
                    break
        except BackburnerError:
            pass

    return act


GROUPS: dict[str, Callable[[Api, int], AsyncIterator[Case]]] = {
    "routes": of_routes,
    "batches": of_batches,
    "documents": of_documents,
    "heads": of_heads,
    "parsers": lambda _, size: of_parsers(size),
}


@asynccontextmanager
async def cases(groups: Sequence[str], size: int) -> AsyncIterator[AsyncIterator[Case]]:
    async with open_api(limits=LIMITS) as api:
        gc.collect()
        gc.freeze()  # a whole collection in the middle of one input would look like its cost
        yield _chained([GROUPS[name](api, size) for name in groups])


async def _chained(groups: Sequence[AsyncIterator[Case]]) -> AsyncIterator[Case]:
    for group in groups:
        async for case in group:
            yield case


async def main(groups: Sequence[str], size: int) -> None:
    lines = sys.stdout.buffer
    sys.stdout = sys.stderr  # where the log goes
    async with cases(groups, size) as found:
        async for case in found:
            lines.write(msgspec.json.encode(await measured(case)) + b"\n")


if __name__ == "__main__":
    trio.run(main, sys.argv[2:], int(sys.argv[1]))
