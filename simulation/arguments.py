"""What `./scripts/simulate` can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from simulation.crash_points import MIGRATE, SCENARIOS
from simulation.mutants import MUTANTS
from simulation.mutation import MOST_SEEDS

STORIES = (*SCENARIOS, MIGRATE)
#: The options that say what is done, and the others that each of them knows.
MODES = {
    "--seeds": {"--jobs"},
    "--seed": {"--until-step"},
    "--mutants": {"--most", "--jobs"},
    "--mutants with --seed": {"--until-step"},
    "--crash-points": {"--every", "--jobs"},
    "--crash-points with --at-step": set[str](),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Exits with 2 and a message when they make no sense together."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.hunt is None:
        _check(parser, asked)
    asked.seeds, asked.every, asked.jobs = asked.seeds or range(200), asked.every or 1, asked.jobs or 1
    asked.most = asked.most or MOST_SEEDS
    return asked


def _check(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    given = {f"--{name.replace('_', '-')}" for name, value in vars(asked).items() if value is not None}
    mode = _mode(given)
    if foreign := sorted(given - MODES[mode] - set(mode.split())):
        parser.error(f"{', '.join(foreign)}: not with {mode}")
    for several, one in (("mutants", "--seed"), ("crash_points", "--at-step")):
        names = getattr(asked, several)
        if one in given and names is not None and len(names) != 1:
            parser.error(f"{one}: needs exactly one name after --{several.replace('_', '-')}, not {len(names)}")


def _mode(given: set[str]) -> str:
    if "--mutants" in given:
        return "--mutants with --seed" if "--seed" in given else "--mutants"
    if "--crash-points" in given:
        return "--crash-points with --at-step" if "--at-step" in given else "--crash-points"
    return "--seed" if "--seed" in given else "--seeds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulate", description="Search for broken promises, deterministically.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--seeds", type=_seeds, metavar="A-B", help="run these, or so many from 0 on (200)")
    add("--seed", type=_at_least(0), metavar="N", help="run one seed and show every event")
    add("--until-step", type=_at_least(1), metavar="N", help="with --seed: stop at this step")
    add("--mutants", nargs="*", type=_one_of([mutant.name for mutant in MUTANTS]), metavar="NAME", help=_MUTANTS)
    add("--most", type=_at_least(1), metavar="N", help=f"with --mutants: seeds for each ({MOST_SEEDS})")
    add("--crash-points", nargs="*", type=_one_of(STORIES), metavar="NAME", help=_CRASH_POINTS)
    add("--every", type=_at_least(1), metavar="N", help="with --crash-points: only every n-th step")
    add("--at-step", type=_at_least(0), metavar="N", help="with --crash-points NAME: only there, and show every event")
    add("--jobs", type=_at_least(1), metavar="N", help="processes (1)")
    add("--hunt", metavar="NAME", help=argparse.SUPPRESS)  # in the mutant itself
    add("--first", type=_at_least(0), help=argparse.SUPPRESS)
    return parser


_MUTANTS = "hunt known bugs, all or those named; NAME and --seed run that seed with the bug and show every event"
_CRASH_POINTS = f"crash stories at every step, all or those named: {', '.join(STORIES)}"


def _one_of(known: Sequence[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"there is no {text!r}; there are: {', '.join(known)}")
        return text

    return check


def _at_least(lowest: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if (number := _number(text)) < lowest:
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, not {number}")
        return number

    return check


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    seeds = range(_number(first), _number(last) + 1) if dash else range(_number(first))
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed: it is A-B, with B not below A, or how many")
    return seeds


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
