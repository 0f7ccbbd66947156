"""`backburner results`: download a batch's results."""

from __future__ import annotations

from collections.abc import Sequence

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.output import say
from backburner.cli.saving import check_output, saved
from backburner.cli.world import World
from backburner.client import Client

OUTCOMES = ("succeeded", "errored", "canceled", "expired")


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("-o", "--output", metavar="PATH", help="Save to this file instead of standard output.")
@click.option("--status", multiple=True, type=click.Choice(OUTCOMES), help="Only these; repeatable.")
@with_client
def results(_world: World, client: Client, job_id: str, output: str | None, status: Sequence[str]) -> int:
    """Download a batch's results: one JSON line for each item, in input order, as the provider sent them.

    A file is replaced when all is there, and keeps its mode; a link, a pipe or a device stays what it is.
    """
    check_output(output or "-")
    download(client, job_id, output or "-", status)
    return Exit.OK


def download(client: Client, job_id: str, output: str, status: Sequence[str]) -> None:
    """Save the results to a path, whole or not at all; `-` is standard output."""
    with client.results(job_id, status=status, on_trouble=lambda error: say(f"{error} Going on.")) as found:
        if found.incomplete:
            say(f"Job {job_id} is still running; these are the results so far.")
        with saved(output) as target:
            size = found.save(target)
            target.flush()
    if output != "-":
        say(f"Saved {size:,} bytes to {output}.")
