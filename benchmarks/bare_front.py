"""The framework alone: Quart-Trio on Hypercorn, two routes, nothing behind them."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request
from quart_trio import QuartTrio

#: About as long as a job is.
ANSWER: dict[str, Any] = {f"member_{number}": "x" * 20 for number in range(30)}

app = QuartTrio(__name__)


@app.post("/v1/jobs")
async def create() -> Response:
    msgspec.json.decode(await request.get_data())
    return Response(msgspec.json.encode(ANSWER), 202, content_type="application/json")


@app.get("/v1/jobs/<job_id>")
async def read(job_id: str) -> Response:
    return Response(msgspec.json.encode(ANSWER | {"id": job_id}), content_type="application/json")


async def main() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(partial(serve, app, config))
        print(bound[0], flush=True)


if __name__ == "__main__":
    trio.run(main)
