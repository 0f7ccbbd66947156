"""What `scripts/chaos` and `scripts/soak` make of what they have measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from chaos.__main__ import main
from chaos.arena import arena
from chaos.ledger import Violation
from chaos.outcome import mostly_within, since, within
from chaos.soak import Series


def series(values: list[float], *, every: float = 1.0) -> Series:
    return Series("memory, MiB", lambda: None, [number * every for number in range(len(values))], values)


def test_a_time_beyond_its_limit_is_a_violation():
    with pytest.raises(Violation, match=r"freeze: the longest is 17\.10 s, the limit 17\.0 s"):
        within(17.0, [15.0, 17.1], "freeze")


def test_times_that_were_not_measured_are_a_violation():
    with pytest.raises(Violation, match="nothing was measured"):
        within(17.0, [], "freeze")


@pytest.mark.parametrize(("seconds", "name"), [([1.0, 1.0, 2.1, 2.1, 2.1], "p50"), ([1.0] * 19 + [2.1] * 2, "p95")])
def test_where_a_busy_machine_may_be_late_the_median_of_few_and_the_p95_of_many_are_judged(seconds, name):
    with pytest.raises(Violation, match=rf"kill: {name} is 2\.10 s, the limit 2\.0 s \(load average"):
        mostly_within(2.0, seconds, "kill")


def test_single_late_ones_are_no_violation_there():
    assert "kill, limit of p50" in mostly_within(2.0, [1.0] * 4 + [9.0], "kill")


def test_a_moment_before_its_cause_is_a_violation():
    with pytest.raises(Violation, match=r"kill: 0\.500 s too early"):
        since(10.0, 9.5, "kill")


def test_a_scenario_that_was_not_run_has_not_held(capsys):
    assert main(["--minutes", "0", "--only", "terms"]) == 1
    assert "NOT RUN: out of time" in capsys.readouterr().out


@pytest.mark.parametrize("line", [["--kills", "0"], ["--jobs", "0"], ["--kills", "-1"], ["--minutes", "-1"]])
def test_nothing_at_all_cannot_be_asked_for(line):
    with pytest.raises(SystemExit) as raised:
        main(line)

    assert raised.value.code == 2


@pytest.mark.processes
def test_what_a_broken_promise_leaves_is_kept():
    with pytest.raises(Violation) as raised, arena(None) as found:
        raise Violation("broken")

    assert raised.value.__notes__ == [f"kept: {found.folder}"]
    assert Path(found.folder, "sandbox.log").exists()
    shutil.rmtree(found.folder)


def test_a_soak_of_few_samples_has_not_stayed_flat():
    text, flat = series([1.0] * 14).verdict()

    assert (text, flat) == ("memory, MiB    TOO FEW SAMPLES: 14", False)


def test_a_short_soak_tells_no_slope():
    text, flat = series([100.0] * 60).verdict()

    assert (text.endswith("too short to judge a slope"), flat) == (True, True)


def test_a_soak_that_holds_ever_more_has_not_stayed_flat():
    text, flat = series([100.0 + number / 2 for number in range(60)]).verdict()

    assert (text.endswith("GREW"), flat) == (True, False)


def test_a_long_soak_that_rises_steeply_has_not_stayed_flat():
    text, flat = series([100.0 + number * 35 / 3600 for number in range(1800)]).verdict()

    assert (text.endswith("+35.0 an hour   GREW"), flat) == (True, False)


def test_a_long_soak_that_hardly_rises_has_stayed_flat():
    assert series([100.0 + number * 25 / 3600 for number in range(1800)]).verdict()[1]
