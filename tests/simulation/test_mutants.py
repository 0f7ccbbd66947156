"""The mutation gate fits the source, and works."""

from __future__ import annotations

import pytest
from simulation.mutants import MUTANTS
from simulation.mutation import SOURCE, check_mutant, hunt, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one_line_that_is_there(mutant):
    check_mutant(mutant)
    compile(mutated(mutant, (SOURCE / mutant.file).read_text()), mutant.file, "exec")


def test_a_bug_is_found():
    forgetful = next(mutant for mutant in MUTANTS if mutant.name == "the next look is forgotten")
    verdict = hunt(forgetful, most=20)
    assert verdict.found.invariant == "every open batch has a time for its next look, and nothing breaks on the way"
