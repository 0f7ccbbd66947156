"""What users have registered: two tools and a handler, which say when they run."""

from __future__ import annotations

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

    async def toil(seconds: float, ctx: Any) -> dict[str, str]:
        return await _toil(seconds, ctx)

    app.tool("add")(add)
    app.tool("look", idempotent=True)(look)
    app.handler("toil", max_attempts=3)(toil)
    return app


async def _use(name: str, ctx: ToolContext, value: int) -> int:
    workers = WORKERS.get()
    await workers.life.goes_on()
    workers.witnesses.tool_begins(workers.life, name, ctx)
    await trio.sleep(1.0 + ctx.round + len(name))
    await workers.life.goes_on()
    workers.witnesses.tool_ends(workers.life, name, ctx)
    return value


async def _toil(seconds: float, ctx: Context) -> dict[str, str]:
    workers = WORKERS.get()
    await workers.life.goes_on()
    workers.witnesses.handler_begins(workers.life, ctx)
    await trio.sleep(seconds)
    await workers.life.goes_on()
    return {"token": ctx.token}
