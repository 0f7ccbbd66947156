"""What a handler is given besides its input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Event
from typing import Any, Protocol

import attrs
import msgspec
import structlog
import trio

LONGEST_MESSAGE = 500  # characters of one message of progress
CRITICAL_SECONDS = 60.0  # that a critical section may take at most


class Stopped(Exception):
    """The job is being ended: cancelled, past its deadline, or its server stops."""


class Children(Protocol):
    """Makes batches for a handler and waits for them."""

    @property
    def organization_key(self) -> int: ...

    async def known(self, key: str) -> str | None: ...

    async def make(self, intake: Any, key: str, **job: Any) -> str: ...

    async def submit(self, requests: Sequence[Mapping[str, Any]], *, key: str, **options: Any) -> str: ...

    async def results(self, job_id: str) -> list[dict[str, Any]]: ...


class Parts(Protocol):
    """Runs parts of a handler elsewhere."""

    async def call(
        self,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        executor: str,
        timeout_seconds: float,
        name: str,
    ) -> Any: ...


@attrs.define(kw_only=True, eq=False)
class Context:
    """One attempt at one job, as its handler sees it. `progress`, `cancelled` and `check` may be used in any thread."""

    job_id: str
    handler: str
    attempt: int  #: from 1
    token: str  #: of this attempt; `job_id` is the same for all of them
    deadline: datetime | None  #: of the attempt or of the job, whichever is earlier
    said: Callable[[dict[str, Any]], None]  #: hears of progress, in any thread
    children: Children | None = None
    parts: Parts | None = None
    log: Any = attrs.field(init=False)
    grace: float = CRITICAL_SECONDS
    _stopped: Event = attrs.field(factory=Event, init=False)
    _calls: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.log = structlog.get_logger().bind(job=self.job_id, handler=self.handler, attempt=self.attempt)

    # --- progress and the end ------------------------------------------------------------------------------

    def progress(
        self, processed: float | None = None, total: float | None = None, message: str | None = None, **more: Any
    ) -> None:
        """Say how far it is; shown as `metadata.progress`. Call it as often as you like, the newest word counts.

        It also says that the job is not stuck. `more` has to be JSON. Raises TypeError and ValueError for what is not.
        """
        word = {"processed": processed, "total": total, "message": message and message[:LONGEST_MESSAGE], **more}
        said = {name: value for name, value in word.items() if value is not None}
        self.said(msgspec.json.decode(msgspec.json.encode(said)))  # a copy: what was said does not change any more

    @property
    def cancelled(self) -> bool:
        """Whether the job is being ended: what a thread should ask now and then."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Raises Stopped when the job is being ended."""
        if self.cancelled:
            raise Stopped(f"{self.job_id} is being ended")

    def stop(self) -> None:
        """Called when the job is being ended."""
        self._stopped.set()

    @contextmanager
    def critical(self) -> Iterator[None]:
        """What is in the block is completed also when the job is cancelled or the server stops, within its grace."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.grace):
            yield

    # --- parts ---------------------------------------------------------------------------------------------

    async def run_cpu(
        self, function: Callable[..., Any], /, *, timeout_seconds: float = 3600.0, **arguments: Any
    ) -> Any:
        """Run a plain function in a worker process. Raises WorkFailed and WorkTimedOut."""
        return await self._part(function, "process", timeout_seconds, arguments)

    async def run_thread(
        self, function: Callable[..., Any], /, *, timeout_seconds: float = 3600.0, **arguments: Any
    ) -> Any:
        """Run a plain function in a worker thread. Raises WorkFailed and WorkTimedOut."""
        return await self._part(function, "thread", timeout_seconds, arguments)

    async def _part(
        self, function: Callable[..., Any], executor: str, seconds: float, arguments: dict[str, Any]
    ) -> Any:
        assert self.parts is not None  # noqa: S101  # every context in the server has them
        if not seconds > 0:  # NaN neither; as a deadline on the event loop it would end the server
            raise ValueError(f"timeout_seconds is {seconds}; it has to be above 0.")
        name = f"{self.handler}/{getattr(function, '__name__', 'function')}"
        return await self.parts.call(function, arguments, executor=executor, timeout_seconds=seconds, name=name)

    # --- batches -------------------------------------------------------------------------------------------

    async def submit_batch(
        self, requests: Sequence[Mapping[str, Any]], *, key: str | None = None, **options: Any
    ) -> str:
        """Submit a batch of `{custom_id, params}` and return its job's id.

        A later attempt of this job that submits under the same `key` (at most 255 characters) gets the batch that is
        already there, also when it has been deleted since; without a key, the first batch of an attempt is the first of
        the one before, and so on. `options`: `priority`, `metadata`.
        """
        assert self.children is not None  # noqa: S101  # every context in the server has them
        self._calls += 1
        return await self.children.submit(requests, key=key or f"batch-{self._calls}", **options)

    async def batch_results(self, job_id: str) -> list[dict[str, Any]]:
        """Wait for such a batch to end; its results, `{custom_id, result}`, in the order of the requests."""
        assert self.children is not None  # noqa: S101
        return await self.children.results(job_id)

    # --- elsewhere -----------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a context in another process is made of."""
        return {
            "job_id": self.job_id,
            "handler": self.handler,
            "attempt": self.attempt,
            "token": self.token,
            "deadline": self.deadline,
        }
