"""Waiting for the end of a job, through restarts of the server: the decisions, without the doing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import attrs
import msgspec

from backburner.client import asks
from backburner.client.asks import Ask
from backburner.client.errors import ServerUnreachable, WaitTimeout
from backburner.client.results import Event, Job, Result, record, result_of
from backburner.client.sse import Reader

#: How long one question waits for a change, and how soon after a change the next is asked, in seconds.
HOLD = 20.0
PAUSE = 0.2
#: For how long a server may be away before it is given up, and how often it is tried, in seconds.
PATIENCE = 120.0
TRY_EVERY = 1.0


@attrs.define(kw_only=True)
class Waiting:
    """One wait for the end of a job. Times are those of `monotonic`, in seconds."""

    job_id: str
    timeout: float | None
    monotonic: Callable[[], float]
    _deadline: float = attrs.field(init=False)
    _lost_at: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._deadline = math.inf if self.timeout is None else self.monotonic() + self.timeout

    def ask(self) -> Ask[Job]:
        """The next question. Raises WaitTimeout when the time is up."""
        left = self._deadline - self.monotonic()
        if left <= 0:
            raise WaitTimeout(self.job_id)
        if self._lost_at is None:
            self._lost_at = self.monotonic()
        return asks.job(self.job_id, min(HOLD, left))

    def answered(self) -> None:
        self._lost_at = None

    def lost(self, error: ServerUnreachable) -> None:
        """The server is away; raises the error when that has lasted too long."""
        if self._lost_at is not None and self.monotonic() - self._lost_at > PATIENCE + HOLD:
            raise error


@attrs.define(kw_only=True)
class Following:
    """One subscription to live events, over as many connections as it takes."""

    job_id: str | None
    monotonic: Callable[[], float]
    reader: Reader
    is_over: bool = attrs.field(default=False, init=False)
    _lost_at: float | None = attrs.field(default=None, init=False)

    def ask(self) -> Ask[None]:
        """The request for what comes behind the last event."""
        if self._lost_at is None:
            self._lost_at = self.monotonic()
        self.reader.reconnected()
        return asks.events(self.job_id, self.reader.last_id)

    def answered(self, status: int) -> None:
        """204: there is nothing more to come."""
        self._lost_at = None
        self.is_over = status == 204

    def take(self, data: bytes) -> list[Event]:
        found = [
            Event(id=message.id, job=record(Job)(msgspec.json.decode(message.data)))
            for message in self.reader.feed(data)
            if message.event == "job"
        ]
        self.is_over |= self.job_id is not None and any(event.job.is_terminal for event in found)
        return found

    def lost(self, error: ServerUnreachable) -> None:
        """The connection broke; raises the error when none has come about for too long."""
        if self._lost_at is not None and self.monotonic() - self._lost_at > PATIENCE:
            raise error


@attrs.define(kw_only=True, eq=False)
class Download:
    """One download of results, over as many connections as it takes: whole lines, each of them once."""

    job_id: str
    statuses: Sequence[str]
    after: str | None  #: the custom id behind whose item it goes on
    monotonic: Callable[[], float]
    _begun: bytearray = attrs.field(factory=bytearray, init=False)  # a line that is not whole yet
    _last: bytes = attrs.field(default=b"", init=False)  # the last whole line of this connection
    _lost_at: float | None = attrs.field(default=None, init=False)

    def ask(self) -> Ask[None]:
        """The request for what comes behind the last whole line."""
        if self._last:
            self.after, self._last = result_of(self._last).custom_id, b""
        self._begun.clear()
        return asks.results(self.job_id, self.statuses, self.after)

    def feed(self, data: bytes) -> bytes:
        """The lines that these bytes complete."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._begun += data
            return b""
        lines = bytes(self._begun) + data[:end]
        self._begun[:] = data[end:]
        self._last = lines[lines.rfind(b"\n", 0, -1) + 1 : -1]
        self._lost_at = None
        return lines

    @property
    def is_cut(self) -> bool:
        """Whether the end of an answer is in the middle of a line."""
        return bool(self._begun)

    def lost(self, error: ServerUnreachable) -> None:
        """The answer broke off; raises the error when nothing has come for too long."""
        if self._lost_at is None:
            self._lost_at = self.monotonic()
        elif self.monotonic() - self._lost_at > PATIENCE:
            raise error


def results_in(lines: bytes) -> Iterator[Result]:
    """The results in some whole lines."""
    return (result_of(line) for line in lines[:-1].split(b"\n"))
