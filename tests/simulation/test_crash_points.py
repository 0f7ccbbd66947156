"""An instance is killed at some of its steps; `./scripts/simulate --crash-points` kills it at each."""

from __future__ import annotations

from functools import cache

import pytest
from simulation.crash_points import MIGRATE, SCENARIOS, UNDISTURBED, crash_at, crash_at_all, points, steps_of

PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of all the steps there are, from the first to the last

steps = cache(steps_of)


def place(part: float, last: int) -> int:
    return 1 + round(part * (last - 1))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scenario", [*SCENARIOS, MIGRATE])
def test_a_crash_at_any_step_changes_nothing_in_the_end(scenario, part):
    assert crash_at(scenario, place(part, steps(scenario))).report == ""


@pytest.mark.parametrize(("scenario", "nothing"), [("handler", "nothing was killed"), (MIGRATE, "nothing was cut off")])
def test_a_crash_that_never_comes_is_no_success(scenario, nothing):
    step = steps(scenario) + 1
    report = crash_at(scenario, step).report
    assert f"{scenario}, killed at step {step}: {nothing}" in report
    assert report.endswith(f"replay: ./scripts/simulate --crash-points {scenario} --at-step {step}")


def test_a_story_that_breaks_hides_neither_where_nor_the_others():
    assert points(["none such"]) == [("none such", UNDISTURBED)]
    broken, other = crash_at_all([("none such", 7), ("lost answer", 1)], jobs=1)
    assert "none such, killed at step 7: the simulation broke\nTraceback" in broken.report
    assert broken.report.endswith("\nreplay: ./scripts/simulate --crash-points 'none such' --at-step 7")
    assert (other.name, other.step, other.report) == ("lost answer", 1, "")


def test_every_step_of_a_story_is_a_point():
    assert points(["handler"]) == [("handler", step) for step in range(1, steps("handler") + 1)]
