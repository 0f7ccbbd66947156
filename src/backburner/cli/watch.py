"""`backburner watch`: follow a job until it ends."""

from __future__ import annotations

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit, job_exit
from backburner.cli.following import how_to_resume, until_end
from backburner.cli.output import json_option, say, show, show_json
from backburner.cli.progress import display, line
from backburner.cli.world import World
from backburner.client import Client, Job

timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up waiting after this time (exit code 6)."
)


@click.command()
@click.argument("job_id", metavar="JOB")
@timeout_option
@json_option
@with_client
def watch(world: World, client: Client, job_id: str, timeout: float | None, as_json: bool) -> int:
    """Follow a job until it ends. Ctrl-C stops watching; the job runs on."""
    ended = follow(world, client, client.job(job_id), timeout)
    return Exit.INTERRUPTED if ended is None else report(ended, as_json=as_json)


def follow(world: World, client: Client, job: Job, timeout: float | None) -> Job | None:
    """The ended job; None when Ctrl-C detached from it."""
    try:
        return until_end(client, job, display(world.monotonic), timeout)
    except KeyboardInterrupt:
        say("")  # behind the ^C
        say(f"Detached. The job runs on. {how_to_resume(job.id)}")
        return None


def report(job: Job, *, as_json: bool) -> int:
    """Show the ended job; the exit code that tells how it ended."""
    if as_json:
        show_json(job.raw)
    else:
        show(line(job))
    if job.status != "completed" and job.stop_reason:
        say(f"Stop reason: {job.stop_reason}")
    return job_exit(job.status, job.counts.failed)
