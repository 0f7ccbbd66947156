"""An application with a few routes, to try the edge on."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec
import structlog
import trio
from quart import Response, request
from structlog.testing import capture_logs

from backburner.errors import Conflict, Invalid, Malformed, NotFound, StorageUnavailable
from backburner.http.body import open_body, read_json
from backburner.http.envelope import EdgeApp, make_app


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str = "none"


ERRORS: dict[str, Exception] = {
    "missing": NotFound("job", "job-1"),
    "conflict": Conflict("illegal_transition", "No."),
    "invalid": Invalid("No.", param="a.b", details=[{"line": 1}]),
    "malformed": Malformed("No."),
    "storage": StorageUnavailable("password=hunter2"),
    "bug": ZeroDivisionError("hunter2"),
}


def edge_app(*, batch_limit: int = 1000) -> EdgeApp:
    numbers = count(1)
    app = make_app(lambda: f"req_{next(numbers)}")

    @app.get("/v1/ok")
    async def ok() -> dict[str, Any]:
        return {"ok": True}

    @app.get("/v1/errors/<kind>")
    async def errors(kind: str) -> dict[str, Any]:
        raise ERRORS[kind]

    @app.post("/v1/things")
    async def things() -> dict[str, Any]:
        thing = await read_json(request, Thing)
        return {"name": thing.name}

    @app.post("/v1/batches")
    async def batches() -> dict[str, Any]:
        body = open_body(request, limit=batch_limit)
        size, largest = 0, 0
        while piece := await body.next():
            size += len(piece)
            largest = max(largest, len(piece))
        return {"type": body.media_type, "size": size, "largest": largest}

    @app.get("/v1/endless")
    async def endless() -> Response:
        async def pieces():
            while True:
                yield b"x" * 65536

        return Response(pieces(), content_type="text/plain")

    @app.get("/v1/slow")
    async def slow() -> dict[str, Any]:
        await trio.sleep(float(request.args["seconds"]))
        return {"slept": True}

    return app


@contextmanager
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged in the block, of every level; the suite is quiet otherwise."""
    quiet = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with capture_logs() as logs:
            yield logs
    finally:
        structlog.configure(wrapper_class=quiet)
