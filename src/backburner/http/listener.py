"""One live stream's side of the matter: what its client has, what waits for it, when it is over."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import attrs
import trio

from backburner.errors import Invalid
from backburner.model import Principal

#: Bytes that may wait for a client; one event may always wait.
MOST_WAITING = 512 * 1024

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MARK = re.compile(r"(job-[0-9a-f-]{36})?:([0-9]{1,18}):([0-9]{1,17})")

#: A place in the order of changes: behind the change of that job at that time.
Position = tuple[datetime, str]


@attrs.frozen
class Mark:
    """An event's id: which job, which version of it, and when that was made. Without a job: only the time counts."""

    job_id: str
    version: int
    at: datetime

    @property
    def text(self) -> str:
        return f"{self.job_id}:{self.version}:{(self.at - _EPOCH) // _MICROSECOND}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Invalid for what no stream has sent."""
        found = _MARK.fullmatch(text)
        if found is None:
            raise Invalid("The header Last-Event-ID is not the id of an event of this stream.", param="Last-Event-ID")
        return cls(found[1] or "", int(found[2]), _EPOCH + int(found[3]) * _MICROSECOND)


@attrs.frozen
class Event:
    """A job as it was at one moment, as it is sent."""

    mark: Mark
    is_last: bool  #: the job has ended
    data: bytes


@attrs.define(kw_only=True, eq=False)
class Listener:
    """Of each job at most one event waits here, the latest: a client that reads slowly gets fewer, not older ones."""

    principal: Principal
    job_id: str | None  #: None: all jobs of the organization
    known: Mark | None  #: the last event that the client has
    #: Everything that changed after this place has to be read from the database first. For organizations only.
    behind: Position | None = None
    _waiting: dict[str, Event] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)
    is_over: bool = attrs.field(default=False, init=False)
    #: Called when there is room for what is behind.
    has_room: Callable[[], None] = attrs.field(default=lambda: None, init=False)

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return self._size > MOST_WAITING

    def lacks(self, job_id: str, version: int) -> bool:
        """Whether this version is news to the client."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            return version > waiting.mark.version
        return self.known is None or self.known.job_id != job_id or version > self.known.version

    def offer(self, event: Event) -> None:
        """Something happened just now."""
        if self.is_over or not self.lacks(event.mark.job_id, event.mark.version):
            return
        if self.behind is None:
            self.add(event)
            if self.is_full and len(self._waiting) > 1:
                self._fall_behind()
        elif event.mark.at < self.behind[0]:  # made earlier than what was read, but not to be seen then
            self.behind = (event.mark.at, "")

    def add(self, event: Event) -> None:
        """Have an event wait, in place of an older one of its job."""
        older = self._waiting.pop(event.mark.job_id, None)
        self._size += len(event.data) - (0 if older is None else len(older.data))
        self._waiting[event.mark.job_id] = event
        self._stirred.set()
        if self.job_id is not None and event.is_last:
            self.is_over = True

    def _fall_behind(self) -> None:
        self.behind = (min(event.mark.at for event in self._waiting.values()), "")
        self._clear()

    def take(self) -> bytes:
        """Everything that waits; nothing when nothing does."""
        self._stirred = trio.Event()
        if self.is_over:
            self._stirred.set()
        events = list(self._waiting.values())
        if events:
            self.known = events[-1].mark
        self._clear()
        if self.behind is not None:
            self.has_room()
        return b"".join([event.data for event in events])

    def end(self) -> None:
        """Send nothing more."""
        self._clear()
        self.is_over = True
        self._stirred.set()

    async def stirred(self, at_most: float) -> bool:
        """Return True when something waits or all is over, False after `at_most` seconds."""
        with trio.move_on_after(at_most):
            await self._stirred.wait()
            return True
        return False

    def _clear(self) -> None:
        self._waiting.clear()
        self._size = 0
