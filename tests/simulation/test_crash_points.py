"""An instance is killed at some of its steps; `./scripts/simulate --crash-points` kills it at each."""

from __future__ import annotations

import pytest
from simulation.crash_points import SCENARIOS, crash_at
from simulation.migrating import cut_off_at

EVERY = 233
STEPS = 700


@pytest.mark.parametrize("step", range(1, STEPS, EVERY))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_at_any_step_changes_nothing_in_the_end(scenario, step):
    step += 9 * list(SCENARIOS).index(scenario)  # not the same steps of each
    assert crash_at(scenario, step) == ""


@pytest.mark.parametrize("instructions", [1, 100, 1000, 3000])
def test_a_migration_that_is_cut_off_is_done_by_the_next_start(instructions):
    assert cut_off_at(instructions) == ""
