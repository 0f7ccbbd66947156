"""When the bulk writer says that it is behind."""

from __future__ import annotations

from random import Random

import attrs
import trio
from tests.world import open_world

from backburner.actors.writer import CHANNEL_SIZE, STALLED, Write, Writer
from backburner.commands import DeliveryAttempted
from backburner.errors import StorageUnavailable
from backburner.states import DeliveryStatus


def attempt(world) -> DeliveryAttempted:
    return DeliveryAttempted(
        key=1, number=1, at=world.clock.now(), status_code=200, error=None, duration_ms=1,
        status=DeliveryStatus.DELIVERED, next_attempt_at=None,
    )  # fmt: skip


async def test_a_writer_without_headway_is_behind(autojump_clock):
    away = [True]

    async def offload(work):
        await trio.sleep(0.1)
        if away:
            raise StorageUnavailable("away")
        return work()

    async with open_world() as world, trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[Write](CHANNEL_SIZE)
        writer = Writer(
            database=attrs.evolve(world.database, offload_write=offload),
            inbox=receive, ids=world.ids, clock=world.clock, random=Random(0), rows=1, size=1, window=0.0,
            on_applied=lambda applied: None,
        )  # fmt: skip
        await nursery.start(writer.run)
        seen = [writer.is_behind]
        await send.send(Write(attempt(world)))
        await trio.sleep(0.2)
        seen.append(writer.is_behind)
        away.clear()
        await trio.sleep(10)
        assert [*seen, writer.is_behind] == [False, True, False]
        send.close()


async def test_a_full_queue_is_back_pressure_until_nothing_moves(autojump_clock):
    async with open_world() as world:
        send, receive = trio.open_memory_channel[Write](CHANNEL_SIZE)
        writer = Writer(
            database=world.database, inbox=receive, ids=world.ids, clock=world.clock, random=Random(0), rows=1, size=1,
            window=0.0, on_applied=lambda applied: None,
        )  # fmt: skip
        writer._answered_at = world.clock.monotonic()
        for _ in range(CHANNEL_SIZE):
            send.send_nowait(Write(attempt(world)))
        assert not writer.is_behind
        await trio.sleep(STALLED + 1)
        assert writer.is_behind
