"""How long inputs that are made to be dear keep everybody else waiting."""

from __future__ import annotations

import time
from contextlib import suppress

import attrs
import trio
from tests.cost.child import Case, cases

from backburner.errors import BackburnerError
from benchmarks.report import Options, Row

SIZE = 128 * 1024  # bytes of a JSON document
GROUPS = ("batches", "documents", "heads")


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """The longest time that a task kept all others waiting, in seconds of this thread's processor time."""

    longest: float = 0.0
    _began: float = attrs.field(factory=time.thread_time)  # it is added in the middle of a step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.longest = max(self.longest, time.thread_time() - self._began)


def measure(options: Options) -> list[Row]:  # noqa: ARG001  # the database takes no part
    """The worst of each group of inputs: its whole cost, and the longest step of the event loop."""
    return trio.run(_measured)


async def _measured() -> list[Row]:
    rows: list[Row] = []
    for group in GROUPS:
        async with cases([group], SIZE) as inputs:
            found = [(case.name, *await _cost(case)) async for case in inputs]
        name, _, longest = max(found, key=lambda row: row[2])
        rows.append(Row(what=f"longest step, {name}", unit="ms", ours=1000 * longest, target=20, better="less"))
        name, whole, _ = max(found, key=lambda row: row[1])
        rows.append(Row(what=f"whole cost, {name}", unit="ms", ours=1000 * whole, better="less"))
    return rows


async def _cost(case: Case) -> tuple[float, float]:
    """Seconds of processor time: in all, and of the longest step."""
    data, steps = case.shape(case.size), Steps()
    trio.lowlevel.add_instrument(steps)
    began = time.process_time()
    try:
        with suppress(BackburnerError):
            await case.act(data)
    finally:
        trio.lowlevel.remove_instrument(steps)
    return time.process_time() - began, steps.longest
