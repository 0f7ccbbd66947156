"""Processes end with the one that started them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, time
if os.fork() == 0:
    from backburner import parent_watch
    getattr(parent_watch, sys.argv[1])()
    print("at work", flush=True)
    time.sleep(600)
os.wait()
"""


@pytest.mark.processes
@pytest.mark.parametrize("way", ["die_with_parent", "follow_parent"])
def test_a_process_ends_when_its_parent_is_killed(way):
    with subprocess.Popen([sys.executable, "-c", PROGRAM, way], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"at work\n"
        parent.kill()
        assert parent.stdout.read() == b""  # which nobody can say before the last writer has gone
