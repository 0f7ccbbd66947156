"""The mutation gate fits the source, and works."""

from __future__ import annotations

import pytest
from simulation.mutants import MUTANTS
from simulation.mutation import SOURCE, check_mutant, hunt, mutated, named, run_mutant

FORGETFUL = "the next look is forgotten"
NOTICED = "every open batch has a time for its next look, and nothing breaks on the way"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one_line_that_is_there(mutant):
    check_mutant(mutant)
    compile(mutated(mutant, (SOURCE / mutant.file).read_text()), mutant.file, "exec")


def test_a_bug_is_found_and_found_again(capfd):
    verdict = hunt(named(FORGETFUL), most=20)
    assert verdict.found.invariant == NOTICED
    again = f"./scripts/simulate --mutants '{FORGETFUL}' --seed {verdict.found.seed}"
    assert again in verdict.row
    assert run_mutant(verdict.mutant, verdict.found.seed) == 1
    shown = capfd.readouterr().out
    assert f"VIOLATION of {NOTICED!r}" in shown
    assert f"replay: {again}\n" in shown
