"""Long work on the event loop, cut into steps so that everybody else has their turn in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import trio

T = TypeVar("T")

#: Work in steps of a few milliseconds: it may be left alone for a while at each `yield`; `return` gives the outcome.
Steps = Generator[None, None, T]


async def patiently(steps: Steps[T]) -> T:
    """The outcome; others run between the steps. What has no steps is no checkpoint."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        await trio.lowlevel.checkpoint()


def at_once(steps: Steps[T]) -> T:
    """The outcome without a pause, for what is known to be small."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: T = end.value
            return outcome
