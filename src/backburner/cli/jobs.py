"""`backburner jobs`, `cancel` and `retry`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import click

from backburner.cli.asking import confirmed, yes_option
from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.following import accepted, how_to_resume
from backburner.cli.output import json_option, say, show_fields, show_json, show_rows
from backburner.cli.results import OUTCOMES
from backburner.cli.world import World
from backburner.client import Client, Job
from backburner.states import JobStatus

_COLUMNS = ("id", "job_type", "status", "stop_reason", "done", "total", "failed", "created_at")
_FIELDS = (
    "id",
    "job_type",
    "status",
    "hold",
    "stop_reason",
    "created_at",
    "started_at",
    "completed_at",
    "request_counts",
    "usage",
    "provider_batches",
    "retry_of",
    "metadata",
    "error",
    "callback_url",
    "callback_sent_at",
    "callback_status_code",
    "callback_error",
)


@click.group()
def jobs() -> None:
    """List, show and delete jobs."""


@jobs.command("list")
@click.option("--status", multiple=True, type=click.Choice([str(status) for status in JobStatus]), help="Repeatable.")
@click.option("--active", is_flag=True, help="Only jobs that have not ended.")
@click.option("--type", "job_type", type=click.Choice(["batch", "job", "run"]))
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Only jobs that have it; repeatable.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, help="How many, newest first.")
@json_option
@with_client
def list_jobs(
    _world: World,
    client: Client,
    *,
    status: Sequence[str],
    active: bool,
    job_type: str | None,
    metadata: Sequence[str],
    limit: int,
    as_json: bool,
) -> int:
    """List jobs, newest first. With --json one object a line."""
    filters: dict[str, Any] = {f"metadata.{name}": value for name, _, value in (p.partition("=") for p in metadata)}
    filters |= {"status": list(status) or None, "active": "true" if active else None, "job_type": job_type}
    found = islice(client.jobs(limit=min(limit, 1000), **filters), limit)
    if as_json:
        for job in found:
            show_json(job.raw)
    else:
        show_rows((_row(job) for job in found), _COLUMNS)
    return Exit.OK


@jobs.command("get")
@click.argument("job_id", metavar="JOB")
@json_option
@with_client
def get_job(_world: World, client: Client, job_id: str, as_json: bool) -> int:
    """Show one job."""
    job = client.job(job_id)
    if as_json:
        show_json(job.raw)
    else:
        show_fields(job.raw, _FIELDS)
    return Exit.OK


@jobs.command("delete")
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@yes_option
@json_option
@with_client
def delete_job(_world: World, client: Client, job_ids: Sequence[str], yes: bool, as_json: bool) -> int:
    """Delete jobs that have ended, with their items and results. Asks first; there is no way back."""
    if not yes and not confirmed(f"Delete {', '.join(job_ids)} with all items and results?"):
        return Exit.FAILED
    for job_id in job_ids:
        deleted = client.delete(job_id)
        if as_json:
            show_json(deleted.raw)
        else:
            say(f"Deleted {job_id}.")
    return Exit.OK


@click.command()
@click.argument("job_id", metavar="JOB")
@json_option
@with_client
def cancel(_world: World, client: Client, job_id: str, as_json: bool) -> int:
    """Cancel a job. Items that are finished are kept; the job ends when the provider has confirmed."""
    job = client.cancel(job_id)
    if as_json:
        show_json(job.raw)
    elif job.status == "cancelled":
        say(f"{job_id} is cancelled.")
    else:
        say(f"{job_id} will be cancelled when the provider confirms. {how_to_resume(job_id)}")
    return Exit.OK


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--status", multiple=True, type=click.Choice(OUTCOMES[1:]), help="Only these; repeatable.  [all three]")
@click.option("--custom-id", multiple=True, metavar="ID", help="Only these items; repeatable.")
@json_option
@with_client
def retry(
    _world: World, client: Client, job_id: str, status: Sequence[str], custom_id: Sequence[str], as_json: bool
) -> int:
    """Run the items of a batch that did not succeed again, as a new job."""
    if status and custom_id:
        raise click.UsageError("Choose items by --status or by --custom-id, not by both.")
    job = client.retry(job_id, statuses=status or OUTCOMES[1:], custom_ids=custom_id)
    return accepted(job, as_json=as_json)


def _row(job: Job) -> dict[str, Any]:
    counts = job.request_counts
    if counts is None:
        return job.raw
    return {**job.raw, "total": counts.total, "done": counts.finished, "failed": counts.failed}
