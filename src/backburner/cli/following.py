"""Follows a job until it ends, through restarts of the server."""

from __future__ import annotations

import attrs

from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import say
from backburner.cli.progress import Display
from backburner.cli.world import World
from backburner.client import Client, ServerUnreachable
from backburner.client.shapes import TERMINAL, Job

#: How long one question waits for a change, and how soon after a change the next is asked, in seconds.
_HOLD = 20.0
_PAUSE = 0.2
#: For how long a server may be away before following it is given up, in seconds.
_PATIENCE = 120.0


@attrs.frozen(kw_only=True)
class Follow:
    """`timeout` is in seconds; None waits for ever."""

    world: World
    client: Client
    timeout: float | None

    def until_end(self, job: Job, display: Display) -> Job:
        """The ended job. Raises CommandError when the time is up, ServerUnreachable when the server stays away."""
        deadline = None if self.timeout is None else self.world.monotonic() + self.timeout
        with display:
            display.show(job)
            while job["status"] not in TERMINAL:
                job = self._next(job["id"], self._hold(job["id"], deadline))
                display.show(job)
        return job

    def _hold(self, job_id: str, deadline: float | None) -> float:
        if deadline is None:
            return _HOLD
        left = deadline - self.world.monotonic()
        if left <= 0:
            raise CommandError(f"Job {job_id} has not ended in time; it runs on. {how_to_resume(job_id)}", Exit.TIMEOUT)
        return min(_HOLD, left)

    def _next(self, job_id: str, hold: float) -> Job:
        self.world.sleep(_PAUSE)
        lost_at = self.world.monotonic()
        while True:
            try:
                return self.client.job(job_id, wait=hold)
            except ServerUnreachable as error:
                if self.world.monotonic() - lost_at > _PATIENCE + hold:
                    raise
                say(f"{error} Trying again.")
                self.world.sleep(1.0)


def how_to_resume(job_id: str) -> str:
    return f"Watch it with: backburner watch {job_id}"
