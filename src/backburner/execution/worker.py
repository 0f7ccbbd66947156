"""What happens inside a worker process."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backburner.execution.failures import Outcome, Raised, nothing, outcome_of
from backburner.parent_watch import follow_parent

_OUTGROWN = threading.Event()  # this process hit its memory limit; it takes no further work


def begin() -> None:
    """End this process when its server has died, also while it computes."""
    follow_parent()


def is_outgrown() -> bool:
    """Whether this process is to be replaced."""
    return _OUTGROWN.is_set()


def execute(function: Callable[..., Any], arguments: Mapping[str, Any], memory_bytes: int | None) -> Outcome:
    """Call the function. It may use `memory_bytes` more than the process has at the start."""
    with _limited(memory_bytes):
        outcome = outcome_of(function, arguments, is_ours=nothing)
    if isinstance(outcome, Raised) and outcome.code == "memory_exceeded":
        _OUTGROWN.set()
    return outcome


@contextmanager
def _limited(memory_bytes: int | None) -> Iterator[None]:
    if memory_bytes is None or not sys.platform.startswith("linux"):
        yield  # elsewhere address space has no limit that the system holds
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
