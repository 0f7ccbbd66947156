"""Agents: conversations of several rounds, with tools in between."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from random import Random

import attrs
import msgspec
import pytest
import sqlalchemy as sa
import trio
from tests.invariants import Invariants, provider_batches_by_nonce, settled
from tests.test_crashes import killed_at_step, simulated
from tests.test_fairness import second_organization
from tests.world import PACE, World, open_world, params

from backburner.agent_options import AgentOptions, Prices, ToolSpec, kept
from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import ConversationState, ItemStatus, JobStatus, JobType, ToolCallState
from backburner.storage import agent_requests, batches, jobs
from backburner.storage.ledger import StartedCall
from backburner.storage.messages import MessageSpan, list_messages
from backburner.storage.steps import Span, steps_of
from backburner.storage.tables import conversations, tool_calls
from backburner.tool_outcomes import ToolOutcome, failed, returned

ADD = ToolSpec(name="add", description="Adds.")
SAFE = ToolSpec(name="look", idempotent=True)
AGENT = AgentOptions(tools=(ADD, SAFE))
HOOK = "http://receiver.test/hook"
ADDS = 'use tool add {"a": 1, "b": 2}'
LOOKS = 'use tool look {"a": 1, "b": 2}'


@attrs.define(eq=False)
class Bench:
    """Makes the calls, and notes which; adds what it is given, after a while."""

    seconds: float = 1.0
    begun: Counter[str] = attrs.field(factory=Counter)
    ended: Counter[str] = attrs.field(factory=Counter)

    async def __call__(self, call: StartedCall) -> ToolOutcome:
        if call.spec is None:
            return failed(f"no {call.name}")
        self.begun[call.tool_use_id] += 1
        await trio.sleep(self.seconds * (1 + call.place.item % 2))  # so that some are ready before others
        self.ended[call.tool_use_id] += 1
        given = msgspec.json.decode(call.input)
        return returned(given["a"] + given["b"])


async def submitted(world: World, *texts: str, agent: AgentOptions = AGENT, **job: object) -> Job:
    return await world.submit(
        [params(text, max_tokens=4096) for text in texts], agent=kept(agent), callback_url=HOOK, **job
    )


async def end_of(world: World, job: Job, **kwargs: object) -> Job:
    async with world.instance() as system:
        with trio.fail_after(100_000):
            await world.ended(system, job)
        await trio.sleep(400)
    await settled(world, job, **kwargs)
    return await world.job(job)


async def calls(world: World) -> list[tuple[str, str, str | None, bool | None]]:
    """(name, state, what the model was given, whether it is an error) of each, in order."""
    rows = await world.database.read(lambda tx: tx.execute(sa.select(tool_calls)).all())
    return [(row.name, row.state.value, row.result and msgspec.json.decode(row.result), row.is_error) for row in rows]


async def ends(world: World) -> list[tuple[ItemStatus | None, str | None]]:
    """How each conversation stands, in order."""
    rows = await world.database.read(lambda tx: tx.execute(sa.select(conversations)).all())
    return [(row.status, row.stop_reason) for row in rows]


async def test_an_agent_goes_through_its_rounds(autojump_clock):
    async with open_world() as world:
        world.run_tool = bench = Bench()
        job = await submitted(world, f"{ADDS} {LOOKS} [sandbox:rounds=2]")
        ended = await end_of(world, job)
        assert (ended.status, ended.stop_reason, ended.batches.total) == (JobStatus.COMPLETED, "end_turn", 3)
        assert await calls(world) == [("add", "finished", "3", False), ("look", "finished", "3", False)] * 2
        assert set(bench.begun.values()) == {1}
        told = await world.database.read(steps_of, ended, Span(), limit=10, with_params=True)
        assert [len(one.step.tool_calls) for one in told] == [2, 2, 0]
        assert [call["state"] for call in told[0].step.tool_calls] == ["finished", "finished"]
        said, _ = await world.database.read(list_messages, ended, MessageSpan(), limit=50)
        assert [message.role for message in said] == ["user", "assistant", "user", "assistant", "user", "assistant"]
        assert [block["tool_use_id"] for block in said[2].content] == [block["id"] for block in said[1].content]


async def test_the_next_request_repeats_all_that_was_said(autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench()
        job = await submitted(world, f"{ADDS} [sandbox:rounds=2]")
        await end_of(world, job)
        (_, _, last) = await world.database.read(batches.batches_of_job, job.key)
        (sent,) = await world.database.read(agent_requests.requests_of_agents, last, lambda _, text: text)
        request = msgspec.json.decode(sent)
        assert [tool["name"] for tool in request["tools"]] == ["add", "look"]
        assert [message["role"] for message in request["messages"]] == ["user", "assistant"] * 2 + ["user"]
        asked, given = request["messages"][1]["content"][0], request["messages"][2]["content"][0]
        assert given == {"type": "tool_result", "tool_use_id": asked["id"], "content": "3"}


async def test_items_that_go_on_share_batches_and_the_others_end(autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench()
        texts = [f"{ADDS} [sandbox:rounds={rounds}]" if rounds else "hello" for rounds in (0, 1, 2, 1, 0, 2)]
        ended = await end_of(world, await submitted(world, *texts, chunk_items=2))
        found = await world.database.read(batches.batches_of_job, ended.key)
        assert [(batch.round, batch.item_count) for batch in found] == [(1, 2), (1, 2), (1, 2), (2, 4), (3, 2)]
        assert ended.counts.succeeded == 6


async def test_a_slow_tool_holds_up_nobody_else(autojump_clock):
    async with open_world() as world:

        async def tool(call: StartedCall) -> ToolOutcome:
            await trio.sleep(500 if call.place.item == 0 else 1)
            return returned("done")

        world.run_tool = tool
        ended = await end_of(world, await submitted(world, ADDS, ADDS, ADDS))
        found = await world.database.read(batches.batches_of_job, ended.key)
        late, early = sorted(found[1:], key=lambda batch: batch.item_count)
        assert [(batch.round, batch.item_count) for batch in (early, late)] == [(2, 2), (2, 1)]
        assert (late.created_at - early.created_at).total_seconds() > 400


async def test_hanging_tools_of_one_organization_hold_up_no_other(autojump_clock):
    async with open_world() as world:
        await second_organization(world)

        async def tool(call: StartedCall) -> ToolOutcome:
            await trio.sleep(3600 if call.organization_key == 1 else 1)
            return returned("done")

        world.run_tool = tool
        await submitted(world, *[ADDS] * 100)
        async with world.instance() as system:
            await reached(world, ConversationState.TOOLS)
            await trio.sleep(60)  # nobody else is there to leave a place for
            quick = await submitted(world, ADDS, organization_key=2, user_key=2)
            system.work()
            with trio.fail_after(600):
                ended = await world.ended(system, quick)
        assert ended.counts.succeeded == 1
        assert [state for _, state, _, _ in await calls(world)].count("finished") == 1


@pytest.mark.parametrize(
    ("text", "agent", "status", "reason"),
    [
        (f"{ADDS} [sandbox:rounds=9]", AgentOptions(tools=(ADD,), max_rounds=2), "succeeded", "max_rounds"),
        (f"{ADDS} [sandbox:rounds=9]", AgentOptions(tools=(ADD,), max_output_tokens=1), "succeeded", "token_limit"),
        (
            f"{ADDS} [sandbox:rounds=9]",
            AgentOptions(tools=(ADD,), max_cost_usd=0.0001, prices=Prices(input=1000, output=1000)),
            "succeeded",
            "cost_limit",
        ),
        ("[sandbox:pauses=2] hello", AGENT, "succeeded", "end_turn"),
        ("[sandbox:refusal]", AGENT, "succeeded", "refusal"),
        ("[sandbox:errored]", AGENT, "errored", "error"),
        ("[sandbox:expired]", AGENT, "expired", "expired"),
    ],
)
async def test_a_run_says_why_it_ended(text, agent, status, reason, autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench()
        ended = await end_of(world, await submitted(world, text, agent=agent, job_type=JobType.RUN))
        assert await ends(world) == [(status, reason)]
        assert ended.stop_reason == (reason if status == "succeeded" else ended.stop_reason)


async def test_a_tool_that_does_not_exist_is_an_error_that_the_model_sees(autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench()
        ended = await end_of(world, await submitted(world, "use tool drop_tables {}"))
        assert await calls(world) == [("drop_tables", "finished", "no drop_tables", True)]
        assert ended.counts.succeeded == 1


# --- being ended -------------------------------------------------------------------------------------------


async def reached(world: World, state: ConversationState) -> None:
    while True:
        rows = await world.database.read(lambda tx: tx.execute(sa.select(conversations.c.state)).scalars().all())
        if state in rows:
            return
        await trio.sleep(0.1)


@pytest.mark.parametrize("state", [ConversationState.TOOLS, ConversationState.READY, ConversationState.ASKED])
async def test_a_cancelled_agent_ends_wherever_it_stands(state, autojump_clock):
    async with open_world(pace=attrs.evolve(PACE, round_window=30.0)) as world:
        world.run_tool = Bench(seconds=20)
        job = await submitted(world, f"{ADDS} [sandbox:rounds=4]", f"{ADDS} [sandbox:rounds=4] {LOOKS}", "hello")
        async with world.instance() as system:
            await reached(world, state)
            await world.database.write(jobs.cancel_job, None, job.id, now=world.clock.now(), ids=world.ids)
            system.work()
            ended = await world.ended(system, job)
            await trio.sleep(60)
        await settled(world, job)
        assert (ended.status, ended.counts.succeeded, ended.counts.canceled) == (JobStatus.CANCELLED, 1, 2)
        assert [line["result"]["type"] for line in await world.results(job)] == ["canceled", "canceled", "succeeded"]


async def test_a_deadline_ends_what_goes_on(autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench(seconds=20)
        deadline = world.clock.now() + timedelta(minutes=5)
        ended = await end_of(
            world, await submitted(world, f"{ADDS} [sandbox:rounds=99]", "hello", deadline_at=deadline)
        )
        assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "deadline_exceeded")
        assert await ends(world) == [("canceled", "deadline_exceeded"), ("succeeded", "end_turn")]


@attrs.define
class OnceFinished:
    """A call whose result is stored is never begun again."""

    world: World
    bench: Bench
    known: dict[str, int] = attrs.field(factory=dict)

    async def hold(self) -> None:
        finished = sa.select(tool_calls.c.tool_use_id).where(tool_calls.c.state == ToolCallState.FINISHED)
        for call in await self.world.database.read(lambda tx: tx.execute(finished).scalars().all()):
            assert self.known.setdefault(call, self.bench.begun[call]) == self.bench.begun[call]


# --- crashes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "again"), [(LOOKS, True), (ADDS, False)])
async def test_a_call_that_was_under_way_runs_again_only_if_it_may(text, again, autojump_clock):
    async with open_world() as world:
        world.run_tool = bench = Bench(seconds=20)
        job = await submitted(world, text)
        async with world.doomed_instance():
            await reached(world, ConversationState.TOOLS)
            await trio.sleep(5)
        await Invariants(world).hold()
        await end_of(world, job, told_twice=True)
        ((_, state, given, is_error),) = await calls(world)
        assert (state, is_error) == ("finished", not again)
        assert sum(bench.begun.values()) == (2 if again else 1)
        assert given == "3" if again else "not known whether 'add' has run" in given


@pytest.mark.parametrize("state", [*ConversationState][:4])
async def test_a_kill_in_any_state_changes_nothing_in_the_end(state, autojump_clock):
    async with open_world() as world:
        world.run_tool = bench = Bench(seconds=0.5)
        job = await submitted(world, *[f"{LOOKS} [sandbox:rounds=2]"] * 3, "hello", chunk_items=2)
        async with world.doomed_instance():
            with trio.move_on_after(300):
                await reached(world, state)
        await Invariants(world).hold()
        once = OnceFinished(world, bench)
        await once.hold()
        ended = await end_of(world, job, told_twice=True)
        await once.hold()
        assert ended.counts.succeeded == 4
        assert {len(ids) for ids in provider_batches_by_nonce(world.sandbox).values()} == {1}
        assert {(state, is_error) for _, state, _, is_error in await calls(world)} == {("finished", False)}


FAULTS = ["create:lost_response@p0.3", "create:413@2x1", "results:truncate@1", "create:529@p0.2"]


async def a_hard_life(random: Random, url: str = "sqlite://") -> None:
    options = SandboxOptions(batch_seconds=(20, 20), latency_seconds=0.5)
    async with open_world(seed=random.getrandbits(32), options=options, url=url) as world:
        for fault in random.sample(FAULTS, 2):
            world.sandbox.faults.add(fault)
        world.run_tool = bench = Bench(seconds=1)
        texts = [f"{random.choice([ADDS, LOOKS])} [sandbox:rounds={random.randint(1, 3)}]" for _ in range(6)]
        job = await submitted(world, *texts, "hello", "[sandbox:pauses=1]", chunk_items=3)
        invariants, once = Invariants(world), OnceFinished(world, bench)
        for _ in range(4):
            await killed_at_step(world, random.randint(100, 4000))
            await invariants.hold()
            await once.hold()
        ended = await end_of(world, job, told_twice=True)
        assert ended.counts.succeeded == 8
        assert {len(ids) for ids in provider_batches_by_nonce(world.sandbox).values()} == {1}
        await once.hold()
        assert {state for _, state, _, _ in await calls(world)} == {"finished"}


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_random_every_tool_finishes_once_and_every_turn_is_paid_once(seed):
    simulated(seed, a_hard_life)


@pytest.mark.postgresql
def test_killed_at_random_on_postgresql(postgres_database):
    simulated(100, partial(a_hard_life, url=postgres_database))
