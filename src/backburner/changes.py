"""Who waits for a change of a job is woken here, whichever actor, request or instance made the change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    def changed(self, job_ids: Iterable[str]) -> None:
        """Wake the listeners of these jobs."""
        for job_id in job_ids:
            for ear in self._ears.get(job_id, ()):
                ear.wake()

    def all_changed(self) -> None:
        """Wake everybody: something was missed, or too much has changed to name it."""
        self.changed(list(self._ears))
