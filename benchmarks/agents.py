"""Agents: conversations of several rounds with tools in between, beside plain batches of as many requests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any

import attrs
import msgspec
import trio

from backburner.actors.toolbox import Toolbox, spec_of
from backburner.agent_options import AgentOptions, kept
from backburner.app import App
from backburner.execution.executors import Executors
from backburner.intake import open_intake
from backburner.model import NewItem, NewJob
from backburner.pace import Pace
from backburner.providers.anthropic import LIMITS
from backburner.providers.base import BatchView, ResultLines, WireRequest
from backburner.states import JobStatus, JobType
from backburner.storage.database import Database
from backburner.storage.jobs import get_job
from backburner.system import System
from backburner.webhooks.http_tools import HttpTools
from backburner.webhooks.pinned import pinned_transport
from benchmarks.instance import CLOCK, IDS, prepared, quiet, running, view_of
from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, repeated

AGENTS = 1_000
ROUNDS = 3
TOOLS = ("add", "look")  # both called in every round but the last
CALLS = AGENTS * (ROUNDS - 1) * len(TOOLS)
PACE = Pace(interval=0.05, jitter=0.0)
PARAMS = '{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"Go on."}]}'
USAGE = '"usage":{"input_tokens":100,"output_tokens":20}'
SAYS = f'{{"content":[{{"type":"text","text":"Done."}}],"stop_reason":"end_turn",{USAGE}}}'

app = App()


@app.tool()
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@app.tool()
async def look(a: int, b: int) -> list[int]:
    """Look."""
    return [a, b]


@attrs.frozen
class Lines:
    """Result lines, a few hundred at a time."""

    left: list[bytes]

    async def next_lines(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        some = self.left[:500]
        del self.left[:500]
        return some


@attrs.define(eq=False)
class TalkingProvider:
    """Answers at once: asks for both tools until a request has the results of every round but the last."""

    name: str = "anthropic"
    limits: Any = LIMITS
    made: dict[str, list[bytes]] = attrs.field(factory=dict)

    async def submit(self, requests: Sequence[WireRequest], _: Mapping[str, str]) -> BatchView:
        await trio.lowlevel.checkpoint()
        provider_batch_id = f"msgbatch_{len(self.made):024}"
        self.made[provider_batch_id] = [_line(request) for request in requests]
        return view_of(provider_batch_id)

    async def retrieve(self, provider_batch_id: str) -> BatchView:
        await trio.lowlevel.checkpoint()
        return attrs.evolve(view_of(provider_batch_id), status="ended", ended=True, results_ready=True)

    async def snapshot(self, provider_batch_ids: Sequence[str]) -> dict[str, BatchView]:
        return {provider_batch_id: await self.retrieve(provider_batch_id) for provider_batch_id in provider_batch_ids}

    @asynccontextmanager
    async def results(self, provider_batch_id: str) -> AsyncIterator[ResultLines]:
        yield Lines(list(self.made[provider_batch_id]))


def _line(request: WireRequest) -> bytes:
    before = request.params.count(b'"tool_result"')
    asks = b'"tools"' in request.params and before < (ROUNDS - 1) * len(TOOLS)
    message = _asking(before) if asks else SAYS
    return f'{{"custom_id":"{request.custom_id}","result":{{"type":"succeeded","message":{message}}}}}'.encode()


def _asking(before: int) -> str:
    uses = ",".join(
        f'{{"type":"tool_use","id":"toolu_{before + n}","name":"{name}","input":{{"a":1,"b":{n}}}}}'
        for n, name in enumerate(TOOLS)
    )
    return f'{{"content":[{uses}],"stop_reason":"tool_use",{USAGE}}}'


def measure(options: Options) -> list[Row]:
    rows = []
    for database in options.databases:
        runs = repeated(partial(_run, database), options.runs)
        talked, plain = (middle(run[kind] for run in runs) for kind in (0, 1))
        what = f"{AGENTS:,} agents, {ROUNDS} rounds, {len(TOOLS)} tools between two, {database}"
        turns = AGENTS * ROUNDS
        rows += [
            Row(what=what, unit="turns/s", ours=turns / talked, raw=turns / plain, raw_name="plain items"),
            Row(what=f"{what}: tool calls", unit="calls/s", ours=CALLS / talked),
        ]
    return rows


def _run(database: str) -> tuple[float, float]:
    """Seconds of the agents, and of as many plain items in batches one after the other."""
    with fresh(database) as (_, url), closing(prepared(url)) as opened:
        return trio.run(_both, opened)


async def _both(database: Database) -> tuple[float, float]:
    quiet()
    toolbox = Toolbox(
        tools=app.tools,
        executors=Executors(),
        http=HttpTools(transport=pinned_transport(allow_private=False), clock=CLOCK, allow_private=False),
        database=database,
        clock=CLOCK,
    )
    agent = kept(AgentOptions(tools=tuple(spec_of(tool) for tool in app.tools.values()), max_rounds=ROUNDS))
    async with running(database, TalkingProvider(), PACE, run_tool=toolbox) as system:
        await _ended(system, None, 10)  # whatever is loaded late
        talked = await _timed(partial(_ended, system, agent, AGENTS))
        plain = 0.0
        for _ in range(ROUNDS):
            plain += await _timed(partial(_ended, system, None, AGENTS))
    return talked, plain


async def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _ended(system: System, agent: dict[str, Any] | None, count: int) -> None:
    """Make a batch and wait for its end."""
    intake = await open_intake(system.database, CLOCK, IDS)
    for number in range(count):
        await intake.add(NewItem(f"item-{number}", PARAMS, len(PARAMS)))
    new = NewJob(
        id=IDS.new("job"),
        job_type=JobType.BATCH,
        organization_key=1,
        user_key=1,
        created_at=CLOCK.now(),
        provider="anthropic",
        agent=agent,
    )
    with system.changes.listening(new.id) as ear:
        job = await intake.finish(new, chunk_items=count, chunk_bytes=PACE.chunk_bytes)
        system.work()
        while not job.status.is_terminal:
            await ear.heard(1)
            job = await system.database.read(get_job, None, new.id)
    assert job.status is JobStatus.COMPLETED, msgspec.to_builtins(job.counts)
