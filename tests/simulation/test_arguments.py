"""What `./scripts/simulate` refuses to do."""

from __future__ import annotations

import pytest
from simulation.arguments import parse

REFUSED = {
    "--seeds 5-3": "argument --seeds: '5-3' holds no seed: it is A-B, with B not below A, or how many",
    "--seeds 0": "argument --seeds: '0' holds no seed",
    "--seeds x-y": "argument --seeds: not a number: 'x'",
    "--seeds 3-": "argument --seeds: not a number: ''",
    "--seed -1": "argument --seed: must be at least 0, not -1",
    "--seed many": "argument --seed: not a number: 'many'",
    "--seed 1 --until-step 0": "argument --until-step: must be at least 1, not 0",
    "--until-step 5": "--until-step: not with --seeds",
    "--seed 1 --seeds 5": "--seeds: not with --seed",
    "--seed 1 --jobs 2": "--jobs: not with --seed",
    "--seeds 5 --jobs 0": "argument --jobs: must be at least 1, not 0",
    "--seeds 5 --every 2": "--every: not with --seeds",
    "--mutants nonsense": "argument --mutants: there is no 'nonsense'; there are: the fence does not",
    "--mutants --most 0": "argument --most: must be at least 1, not 0",
    "--mutants --seeds 5": "--seeds: not with --mutants",
    "--mutants --crash-points": "--crash-points: not with --mutants",
    "--mutants --seed 3": "--seed: needs exactly one name after --mutants, not 0",
    "--crash-points nonsense": "argument --crash-points: there is no 'nonsense'; there are: submit, lost answer,",
    "--crash-points --every 0": "argument --every: must be at least 1, not 0",
    "--crash-points --every -1": "argument --every: must be at least 1, not -1",
    "--crash-points --seed 3": "--seed: not with --crash-points",
    "--crash-points --most 3": "--most: not with --crash-points",
    "--crash-points submit poll --at-step 3": "--at-step: needs exactly one name after --crash-points, not 2",
    "--crash-points submit --at-step 3 --jobs 2": "--jobs: not with --crash-points with --at-step",
    "--at-step 3": "--at-step: not with --seeds",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_makes_no_sense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        parse(arguments.split())
    assert left.value.code == 2
    assert f"simulate: error: {REFUSED[arguments]}" in capsys.readouterr().err


def test_what_is_not_said_has_a_default():
    asked = parse([])
    assert (asked.seeds, asked.jobs, asked.every, asked.most) == (range(200), 1, 1, 500)
