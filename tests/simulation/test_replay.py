"""A seed is the same run in every process."""

from __future__ import annotations

import os
import subprocess
import sys

SEED = "3"


def test_a_seed_replays_byte_for_byte():
    runs = [_started(hash_seed) for hash_seed in ("0", "1")]
    first, second = (run.communicate()[0] for run in runs)
    assert b"no violation" in first
    assert first == second


def test_a_replay_stops_at_the_step_that_is_asked_for():
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--seed", SEED, "--until-step", "100"], capture_output=True, check=True
    )
    *events, _, _ = done.stdout.decode().splitlines()
    assert 0 < max(int(line.split()[0]) for line in events) < 200


def _started(hash_seed: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulation", "--seed", SEED],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
    )
