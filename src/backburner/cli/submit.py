"""`backburner submit`: send a batch of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from backburner.cli.batch_file import opened
from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.following import accepted
from backburner.cli.output import json_option, say, show, show_json
from backburner.cli.results import download
from backburner.cli.saving import check_output
from backburner.cli.watch import follow, report, timeout_option
from backburner.cli.world import World
from backburner.client import Client
from backburner.client.uploads import Form


def metadata_of(_context: click.Context, _parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs as an object. Raises BadParameter."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE.")
        found[name] = value
    return found


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--wait", is_flag=True, help="Follow the job until it ends; the exit code tells how it ended.")
@timeout_option
@click.option("-o", "--output", metavar="PATH", help="With the end of the job, save its results here. Implies --wait.")
@click.option("--callback-url", metavar="URL", help="Where to send a signed webhook when the job has ended.")
@click.option(
    "--metadata", multiple=True, metavar="KEY=VALUE", callback=metadata_of, help="Kept with the job; repeatable."
)
@click.option("--provider", metavar="NAME", help="Who runs it, where the server has more than one.")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--chunk-items", type=click.IntRange(min=1), metavar="N", help="Requests in one provider batch, at most.")
@click.option("--deadline-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End the job after.")
@click.option("--format", "form", type=click.Choice(["ndjson", "json"]), help="Of FILE, where it cannot be guessed.")
@click.option("--dry-run", is_flag=True, help="Check the requests; store nothing.")
@json_option
@with_client
def submit(
    world: World,
    client: Client,
    /,
    *,
    file: str,
    wait: bool,
    timeout: float | None,
    output: str | None,
    form: Form | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Send the requests in FILE (- for standard input) as one batch job.

    FILE has one JSON request a line, {"custom_id": "a", "params": {"model": …, "max_tokens": …, "messages": […]}}; or
    it is a JSON array of those, or a whole JSON body of POST /v1/batches.
    """
    given = {name: value for name, value in options.items() if value not in (None, {})}
    check_output(output or "-")
    if dry_run:
        with opened(file) as source:
            answer = client.check(source, form=form, **given)
        return _checked(answer, as_json=as_json)
    with opened(file) as source:
        job = client.submit(source, form=form, **given)
    if not wait and not output:
        return accepted(job, as_json=as_json)
    say(f"Submitted {job.id}.")
    ended = follow(world, client, job, timeout)
    if ended is None:
        return Exit.INTERRUPTED
    if output:
        download(client, ended.id, output, ())
    return report(ended, as_json=as_json)


def _checked(answer: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        show_json(answer)
    else:
        show("All requests are valid; nothing was stored.")
    return Exit.OK
