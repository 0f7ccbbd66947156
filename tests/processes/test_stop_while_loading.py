"""A stop does not wait for the provider's SDK, which takes long to load on a busy machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

PROGRAM = """
import os, sys, time, trio
from backburner.serving.provider import loaded

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "anthropic":
            time.sleep(60)

def never():
    raise AssertionError("the provider was opened")

async def main():
    with trio.move_on_after(0.2):
        async with loaded(never):
            pass

sys.meta_path.insert(0, Slow())
trio.run(main)
os._exit(7)
"""


def test_a_term_that_ends_while_the_sdk_is_loaded_does_not_wait_for_it():
    assert subprocess.run([sys.executable, "-c", PROGRAM], timeout=40, check=False).returncode == 7
