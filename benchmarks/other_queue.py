"""Procrastinate, doing what `benchmarks.queue` does: `python -m benchmarks.other_queue URL JOBS STARTS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import median

from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found, unused-ignore]


async def main(url: str, jobs: int, starts: int) -> None:
    app = App(connector=PsycopgConnector(conninfo=url))
    started: list[float] = []
    heard = asyncio.Event()

    @app.task(queue="measured")  # type: ignore[untyped-decorator, unused-ignore]
    async def work() -> None:
        started.append(time.perf_counter())
        heard.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await work.batch_defer_async(*({} for _ in range(jobs)))
        began = time.perf_counter()
        await app.run_worker_async(queues=["measured"], concurrency=100, wait=False, install_signal_handlers=False)
        rate = jobs / (time.perf_counter() - began)
        worker = asyncio.create_task(
            app.run_worker_async(queues=["measured"], concurrency=100, install_signal_handlers=False)
        )
        await asyncio.sleep(1)
        waits = []
        for _ in range(starts):
            heard.clear()
            asked = time.perf_counter()
            await work.defer_async()
            await heard.wait()
            waits.append((started[-1] - asked) * 1000)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    print(json.dumps({"jobs/s": rate, "start": median(waits)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
