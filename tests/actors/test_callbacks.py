"""The callback actor under virtual time, with a store and receivers that live in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from random import Random

import attrs
import pytest
import trio
from tests.actors.outbox import CLOCK, TIMEOUT, MemoryStore, Receivers

from backburner.actors.callbacks import Callbacks
from backburner.actors.loops import Bell
from backburner.commands import DeliveryAttempted
from backburner.delivery_schedule import JITTER, SCHEDULE
from backburner.states import DeliveryStatus


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def receivers() -> Receivers:
    return Receivers()


@pytest.fixture
def actor(store: MemoryStore, receivers: Receivers) -> Callbacks:
    return Callbacks(
        store=store,
        sender=receivers,
        record=store.record,
        clock=CLOCK,
        random=Random(1),
        bell=Bell(),
        attempt_seconds=TIMEOUT,
        drain_seconds=10,
    )


async def until(actor: Callbacks, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await actor.run()


async def test_a_delivery_that_fails_is_attempted_over_thirty_hours_and_then_recorded_as_failed(
    autojump_clock, actor, store, receivers
):
    receivers.status = {"bad": 500}
    store.owe(1, "bad:443")
    await until(attrs.evolve(actor, look_seconds=600), 48 * 3600)
    attempts = [attempted for _, attempted in store.log]
    assert [one.number for one in attempts] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [one.status for one in attempts] == [DeliveryStatus.PENDING] * 7 + [DeliveryStatus.FAILED]
    assert attempts[-1].next_attempt_at is None
    pauses = [(later.at - one.at).total_seconds() for one, later in pairwise(attempts)]
    assert pauses == [pytest.approx(step, rel=JITTER + 0.02) for step in SCHEDULE[1:]]
    # The jitter is seeded; without any it would be 31.6 hours.
    assert 25 * 3600 < (attempts[-1].at - attempts[0].at).total_seconds() < 38 * 3600


async def test_an_attempt_is_recorded_with_all_that_is_known(autojump_clock, actor, store, receivers):
    receivers.status = {"gone": 410}
    store.owe(1, "gone:443")
    await until(actor, 10)
    assert store.log == [
        (
            0.05,
            DeliveryAttempted(
                key=1,
                number=1,
                at=CLOCK.epoch,
                status_code=410,
                error="HTTP 410",
                duration_ms=50,
                status=DeliveryStatus.DISABLED,
                next_attempt_at=None,
            ),
        )
    ]


async def test_a_delivery_goes_out_when_the_bell_rings_and_without_it_within_five_seconds(autojump_clock, actor, store):
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await trio.sleep(1)
        store.owe(1)
        actor.bell.ring()
        await trio.sleep(10.5)
        store.owe(2)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [(at, attempted.key) for at, attempted in store.log] == [(1.05, 1), (pytest.approx(16.05, abs=0.2), 2)]


async def test_a_retry_is_made_when_it_is_due_and_not_at_the_next_look(autojump_clock, actor, store):
    store.owe(1, after=3.25)
    await until(actor, 4)
    assert store.done_at("good:443") == [3.3]


async def test_hanging_receivers_do_not_delay_others(autojump_clock, actor, store, receivers):
    # Fifty that hang, each with a backlog, against one that answers.
    receivers.seconds = {f"hole{number}": 1e9 for number in range(50)}
    for key in range(1000):
        store.owe(key, f"hole{key % 50}:443", organization=key % 50)
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        for second in range(60):
            store.owe(10_000 + second, "good:443", organization=99)
            actor.bell.ring()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert store.done_at("good:443") == [pytest.approx(second + 0.05, abs=0.01) for second in range(60)]
    assert receivers.most["all"] <= 64


async def test_one_hanging_receivers_backlog_takes_one_slot(autojump_clock, actor, store, receivers):
    receivers.seconds = {"hole": 1e9}
    for key in range(500):
        store.owe(key, "hole:443")
    for key in range(500, 600):
        store.owe(key, f"good{key}:443", organization=2)
    await until(actor, 20)
    assert receivers.most["hole"] == 1
    delivered = [at for at, attempted in store.log if attempted.status is DeliveryStatus.DELIVERED]
    assert len(delivered) == 100
    assert max(delivered) < 1


async def test_all_slots_are_used_and_claims_are_few(autojump_clock, actor, store, receivers):
    for key in range(2000):
        store.owe(key, f"host{key % 40}:443", organization=key % 8)
    await until(actor, 600)
    assert len(store.log) == 2000
    assert receivers.most["all"] == 64
    assert max(at for at, _ in store.log) < 1.1 * 2000 * 0.05 / 64
    assert store.claims < 300


async def test_no_limit_is_exceeded(autojump_clock, actor, store, receivers):
    for key in range(1000):
        store.owe(key, f"host{key % 20}:443", organization=key % 20 // 8)
    await until(actor, 600)
    assert len(store.log) == 1000
    assert max(receivers.most[f"host{number}"] for number in range(20)) == 4
    assert [receivers.most[f"organization {number}"] for number in range(3)] == [20, 20, 16]


async def test_every_delivery_is_made_once_when_nothing_goes_wrong(autojump_clock, actor, store):
    for key in range(300):
        store.owe(key, "good:443")
    await until(actor, 600)
    assert sorted(attempted.key for _, attempted in store.log) == list(range(300))
    assert {row.status for row in store.rows.values()} == {DeliveryStatus.DELIVERED}


async def test_idle_costs_two_questions_every_five_seconds(autojump_clock, actor, store):
    await until(actor, 3600)
    assert store.claims == pytest.approx(720, abs=2)


async def test_a_database_that_is_away_is_asked_again(autojump_clock, actor, store):
    store.away_until = 30
    store.owe(1)
    await until(actor, 60)
    assert store.done_at("good:443") == [pytest.approx(30.05, abs=1.1)]


async def test_a_bug_in_an_attempt_is_a_recorded_failure_of_that_attempt(autojump_clock, actor, store, receivers):
    receivers.broken = True
    store.owe(1)
    await until(actor, 1)
    (_, attempted) = store.log[0]
    assert (attempted.error, attempted.status_code, attempted.status) == (
        "internal error",
        None,
        DeliveryStatus.PENDING,
    )


async def test_a_writer_that_is_gone_is_not_survived(autojump_clock, actor, store):
    async def gone(_: DeliveryAttempted) -> None:
        raise trio.BrokenResourceError

    store.owe(1)
    with pytest.RaisesGroup(trio.BrokenResourceError, flatten_subgroups=True):
        await attrs.evolve(actor, record=gone).run()


async def stopped(actor: Callbacks, after: float, also: Callable[[], None] = lambda: None) -> float:
    """Run the actor, stop it after some seconds; how long `run` then took to return."""
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await trio.sleep(after)
        also()
        actor.stop()
        at = trio.current_time()
    return trio.current_time() - at


async def test_stopping_lets_attempts_under_way_finish_and_takes_no_more(autojump_clock, actor, store, receivers):
    receivers.seconds = {"slow": 4}
    store.owe(1, "slow:443")
    assert await stopped(actor, 1, lambda: store.owe(2)) == pytest.approx(3)
    assert store.log[0][1].status is DeliveryStatus.DELIVERED
    assert (len(store.log), store.rows[2].status) == (1, DeliveryStatus.PENDING)


async def test_stopping_abandons_what_takes_too_long_and_its_lease_gives_it_back(
    autojump_clock, actor, store, receivers
):
    receivers.seconds = {"slow": 4}
    store.owe(1, "slow:443")
    assert await stopped(attrs.evolve(actor, drain_seconds=2), 1) == pytest.approx(2)
    assert store.log == []
    await until(attrs.evolve(actor), 120)
    assert store.done_at("slow:443") == [pytest.approx(64, abs=0.2)]


async def test_an_idle_actor_stops_at_once(autojump_clock, actor):
    assert await stopped(actor, 1) == 0


async def test_a_cancelled_actor_leaves_attempts_to_their_leases(autojump_clock, actor, store, receivers):
    receivers.seconds = {"slow": 4}
    store.owe(1, "slow:443")
    await until(actor, 2)
    assert (store.log, trio.current_time()) == ([], 2)
    assert store.rows[1].at == CLOCK.epoch + timedelta(seconds=60)
