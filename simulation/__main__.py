"""`./scripts/simulate`: run seeds, replay one, hunt mutants, crash at every step."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec

from simulation.crash_points import MIGRATE, SCENARIOS, crash_at, crash_at_all, points
from simulation.mutants import MUTANTS
from simulation.mutation import HEADING, MOST_SEEDS, Found, hunt_all
from simulation.seeds import Progress, be_quiet, run_seed, run_seeds


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 when a promise was broken, or a mutant not found."""
    asked = _parser().parse_args(arguments)
    be_quiet()
    if asked.hunt:
        return _hunt(asked.hunt, asked.first, asked.most)
    if asked.mutants is not None:
        return _mutants(asked.mutants, asked.most, asked.jobs)
    if asked.crash_points is not None:
        if asked.at_step is not None:
            return _crash_point(asked.crash_points[0], asked.at_step)
        return _crash_points(asked.crash_points, asked.every, asked.jobs)
    if asked.seed is not None:
        return _one(asked.seed, asked.until_step)
    return _many(asked.seeds, asked.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description="Search for broken promises, deterministically.")
    parser.add_argument("--seeds", type=_seeds, default=range(200), help="A-B, or how many from 0 on (200)")
    parser.add_argument("--seed", type=int, help="run one seed and show every event")
    parser.add_argument("--until-step", type=int, help="with --seed: stop at this step")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="hunt known bugs, all or those named")
    parser.add_argument(
        "--crash-points", nargs="*", choices=[*SCENARIOS, MIGRATE], help="crash scenarios at every step"
    )
    parser.add_argument("--every", type=int, default=1, help="with --crash-points: only every n-th step")
    parser.add_argument(
        "--at-step",
        type=int,
        help="with --crash-points NAME: only at this step, and show every event",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--hunt", metavar="MUTANT", help=argparse.SUPPRESS)  # in the mutant itself
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--most", type=int, default=MOST_SEEDS, help="with --mutants: seeds for each (500)")
    return parser


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


def _say(text: str) -> None:
    print(text, flush=True)


def _one(seed: int, until_step: int | None) -> int:
    outcome = run_seed(seed, show=_say, until_step=until_step)
    _say(outcome.report or f"seed {seed}: {outcome.steps} steps, no violation")
    _say(f"trace {outcome.digest}")
    return bool(outcome.report)


def _many(seeds: range, jobs: int) -> int:
    progress = Progress("seeds", len(seeds), _say)
    for outcome in run_seeds(seeds, jobs=jobs):
        progress.add(outcome.report)
    _say(progress.line())
    return bool(progress.failed)


def _hunt(name: str, first: int, most: int) -> int:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    found = Found(seed=None, invariant=None, tried=most)
    for seed in range(first, most):
        if (outcome := run_seed(seed, where=mutant.where)).report and outcome.steps:
            found = Found(seed=seed, invariant=outcome.invariant, tried=seed + 1)
            break
    _say(msgspec.json.encode(found).decode())
    return 0


def _mutants(names: Sequence[str], most: int, jobs: int) -> int:
    _say(HEADING)
    missed = 0
    for verdict in hunt_all(names, most, jobs=jobs):
        missed += verdict.found.seed is None
        _say(verdict.row)
    _say(f"{missed} mutants were not found within {most} seeds")
    return bool(missed)


def _crash_point(name: str, step: int) -> int:
    crash = crash_at(name, step, show=_say)
    _say(crash.report or f"{name}, killed at step {step}: no violation")
    return bool(crash.report)


def _crash_points(names: Sequence[str], every: int, jobs: int) -> int:
    places = points(names, every=every)
    for name, steps in Counter(name for name, _ in places).items():
        _say(f"{name}: {steps} steps to crash at")
    progress = Progress("crashes", len(places), _say)
    for crash in crash_at_all(places, jobs=jobs):
        progress.add(crash.report)
    _say(progress.line())
    return bool(progress.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
