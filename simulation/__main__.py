"""`./scripts/simulate`: run seeds, replay one, hunt mutants, crash at every step."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence

import msgspec

from simulation.arguments import parse
from simulation.crash_points import crash_at, crash_at_all, points, told
from simulation.mutants import Mutant
from simulation.mutation import HEADING, Found, hunt_all, named, run_mutant
from simulation.seeds import Progress, be_quiet, replay, run_seed, run_seeds
from simulation.where import AS_DRAWN


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 when a promise was broken, or a mutant not found."""
    asked = parse(arguments)
    be_quiet()
    if asked.hunt is not None:
        return _in_mutant(asked)
    if asked.mutants is not None:
        return _mutants(asked)
    if asked.crash_points is not None:
        return _crash_points(asked)
    if asked.seed is not None:
        return _one(asked.seed, asked.until_step)
    return _many(asked.seeds, asked.jobs)


def _say(text: str) -> None:
    print(text, flush=True)


def _one(seed: int, until_step: int | None, mutant: Mutant | None = None) -> int:
    again = replay(seed, "" if mutant is None else mutant.name)
    where = AS_DRAWN if mutant is None else mutant.where
    outcome = run_seed(seed, where=where, again=again, show=_say, until_step=until_step)
    cut_off = f"cut off at step {until_step}, nothing found up to there"
    kept = cut_off if outcome.is_cut_off else f"{outcome.steps} steps, no violation"
    _say(outcome.report or f"seed {seed}: {kept}")
    _say(f"trace {outcome.digest}")
    return bool(outcome.report)


def _many(seeds: range, jobs: int) -> int:
    progress = Progress("seeds", len(seeds), _say)
    for outcome in run_seeds(seeds, jobs=jobs):
        progress.add(outcome.report)
    _say(progress.line())
    return bool(progress.failed)


def _in_mutant(asked: Namespace) -> int:
    mutant = named(asked.hunt)
    if asked.seed is not None:
        return _one(asked.seed, asked.until_step, mutant)
    found = Found(seed=None, invariant=None, tried=asked.most)
    for seed in range(asked.first, asked.most):
        if (outcome := run_seed(seed, where=mutant.where)).report and outcome.steps:
            found = Found(seed=seed, invariant=outcome.invariant, tried=seed + 1)
            break
    _say(msgspec.json.encode(found).decode())
    return 0


def _mutants(asked: Namespace) -> int:
    if asked.seed is not None:
        return run_mutant(named(asked.mutants[0]), asked.seed, asked.until_step)
    _say(HEADING)
    missed = 0
    for verdict in hunt_all(asked.mutants, asked.most, jobs=asked.jobs):
        missed += not verdict.is_found
        _say(verdict.row)
    _say(f"{missed} mutants were not found within {asked.most} seeds")
    return bool(missed)


def _crash_point(name: str, step: int) -> int:
    crash = crash_at(name, step, show=_say)
    _say(crash.report or f"{told(name, step)}: no violation")
    return bool(crash.report)


def _crash_points(asked: Namespace) -> int:
    if asked.at_step is not None:
        return _crash_point(asked.crash_points[0], asked.at_step)
    places = points(asked.crash_points, every=asked.every)
    for name, steps in Counter(name for name, _ in places).items():
        _say(f"{name}: {steps} steps to crash at")
    progress = Progress("crashes", len(places), _say)
    for crash in crash_at_all(places, jobs=asked.jobs):
        progress.add(crash.report)
    _say(progress.line())
    return bool(progress.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
