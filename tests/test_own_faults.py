"""The database is away for a moment: that is never what a tool or a handler came to."""

from __future__ import annotations

import attrs
import httpx2
import pytest
import trio
from tests.test_agents import calls
from tests.world import open_world, params

from backburner.actors.children import BatchChildren
from backburner.actors.toolbox import Toolbox
from backburner.agent_options import AgentOptions, ToolSpec, kept
from backburner.errors import StorageUnavailable
from backburner.execution.executors import Executors
from backburner.states import JobStatus
from backburner.storage.database import Database
from backburner.webhooks.http_tools import HttpTools


class Flaky(Database):
    """Is away for the first few times that it is asked."""

    __slots__ = ("failures",)
    failures: list[None]

    async def read(self, work, *args, **kwargs):
        self._fail()
        return await super().read(work, *args, **kwargs)

    async def write(self, work, *args, **kwargs):
        self._fail()
        return await super().write(work, *args, **kwargs)

    def _fail(self) -> None:
        if self.failures:
            self.failures.pop()
            raise StorageUnavailable("the connection is lost")


def flaky(database: Database, times: int) -> Flaky:
    fields = {field.name: getattr(database, field.name) for field in attrs.fields(Database)}
    found = Flaky(**fields)
    object.__setattr__(found, "failures", [None] * times)
    return found


class Body(httpx2.AsyncByteStream):
    async def __aiter__(self):
        yield b'"42"'


async def test_a_tools_secret_is_read_when_the_database_is_back(autojump_clock):
    async with open_world() as world:
        asked = []

        async def server(request):
            asked.append(request.url.path)
            return httpx2.Response(200, stream=Body(), request=request)

        http = HttpTools(transport=httpx2.MockTransport(server), clock=world.clock, allow_private=True)
        world.run_tool = Toolbox(
            tools={}, executors=Executors(is_inline=True), http=http, database=flaky(world.database, 3),
            clock=world.clock,
        )  # fmt: skip
        agent = AgentOptions(tools=(ToolSpec(name="add", url="http://tools.test/add", idempotent=True),))
        job = await world.submit([params('use tool add {"a": 1, "b": 2}', max_tokens=4096)], agent=kept(agent))
        async with world.instance() as system:
            await world.ended(system, job)
        assert asked == ["/add"]
        assert await calls(world) == [("add", "finished", '"42"', False)]


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_handlers_questions_are_answered_when_the_database_is_back(times, autojump_clock):
    async with open_world() as world, world.instance() as system:
        job = await world.submit([params("x")], system=system)
        children = BatchChildren(
            database=flaky(world.database, times), clock=world.clock, ids=world.ids, provider="sandbox",
            limits=None, work=system.work,
        )  # fmt: skip
        with trio.fail_after(1000):
            assert (await children.ended(1, job.id)).status is JobStatus.COMPLETED
