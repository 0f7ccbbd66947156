"""Follows a job until it ends, through restarts of the server."""

from __future__ import annotations

import shlex

from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import say, show, show_json
from backburner.cli.progress import Display
from backburner.client import Client, Job, WaitTimeout
from backburner.client.results import Hold


def until_end(client: Client, job: Job, display: Display, timeout: float | None = None) -> Job:
    """The ended job. Raises CommandError after `timeout` seconds, ServerUnreachable when the server stays away."""
    told: Hold | None = None

    def show_progress(found: Job) -> None:
        nonlocal told
        if found.hold is not None and (told is None or told.code != found.hold.code):
            display.say(held(found.hold))
        told = found.hold
        display.show(found)

    with display:
        try:
            return client.wait(
                job,
                timeout=timeout,
                on_progress=show_progress,
                on_trouble=lambda error: display.say(f"{error} Trying again."),
            )
        except WaitTimeout as error:
            raise CommandError(f"{error} {how_to_resume(job.id)}", Exit.TIMEOUT) from None


def held(hold: Hold) -> str:
    """Why a job waits, for people."""
    since = "" if hold.since is None else f" since {hold.since:%Y-%m-%d %H:%M} UTC"
    return f"Waiting{since} ({hold.code}): {hold.message}"


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
