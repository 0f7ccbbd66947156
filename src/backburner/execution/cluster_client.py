"""Dask's client, in threads: what blocks, and what its threads tell the event loop."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from backburner.errors import WrongApp
from backburner.execution.failures import Outcome, Returned, outcome_of

RESULT_SECONDS = 30.0  # for a result to come
CLOSE_SECONDS = 2.0
TOPIC = "backburner"
STARTED = "started"  # what a worker says when it has begun


def require_dask() -> None:
    """Raises WrongApp when the extra is not installed."""
    try:
        import distributed  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        message = "A handler with executor=\"dask\" needs Dask: pip install 'backburner[dask]'."
        raise WrongApp(message) from error


def connect(address: str, seconds: float, tell: Callable[[Any], None]) -> Outcome:
    """A client of the scheduler; `tell` hears of events, in its thread."""
    return outcome_of(_client, {"address": address, "seconds": seconds, "tell": tell})


def _client(address: str, seconds: float, tell: Callable[[Any], None]) -> Any:
    from distributed import Client  # noqa: PLC0415  # an extra, and slow to import

    client: Any = Client(  # type: ignore[no-untyped-call]
        address, timeout=seconds, set_as_default=False, name="backburner"
    )
    for topic in (TOPIC, "all"):  # the scheduler tells of workers that it lost under `all`
        client.subscribe_topic(topic, tell)
    return client


def submit(client: Any, call: bytes, key: str, wake: Callable[[Any], None]) -> Outcome:
    """A future on the cluster; `wake` is called when it is over, in another thread."""
    from backburner.execution.cluster_task import supervise  # noqa: PLC0415

    submitted = outcome_of(client.submit, {"func": supervise, "call": call, "name": key, "key": key, "pure": False})
    if isinstance(submitted, Returned):
        submitted.value.add_done_callback(wake)
    return submitted


def result(future: Any) -> Outcome:
    """The function's outcome inside of the client's."""
    return outcome_of(_unpacked, {"future": future})


def _unpacked(future: Any) -> Outcome:
    found: Outcome = pickle.loads(future.result(timeout=RESULT_SECONDS))  # noqa: S301  # of a worker that we trust
    return found


def close(client: Any) -> None:
    """The connection is over."""
    outcome_of(client.close, {"timeout": CLOSE_SECONDS})


def waker(token: trio.lowlevel.TrioToken, wake: Callable[[], None]) -> Callable[[Any], None]:
    """Calls `wake` on the event loop."""

    def done(_future: Any) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(wake)

    return done


def teller(token: trio.lowlevel.TrioToken, heard: Callable[[Any], None]) -> Callable[[Any], None]:
    """Hands what events say to `heard`, on the event loop."""

    def tell(event: tuple[float, Any]) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(heard, event[1])

    return tell
