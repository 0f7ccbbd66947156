"""`backburner status`: what the server is doing."""

from __future__ import annotations

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.output import json_option, show, show_fields, show_json, show_rows
from backburner.cli.world import World
from backburner.client import Client

_FIELDS = (
    "is_leader",
    "leader",
    "polling_enabled",
    "open_provider_batches",
    "oldest_next_poll_at",
    "next_tick_at",
    "background_tasks",
    "writer_queue",
    "queue",
    "deliveries_pending",
    "last_cycle",
)


@click.command()
@json_option
@with_client
def status(_world: World, client: Client, as_json: bool) -> int:
    """Show who leads, what is open, and how the last polling cycle went. Needs a key of scope admin."""
    found = client.scheduler()
    if as_json:
        show_json(found)
        return Exit.OK
    show(f"{'server:':<22} {client.url}")
    show_fields(found, _FIELDS)
    show_rows(found.get("providers") or (), ("name", "state", "reason"))
    show_rows(found.get("handlers") or (), ("name", "executor", "state", "running", "succeeded", "failed"))
    for warning in found.get("warnings") or ():
        show(f"Warning: {warning}")
    return Exit.OK
