"""What actors have in common."""

from __future__ import annotations

import pytest
import trio

from backburner.actors.loops import Bell, contained


async def test_a_bell_rung_often_before_anyone_listens_is_heard_once(autojump_clock):
    bell = Bell()
    for _ in range(3):
        bell.ring()
    await bell.heard(at_most=10)
    assert trio.current_time() == 0
    await bell.heard(at_most=10)
    assert trio.current_time() == 10


async def test_a_bell_wakes_its_listener(autojump_clock, nursery):
    bell = Bell()

    async def ring_later() -> None:
        await trio.sleep(3)
        bell.ring()

    nursery.start_soon(ring_later)
    await bell.heard(at_most=10)
    assert trio.current_time() == 3


async def test_contained_work_hands_over_what_broke_it():
    heard: list[BaseExceptionGroup[Exception]] = []

    async def broken() -> None:
        raise ValueError("inside")

    async def record(errors: BaseExceptionGroup[Exception]) -> None:
        heard.append(errors)

    await contained(broken, record)
    assert [str(error) for group in heard for error in group.exceptions] == ["inside"]


async def test_cancellation_is_not_contained(autojump_clock):
    async def record(_: BaseExceptionGroup[Exception]) -> None:
        pytest.fail("cancellation is no error")

    with trio.move_on_after(1) as scope:
        await contained(trio.sleep_forever, record)
    assert scope.cancelled_caught


async def test_recording_has_a_deadline_even_when_cancelled(autojump_clock):
    async def broken() -> None:
        raise ValueError

    async def record(_: BaseExceptionGroup[Exception]) -> None:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await contained(broken, record)
    assert trio.current_time() == 5
