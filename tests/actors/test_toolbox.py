"""How calls of tools are made, and that whatever a tool does is something that the model is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import attrs
import httpx2
import msgspec
import pytest
import trio
from standardwebhooks import Webhook
from tests.world import World, open_world

from backburner.actors.toolbox import Toolbox, spec_of
from backburner.agent_options import ToolSpec
from backburner.app import App
from backburner.commands import CallPlace
from backburner.execution.executors import Executors
from backburner.storage.accounts import signing_secrets
from backburner.storage.ledger import StartedCall
from backburner.webhooks.http_tools import HttpTools

app = App()


@app.tool()
def divide(a: float, b: float = 2) -> dict[str, float]:
    """Divides."""
    return {"quotient": a / b}


@app.tool()
async def whose(ctx: Any) -> str:
    return f"{ctx.custom_id} {ctx.round} {ctx.tool_use_id} {ctx.attempt}"


@app.tool(timeout_seconds=1)
async def sleep() -> None:
    await trio.sleep(60)


@app.tool()
async def endless() -> str:
    return "x" * 300_000


class Panic(BaseException):
    """As native code raises it."""


class Trap(msgspec.Struct):
    def __post_init__(self) -> None:
        raise Panic


@app.tool()
async def panic() -> None:
    raise Panic("native code gave up")


@app.tool()
def fall(into: Trap) -> None: ...


class Nowhere(tzinfo):
    """Goes off when a time is written."""

    def utcoffset(self, _: object) -> timedelta:
        raise Panic("nowhere")

    dst = utcoffset

    def tzname(self, _: object) -> str:
        return "nowhere"


@app.tool()
async def odd() -> Any:
    return datetime(2026, 1, 1, tzinfo=Nowhere())


def call(name: str, given: str, url: str | None = None) -> StartedCall:
    tool = app.tools.get(name)
    spec = ToolSpec(name=name, url=url) if url else tool and spec_of(tool)
    return StartedCall(
        place=CallPlace(1, 2, 3, 4),
        job_id="job-x",
        organization_key=1,
        custom_id="item-2",
        agent_id=None,
        tool_use_id="toolu_1",
        name=name,
        input=given,
        spec=spec,
        attempt=1,
        is_wanted=True,
    )


Server = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


@attrs.define
class Made:
    world: World
    toolbox: Toolbox = attrs.field(init=False)
    server: Server | None = None
    seen: list[httpx2.Request] = attrs.field(factory=list)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        assert self.server is not None
        return await self.server(request)

    async def says(self, name: str, given: str = "{}", url: str | None = None) -> tuple[bool, str]:
        outcome = await self.toolbox(call(name, given, url))
        return outcome.is_error, msgspec.json.decode(outcome.content)


@pytest.fixture
async def made(autojump_clock) -> AsyncIterator[Made]:
    executors = Executors(is_inline=True)
    async with open_world() as world, executors.opened():
        found = Made(world)
        http = HttpTools(transport=httpx2.MockTransport(found.answer), clock=world.clock, allow_private=False)
        found.toolbox = Toolbox(
            tools=app.tools, executors=executors, http=http, database=world.database, clock=world.clock
        )
        yield found


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("divide", '{"a":3}', (False, '{"quotient":1.5}')),
        ("whose", "{}", (False, "item-2 3 toolu_1 1")),
        ("divide", '{"a":1,"b":0}', (True, "ZeroDivisionError: float division by zero")),
        ("divide", '{"a":"x"}', (True, "ValidationError: Expected `float`, got `str` - at `$.a`")),
        ("divide", '{"a":1,"c":1}', (True, "ValidationError: Object contains unknown field `c`")),
        ("nothing", "{}", (True, "There is no tool 'nothing' here.")),
        ("panic", "{}", (True, "Panic: native code gave up")),
        ("fall", '{"into":{}}', (True, "ValidationError: A type of the input raised Panic")),
        ("odd", "{}", (True, "Panic: nowhere")),
        ("endless", "{}", (True, "The tool's result is larger than 262144 bytes.")),
    ],
)
async def test_a_function_gives_a_result_or_says_what_was_wrong(made, name, given, expected):
    assert await made.says(name, given) == expected


async def test_a_tool_that_takes_too_long_is_given_up(made):
    is_error, said = await made.says("sleep")
    assert is_error
    assert "1" in said


def answers(text: str, status: int = 200) -> Server:
    async def server(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, stream=httpx2.ByteStream(text.encode()), request=request)

    return server


URL = "https://tools.example.com/look"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (answers("warm"), (False, "warm")),
        (answers('{"content":{"a":1},"is_error":false}'), (False, '{"a":1}')),
        (answers('{"content":"no such city","is_error":true}'), (True, "no such city")),
        (answers("moved", 302), (True, "The tool answered HTTP 302: moved")),
        (answers("x" * 300_000), (True, "The tool's answer is larger than 262144 bytes.")),
    ],
)
async def test_a_server_gives_a_result_or_says_what_was_wrong(made, server, expected):
    made.server = server
    assert await made.says("look", '{"city":"Paris"}', URL) == expected


async def test_a_call_of_a_server_is_signed_and_has_the_same_id_every_time(made):
    made.server = answers("ok")
    for _ in range(2):
        await made.says("look", '{"city":"Paris"}', URL)
    first, second = made.seen
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "call-x-2-3-4"
    body = msgspec.json.decode(first.content)
    assert (body["type"], body["name"], body["input"]) == ("tool.call", "look", {"city": "Paris"})
    (secret,) = await made.world.database.read(signing_secrets, 1, now=made.world.clock.now())
    at = datetime.fromtimestamp(int(first.headers["webhook-timestamp"]), UTC)
    signed = Webhook(secret).sign("call-x-2-3-4", at, first.content.decode())
    assert first.headers["webhook-signature"] == signed


async def test_a_server_that_hangs_is_given_up(autojump_clock, made):
    async def server(request: httpx2.Request) -> httpx2.Response:
        await trio.sleep(3600)
        return httpx2.Response(200, request=request)

    made.server = server
    assert await made.says("look", "{}", URL) == (True, "The tool did not answer within 60 seconds.")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "https://tools.example.com:22/", "ftp://tools.example.com/"])
async def test_an_address_inside_is_not_called(made, url):
    is_error, said = await made.says("look", "{}", url)
    assert is_error
    assert said.startswith("The tool's URL cannot be called")
    assert made.seen == []
