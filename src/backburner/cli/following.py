"""Follows a job until it ends, through restarts of the server."""

from __future__ import annotations

import shlex

from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import say, show, show_json
from backburner.cli.progress import Display
from backburner.client import Client, Job, WaitTimeout


def until_end(client: Client, job: Job, display: Display, timeout: float | None = None) -> Job:
    """The ended job. Raises CommandError after `timeout` seconds, ServerUnreachable when the server stays away."""
    with display:
        try:
            return client.wait(
                job,
                timeout=timeout,
                on_progress=display.show,
                on_trouble=lambda error: display.say(f"{error} Trying again."),
            )
        except WaitTimeout as error:
            raise CommandError(f"{error} {how_to_resume(job.id)}", Exit.TIMEOUT) from None


def accepted(job: Job, *, as_json: bool) -> int:
    """Show a job that nobody waits for, and how to watch it."""
    if as_json:
        show_json(job.raw)
    else:
        show(job.id)
        say(how_to_resume(job.id))
    return Exit.OK


def how_to_resume(job_id: str) -> str:
    return f"Watch it with: backburner watch {shlex.quote(job_id)}"
