"""What a worker of a Dask cluster does for one call: it keeps a process that can be killed, and tells of it."""

from __future__ import annotations

import pickle
import selectors
import subprocess
import sys
from typing import IO, Any

from distributed import get_worker

from backburner.execution.cluster_child import HEAD, OUTCOME, WORD
from backburner.execution.cluster_client import STARTED, TOPIC
from backburner.execution.failures import Outcome, Raised

NOBODYS = b"nobody's"  # the outcome of a call that nobody waits for
LOOK = 0.2  # seconds between looks whether the call is still wanted
_ALIVE = frozenset({"running", "paused"})  # states of a worker that has its scheduler
_RUNNING = frozenset({"executing", "long-running"})  # states of a task that somebody waits for


def supervise(call: bytes, name: str) -> bytes:
    """Run the call in a process; its pickled outcome. The process is killed when nobody wants the task any more."""
    host: Any = get_worker()
    host.log_event(TOPIC, {"key": name, "said": STARTED})
    command = [sys.executable, "-m", "backburner.execution.cluster_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # ours
        try:
            assert process.stdin is not None  # noqa: S101
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(call)
            process.stdin.close()
            return _followed(process.stdout, host, name) or _died(process)
        except BrokenPipeError:
            return _died(process)
        finally:
            process.kill()


def _followed(out: IO[bytes], host: Any, key: str) -> bytes | None:
    """The outcome; None when the process ended without one."""
    with selectors.DefaultSelector() as ready:
        ready.register(out, selectors.EVENT_READ)
        while True:
            while not ready.select(LOOK):
                if not _is_wanted(host, key):
                    return NOBODYS
            head = out.read(HEAD.size)
            if len(head) < HEAD.size:
                return None
            kind, size = HEAD.unpack(head)
            body = out.read(size)
            if kind == OUTCOME:
                return body
            if kind == WORD:
                host.log_event(TOPIC, {"key": key, "said": body})


def _is_wanted(host: Any, key: str) -> bool:
    task = host.state.tasks.get(key)
    return host.status.name in _ALIVE and task is not None and task.state in _RUNNING


def _died(process: subprocess.Popen[bytes]) -> bytes:
    code = process.wait()
    message = f"The process on the cluster ended with {code}."
    died: Outcome = Raised(code="process_died", message=message, details={}, may_retry=True, retry_after=None)
    return pickle.dumps(died)
