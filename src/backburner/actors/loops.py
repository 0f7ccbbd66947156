"""What all actors have in common: being woken, and being kept from breaking each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from backburner.errors import BackburnerError

RECORD_SECONDS = 5.0


class Bell:
    """A wake-up that can be rung any number of times before anyone listens, and is then heard once."""

    def __init__(self) -> None:
        self._ring, self._hear = trio.open_memory_channel[None](1)

    def ring(self) -> None:
        """Wake the listener, or let its next wait end at once."""
        with suppress(trio.WouldBlock):  # already ringing
            self._ring.send_nowait(None)

    async def heard(self, at_most: float) -> None:
        """Return when the bell rings, or after `at_most` seconds."""
        with trio.move_on_after(at_most):
            await self._hear.receive()


async def contained(
    run: Callable[[], Awaitable[None]], record: Callable[[BaseExceptionGroup[Exception]], Awaitable[None]]
) -> None:
    """Run one piece of work so that whatever breaks it breaks only it.

    `record` hears what broke it and has 5 s, also while being cancelled. What `record` raises gets out. The one
    place of the program where every kind of error is caught.
    """
    try:
        await run()
    except* Exception as errors:  # cancellation and Ctrl-C are not Exceptions
        with trio.move_on_after(RECORD_SECONDS, shield=True):
            await record(errors)


async def finish_within(grace: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`; when the caller is cancelled meanwhile, let it go on for up to `grace` seconds more.

    What it raises on purpose comes out as it is, not in a group.
    """
    shield = trio.CancelScope(shield=True)
    failure: BackburnerError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_bound_when_cancelled, shield, grace)
        with shield:
            try:
                await work()
            except BackburnerError as error:
                failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _bound_when_cancelled(shield: trio.CancelScope, grace: float) -> None:
    try:
        await trio.sleep_forever()
    finally:
        shield.deadline = trio.current_time() + grace
