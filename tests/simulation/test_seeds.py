"""A slice of the simulation: every seed draws its own instances, clients and faults, and breaks no promise."""

from __future__ import annotations

import pytest
from simulation.seeds import run_seed


@pytest.mark.parametrize("seed", range(40))
def test_no_promise_is_broken(seed):
    outcome = run_seed(seed)
    assert outcome.report == "", outcome.report
