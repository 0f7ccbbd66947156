"""Processes that are to end with the one that started them, also when that is killed with -9."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from time import sleep  # noqa: TID251  # in a thread of its own

LOOK = 1.0  # seconds between looks whether the parent lives
_PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent() -> None:
    """Kill this process when its parent dies: at once on Linux, elsewhere within a second.

    Only for a parent whose single thread has started this process: Linux asks for the thread.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was faster
            os._exit(1)
    else:
        follow_parent()


def follow_parent() -> None:
    """End this process within a second of its parent's end, also while it computes."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True, name="parent").start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        sleep(LOOK)
    os._exit(1)
