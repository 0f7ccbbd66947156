"""What users have registered: two tools and two handlers, which say when they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
import trio

from backburner.actors.toolbox import ToolContext
from backburner.app import App
from backburner.execution.context import Context
from simulation.lives import Life

if TYPE_CHECKING:
    from simulation.witnesses import Witnesses


@attrs.frozen
class Workers:
    """Where the functions of one instance tell what they do."""

    life: Life
    witnesses: Witnesses


#: Of the instance that runs the current task.
WORKERS: ContextVar[Workers] = ContextVar("workers")


@cache
def registered() -> App:
    """One for all instances; the functions find out by themselves where they run."""
    app = App()

    async def add(a: int, b: int, ctx: Any) -> int:
        return await _use("add", ctx, a + b)

    async def look(a: int, b: int, ctx: Any) -> int:
        return await _use("look", ctx, a + b)

    async def toil(seconds: float, fails_at: int, ctx: Any) -> dict[str, str]:
        return await _toil(seconds, fails_at, ctx)

    async def order(items: int, fails_at: int, ctx: Any) -> dict[str, str]:
        return await _order(items, fails_at, ctx)

    app.tool("add")(add)
    app.tool("look", idempotent=True)(look)
    app.handler("toil", max_attempts=3)(toil)
    app.handler("order", max_attempts=3)(order)
    return app


async def _use(name: str, ctx: ToolContext, value: int) -> int:
    workers = WORKERS.get()
    await workers.life.goes_on()
    workers.witnesses.tool_begins(workers.life, name, ctx)
    await trio.sleep(1.0 + ctx.round + len(name))
    await workers.life.goes_on()
    workers.witnesses.tool_ends(workers.life, name, ctx)
    return value


@asynccontextmanager
async def _at_work(ctx: Context) -> AsyncIterator[Workers]:
    """While a handler runs, however it ends."""
    workers = WORKERS.get()
    await workers.life.goes_on()
    workers.witnesses.handler_begins(workers.life, ctx)
    try:
        yield workers
    finally:
        if not workers.life.is_over:
            workers.witnesses.handler_ends(workers.life, ctx)


async def _toil(seconds: float, fails_at: int, ctx: Context) -> dict[str, str]:
    async with _at_work(ctx) as workers:
        await trio.sleep(seconds)
        await workers.life.goes_on()
        if ctx.attempt == fails_at:
            raise ValueError("as it was told")
        return {"token": ctx.token}


async def _order(items: int, fails_at: int, ctx: Context) -> dict[str, str]:
    """Have a batch made and wait for it. At attempt `fails_at` only the first half of that."""
    messages = [{"role": "user", "content": "question"}]
    params = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": messages}
    async with _at_work(ctx):
        batch = await ctx.submit_batch([{"custom_id": f"item-{n}", "params": params} for n in range(items)], key="only")
        if ctx.attempt == fails_at:
            raise ValueError("after the submission")
        results = await ctx.batch_results(batch)
        if len(results) != items:
            raise ValueError(f"{len(results)} results for {items} requests")
        return {"token": ctx.token}
