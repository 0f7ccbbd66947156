"""A slice of the simulation: every seed draws its own instances, clients and faults, and breaks no promise."""

from __future__ import annotations

import pytest
from simulation.seeds import run_seed

SEEDS = 200
AT_ONCE = 10  # in one test, so that workers share them evenly and a test's name stays the same


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE), ids=lambda first: f"{first}-{first + AT_ONCE - 1}")
def test_no_promise_is_broken(first):
    reports = [run_seed(seed).report for seed in range(first, first + AT_ONCE)]
    assert not any(reports), "\n\n".join(filter(None, reports))
