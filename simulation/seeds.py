"""Running many seeds, in several processes, and saying what was found."""

from __future__ import annotations

import logging
import multiprocessing
import shlex
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import attrs
import structlog

from simulation.profile import draw
from simulation.where import AS_DRAWN, Where
from simulation.world import World, simulate

T = TypeVar("T")
U = TypeVar("U")


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one seed; `report` is for people, empty when every promise was kept."""

    seed: int
    steps: int
    digest: str
    invariant: str
    report: str
    is_cut_off: bool = False  # it was stopped at a step, and says nothing of what comes after


def be_quiet() -> None:
    """What the program logs is of no use here, and printing it takes longer than the run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run_seed(
    seed: int,
    *,
    where: Where = AS_DRAWN,
    again: str = "",
    show: Callable[[str], None] | None = None,
    until_step: int | None = None,
) -> Outcome:
    """Run one seed to its end, or to a step. `again` says how to do it again, if not simply by the seed."""
    again = again or replay(seed)
    is_cut_off = False

    def prepare(world: World) -> None:
        def stop() -> None:
            nonlocal is_cut_off
            is_cut_off = True
            world.stop()

        if until_step is not None:
            world.steps.after(until_step, stop)

    try:
        world = simulate(where.of(draw(seed)), choices=where.choices, show=show, prepare=prepare)
    except Exception:  # a bug of the simulation must not hide the other seeds
        report = f"seed {seed} broke the simulation\n{traceback.format_exc()}replay: {again}"
        return Outcome(seed=seed, steps=0, digest="", invariant="the simulation works", report=report)
    invariant = "" if world.violation is None else world.violation.invariant
    found = described(world)
    report = found and f"seed {seed}, {found}\nreplay: {again}"
    return Outcome(
        seed=seed,
        steps=world.trace.step,
        digest=world.trace.digest,
        invariant=invariant,
        report=report,
        is_cut_off=is_cut_off,
    )


def replay(seed: int | None, mutant: str = "") -> str:
    """The command that does it again."""
    bug = f" --mutants {shlex.quote(mutant)}" if mutant else ""
    return f"./scripts/simulate{bug}" + ("" if seed is None else f" --seed {seed}")


def described(world: World) -> str:
    """A violation in full; empty without one."""
    found = world.violation
    if found is None:
        return ""
    cause = "" if found.cause is None else "".join(traceback.format_exception(found.cause)).rstrip()
    lines = (
        f"step {found.step}: violated: {found.invariant}",
        f"    {found.what}",
        f"profile: {world.profile}",
        "the last events:",
        *found.last,
        cause,
    )
    return "\n".join(filter(None, lines))


def run_seeds(seeds: Sequence[int], *, jobs: int) -> Iterator[Outcome]:
    """Outcomes as they come, in no order when there are several jobs."""
    return in_processes(run_seed, seeds, jobs=jobs)


def in_processes(run: Callable[[T], U], asked: Sequence[T], *, jobs: int) -> Iterator[U]:
    """What comes of each, at once when it is known: in no order when there are several jobs."""
    if jobs == 1:
        yield from map(run, asked)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=be_quiet) as pool:
        yield from pool.imap_unordered(run, asked)  # one by one: a failure does not wait for its neighbours


@attrs.define
class Progress:
    """Prints how far it is, every few seconds."""

    what: str
    total: int
    say: Callable[[str], None]
    every: float = 10.0
    done: int = 0
    failed: int = 0
    _began: float = attrs.field(factory=time.monotonic)
    _said: float = attrs.field(factory=time.monotonic)

    def add(self, report: str) -> None:
        """One is done; its report is shown now."""
        self.done += 1
        self.failed += bool(report)
        if report:
            self.say(report)
        if time.monotonic() - self._said >= self.every:
            self._said = time.monotonic()
            self.say(self.line())

    def line(self) -> str:
        seconds = max(1e-9, time.monotonic() - self._began)
        return (
            f"{self.done} of {self.total} {self.what} in {seconds:.0f} s, {self.done / seconds:.2f} a second, "
            f"{self.failed} of them broke a promise"
        )
