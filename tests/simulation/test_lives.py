"""What the simulation is built on: instances that stand still, and a store that tells of commits."""

from __future__ import annotations

import sqlalchemy as sa
import trio
from simulation.clockwork import Steps, run
from simulation.lives import LIFE, Life, install_run_queue
from simulation.store import Commit, Store
from simulation.trace import Trace

from backburner.storage.tables import leader_epoch


async def count(life: Life, ticks: list[float]) -> None:
    LIFE.set(life)
    while True:
        await trio.sleep(1)
        ticks.append(trio.current_time())


def ticks_of(events: list[tuple[float, str]], seconds: float) -> list[float]:
    """When a task that ticks each second ticked, while these things were done to its instance."""
    ticks: list[float] = []

    async def story(steps: Steps) -> None:
        install_run_queue()
        life = Life("one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count, life, ticks)
            for at, what in events:
                await trio.sleep_until(at)
                getattr(life, what)(*(() if what == "kill" else (trio.current_time(),)))
            await trio.sleep_until(seconds)
            ticked = len(ticks)
            life.bury()
            nursery.cancel_scope.cancel()
        assert len(ticks) == ticked

    run(0, story, Trace())
    return ticks


def test_a_frozen_instance_takes_no_step_and_then_goes_on():
    assert ticks_of([(2.5, "freeze"), (10.25, "thaw")], 13) == [1, 2, 10.25, 11.25, 12.25]


def test_a_killed_instance_never_takes_a_step_again():
    assert ticks_of([(2.5, "kill"), (4.0, "thaw")], 10) == [1, 2]


def test_the_same_seed_takes_the_same_steps():
    async def story(steps: Steps) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(trio.sleep, number % 3, name=f"sleeper {number}")

    digests = []
    for seed in (1, 1, 2):
        trace = Trace()
        run(seed, story, trace)
        digests.append(trace.digest)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_crash_keeps_what_was_committed_and_nothing_else():
    told: list[Commit] = []
    store = Store(told.append)
    with store.database.writing.begin() as tx:
        tx.execute(sa.update(leader_epoch).values(epoch=7))
    store.committed(None)
    tx = store.database.writing.connect()
    tx.execute(sa.update(leader_epoch).values(epoch=8))
    tx.rollback()
    tx.close()
    store.crash()
    with store.database.reading.connect() as tx:
        assert tx.execute(sa.select(leader_epoch.c.epoch)).scalar_one() == 7
    assert [change.new and change.new["epoch"] for commit in told for change in commit.changes] == [7]
