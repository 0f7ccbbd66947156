"""A process of its own on a machine of a cluster, for one call: killed with it, bounded in memory."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import Any, BinaryIO

import attrs

from backburner.execution import worker
from backburner.execution.failures import Outcome, Raised, nothing, outcome_of
from backburner.execution.reports import RemoteContext
from backburner.signatures import CONTEXT

#: What stands before each frame that goes out: its kind and its length.
HEAD = struct.Struct(">cI")
WORD, OUTCOME = b"w", b"o"


@attrs.define(kw_only=True)
class PipeContext(RemoteContext):
    """The context of a handler that runs on a cluster. Its process is killed when its job is being ended."""

    out: BinaryIO

    def send(self, report: bytes) -> None:
        self.out.write(HEAD.pack(WORD, len(report)) + report)
        self.out.flush()


def main() -> None:
    """Read the call, make it, write what came of it."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is not for who reads the frames
    worker.begin()
    found = pickle.dumps(_outcome(sys.stdin.buffer.read(), out))
    out.write(HEAD.pack(OUTCOME, len(found)) + found)
    out.flush()


def _outcome(call: bytes, out: BinaryIO) -> Outcome:
    read = outcome_of(_read, {"call": call}, is_ours=nothing)
    if isinstance(read, Raised):
        message = f"The function cannot be imported on the cluster: {read.message}"
        return attrs.evolve(read, code="not_importable", message=message)
    function, arguments, memory_bytes, facts = read.value
    if facts is not None:
        arguments = {**arguments, CONTEXT: PipeContext(**facts, address="", out=out)}
    done = worker.execute(function, arguments, memory_bytes)
    probe = outcome_of(_pickled, {"value": done}, is_ours=nothing)
    if isinstance(probe, Raised):
        return attrs.evolve(probe, code="not_picklable", may_retry=False)
    return done


def _read(call: bytes) -> Any:
    return pickle.loads(call)  # noqa: S301  # of a server of ours, through the cluster's scheduler


def _pickled(value: object) -> bytes:
    return pickle.dumps(value)


if __name__ == "__main__":
    main()
