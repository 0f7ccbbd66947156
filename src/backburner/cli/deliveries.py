"""`backburner deliveries`: a job's webhooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.output import json_option, say, show_json, show_rows
from backburner.cli.world import World
from backburner.client import Client
from backburner.client.results import Delivery

_COLUMNS = ("id", "type", "status", "attempts", "last", "next_attempt_at", "url")


@click.group()
def deliveries() -> None:
    """See a job's webhooks, and send one again."""


@deliveries.command("list")
@click.argument("job_id", metavar="JOB")
@json_option
@with_client
def list_deliveries(_world: World, client: Client, job_id: str, as_json: bool) -> int:
    """List the webhooks that a job owes or owed. With --json one object a line, with every attempt."""
    found = client.deliveries(job_id)
    if as_json:
        for delivery in found:
            show_json(delivery.raw)
    else:
        show_rows(_rows(found), _COLUMNS)
    return Exit.OK


@deliveries.command()
@click.argument("job_id", metavar="JOB")
@click.argument("delivery_id", metavar="DELIVERY")
@json_option
@with_client
def redeliver(_world: World, client: Client, job_id: str, delivery_id: str, as_json: bool) -> int:
    """Send a webhook again now, with the same `webhook-id`."""
    sent = client.redeliver(job_id, delivery_id)
    if as_json:
        show_json(sent.raw)
    else:
        say(f"{delivery_id} is sent again.")
    return Exit.OK


def _rows(found: Iterable[Delivery]) -> Iterable[dict[str, Any]]:
    for delivery in found:
        made = delivery.raw["attempts"]
        last = (made[-1]["status_code"] or made[-1]["error"]) if made else None
        yield {**delivery.raw, "attempts": len(made), "last": last}
