"""Who waits for a change of a job is woken here, whichever actor, request or instance made the change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import attrs
import trio


@attrs.define(eq=False)
class Ear:
    """One listener's wake-up. It may be woken without need, never left asleep with need."""

    _event: trio.Event = attrs.field(factory=trio.Event)

    async def heard(self, at_most: float) -> bool:
        """Return True when the job changed since the last call, False after `at_most` seconds."""
        with trio.move_on_after(at_most):
            await self._event.wait()
            self._event = trio.Event()
            return True
        return False

    def wake(self) -> None:
        self._event.set()


@attrs.define(eq=False)
class Changes:
    """Which listeners wait for which jobs."""

    _ears: dict[str, set[Ear]] = attrs.field(factory=dict)
    _overhearing: list[Callable[[Collection[str] | None], None]] = attrs.field(factory=list)

    @contextmanager
    def listening(self, job_id: str) -> Iterator[Ear]:
        """Listen from here on: read the job's state inside, then wait, and no change is missed."""
        ear = Ear()
        self._ears.setdefault(job_id, set()).add(ear)
        try:
            yield ear
        finally:
            ears = self._ears[job_id]
            ears.discard(ear)
            if not ears:
                del self._ears[job_id]

    @contextmanager
    def overhearing(self, heard: Callable[[Collection[str] | None], None]) -> Iterator[None]:
        """Have `heard` called with the ids of all jobs that change; with None when any job may have."""
        self._overhearing.append(heard)
        try:
            yield
        finally:
            self._overhearing.remove(heard)

    def changed(self, job_ids: Iterable[str]) -> None:
        """Wake the listeners of these jobs."""
        named = list(job_ids)
        self._wake(named)
        for heard in self._overhearing:
            heard(named)

    def all_changed(self) -> None:
        """Wake everybody: something was missed, or too much has changed to name it."""
        self._wake(list(self._ears))
        for heard in self._overhearing:
            heard(None)

    def _wake(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            for ear in self._ears.get(job_id, ()):
                ear.wake()
