"""`backburner ingest`: a large file becomes a batch."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from backburner.cli.connect import with_client
from backburner.cli.exits import CommandError, Exit, job_exit, lines
from backburner.cli.following import accepted
from backburner.cli.output import json_option, say, show_json
from backburner.cli.results import download
from backburner.cli.saving import check_output
from backburner.cli.submit import metadata_of
from backburner.cli.watch import follow, report, timeout_option
from backburner.cli.world import World
from backburner.client import Client, ClientError, File, Job

_OF_DEFAULTS = ("model", "max_tokens", "system")


class _Refused(CommandError):
    """The file did not become a batch."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "The file could not be made a batch.")))
        found = error.get("details")
        self.details = found if isinstance(found, list) else None


def _template(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Any:
    """Text, or `@` and a file with text or with the params of a request as a JSON object."""
    if given is None or not given.startswith("@"):
        return given
    try:
        text = Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"Cannot read {given[1:]}: {error}.") from None
    if not text.lstrip().startswith("{") or not given.endswith(".json"):
        return text
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{given[1:]} is not a JSON object: {error}.") from None


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--wait", is_flag=True, help="Follow the batch until it ends; the exit code tells how it ended.")
@timeout_option
@click.option(
    "-o", "--output", metavar="PATH", help="With the end of the batch, save its results here. Implies --wait."
)
@click.option("--format", type=click.Choice(["jsonl", "csv", "parquet"]), help="Of FILE, where its name does not tell.")
@click.option(
    "--template", metavar="TEXT|@FILE", callback=_template,
    help="The prompt of each row, {column} for its values; @FILE.json: the params of a request.",
)  # fmt: skip
@click.option("--model", metavar="NAME", help="Of requests that do not say.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Of requests that do not say.")
@click.option("--system", metavar="TEXT", help="Of requests that do not say; {column} works here too.")
@click.option("--custom-id", metavar="COLUMN", help="Where each row's id is; else custom_id, else row-N is made.")
@click.option("--delimiter", metavar="CHARACTER", help="Of CSV; else a comma.")
@click.option("--callback-url", metavar="URL", help="Where to send a signed webhook when the batch has ended.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", callback=metadata_of, help="Kept with the batch.")
@click.option("--provider", metavar="NAME", help="Who runs it, where the server has more than one.")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--chunk-items", type=click.IntRange(min=1), metavar="N", help="Requests in one provider batch, at most.")
@click.option(
    "--deadline-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End the batch after."
)
@click.option("--on-server", is_flag=True, help="FILE is below the server's ingest_folder; nothing is uploaded.")
@click.option("--resume", metavar="FILE_ID", help="Go on with an upload that broke off.")
@json_option
@with_client
def ingest(
    world: World,
    client: Client,
    /,
    *,
    file: str,
    wait: bool,
    timeout: float | None,
    output: str | None,
    on_server: bool,
    resume: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Make a batch of FILE: one JSON request a line, or CSV or Parquet rows and a --template.

    FILE is uploaded in parts; the server checks it while it reads, in memory that does not grow with it.
    """
    given = _given(options)
    check_output(output or "-")
    where = {"path": file} if on_server else {"file_id": _uploaded(client, file, resume).id}
    job = client.ingest(**where, **given)
    if not wait and not output:
        return accepted(job, as_json=as_json)
    say(f"Reading it as {job.id}.")
    read = follow(world, client, job, timeout)
    if read is None:
        return Exit.INTERRUPTED
    if read.status != "completed":
        return _not_read(read, as_json=as_json)
    batch = client.job(read.raw["result"]["job_id"])
    say(f"Submitted {batch.id}.")
    ended = follow(world, client, batch, timeout)
    if ended is None:
        return Exit.INTERRUPTED
    if output:
        download(client, ended.id, output, ())
    return report(ended, as_json=as_json)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The handler's input; options of requests are its `defaults`."""
    given = {name: value for name, value in options.items() if value not in (None, {})}
    defaults = {name: given.pop(name) for name in _OF_DEFAULTS if name in given}
    return given | ({"defaults": defaults} if defaults else {})


def _require_content(path: str) -> None:
    """Raises OSError, and CommandError (usage) for an empty file. What is in a pipe shows when it is read."""
    state = Path(path).stat()
    if stat.S_ISREG(state.st_mode) and not state.st_size:
        raise CommandError(f"Cannot upload {path}: it is empty.", Exit.USAGE)


def _uploaded(client: Client, path: str, resume: str | None) -> File:
    begun: list[File] = []
    try:
        _require_content(path)
        with _upload_bar() as bar:
            task = bar.add_task("", total=None)
            return client.upload_file(
                path,
                resume=resume,
                on_begun=begun.append,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total, refresh=True),
            )
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}.", Exit.USAGE) from None
    except (ClientError, KeyboardInterrupt):
        if begun:
            say(f"Go on with: backburner ingest {shlex.quote(path)} --resume {shlex.quote(begun[0].id)}")
        raise


def _upload_bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _not_read(job: Job, *, as_json: bool) -> int:
    if as_json:
        show_json(job.raw)
    for line in lines(_Refused(job.raw.get("error") or {"message": f"The job ended {job.status}."})):
        say(line)
    return job_exit(job.status, 0)
