"""What a client sends costs no more than in proportion to its size: time and memory, of each route and form."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest
from tests.cost.growth import MEMORY, PER_BYTE, Measured, complaint, is_steep

SIZE = 12 * 1024  # bytes of the smallest input: what is quadratic takes seconds at four times that
#: The groups of one child, and how many inputs it has at least.
CHILDREN = {"routes": (["routes"], 400), "bodies": (["batches", "documents", "heads", "parsers"], 75)}


@pytest.mark.processes
@pytest.mark.parametrize("name", CHILDREN)
def test_no_input_costs_more_than_in_proportion(name):
    groups, least = CHILDREN[name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cost.child", str(SIZE), *groups], capture_output=True, check=False, timeout=900,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = [msgspec.json.decode(line, type=Measured) for line in done.stdout.splitlines()]
    assert len(found) >= least
    assert [words for one in found if (words := complaint(one))] == []


@pytest.mark.parametrize(
    ("seconds", "steep"),
    [
        ([0.1, 0.2, 0.4, 0.8], False),
        ([0.1, 0.4, 1.6], True),
        ([0.1, 0.2, 0.8, 3.2], True),
        ([0.1, 0.4, 0.8, 3.2], False),  # a machine that was busy for a while
        ([0.0001, 0.001, 0.01, 0.019], False),  # too little to tell
        ([0.001, 0.01, 0.1, 0.2], False),
    ],
)
def test_two_steep_doublings_in_a_row_are_too_much(seconds, steep):
    assert is_steep(seconds) is steep
    found = Measured(name="x", sizes=[1, 2, 4, 8][: len(seconds)], seconds=seconds, peaks=[0] * len(seconds))
    assert (complaint(found) is not None) is steep


@pytest.mark.parametrize(("peak", "too_much"), [(MEMORY + 1000 * PER_BYTE, False), (MEMORY + 1001 * PER_BYTE, True)])
def test_memory_is_bounded_by_what_was_sent(peak, too_much):
    found = Measured(name="x", sizes=[1000], seconds=[0.1], peaks=[peak])
    assert (complaint(found) is not None) is too_much
