"""`backburner batches`: provider batches, and what only a person can decide about them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.output import json_option, say, show_fields, show_json, show_rows
from backburner.cli.world import World
from backburner.client import Client
from backburner.states import BATCH_FINAL, BatchStatus

_COLUMNS = ("id", "status", "provider_batch_id", "item_count", "attempt", "intent_at", "next_poll_at", "job_id")
_FIELDS = (
    "id",
    "job_id",
    "status",
    "provider",
    "provider_batch_id",
    "provider_status",
    "item_count",
    "request_counts",
    "round",
    "nonce",
    "attempt",
    "created_at",
    "intent_at",
    "submitted_at",
    "last_polled_at",
    "next_poll_at",
    "ended_at",
    "ingested_at",
    "not_found_since",
    "error",
)
_UNRESOLVED = ("unknown", "quarantined")
_STATUSES = [status.value for status in BatchStatus]  # of an enumeration click would take the members' names
_OPEN = [status.value for status in BatchStatus if status not in BATCH_FINAL]

_batch = click.argument("batch_id", metavar="BATCH")


@click.group()
def batches() -> None:
    """See provider batches, and settle those whose fate only a person can know. Needs an operator's key."""


@batches.command("list")
@click.option("--status", multiple=True, type=click.Choice(_STATUSES), help="Repeatable.  [unknown, quarantined]")
@click.option("--open", "is_open", is_flag=True, help="Every batch that is not final.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, help="How many, newest first.")
@json_option
@with_client
def list_batches(
    _world: World, client: Client, *, status: Sequence[str], is_open: bool, limit: int, as_json: bool
) -> int:
    """List provider batches, those of unknown fate unless told otherwise. With --json one object a line."""
    wanted = list(status) or (_OPEN if is_open else list(_UNRESOLVED))
    found = islice(client.provider_batches(limit=min(limit, 1000), status=wanted), limit)
    if as_json:
        for batch in found:
            show_json(batch)
    else:
        show_rows(found, _COLUMNS)
    return Exit.OK


@batches.command("show")
@_batch
@json_option
@with_client
def show_batch(_world: World, client: Client, batch_id: str, as_json: bool) -> int:
    """Show one provider batch."""
    return _shown(client.provider_batch(batch_id), as_json)


@batches.command()
@_batch
@click.argument("provider_batch_id", metavar="PROVIDER_BATCH")
@json_option
@with_client
def adopt(_world: World, client: Client, batch_id: str, provider_batch_id: str, as_json: bool) -> int:
    """Say that the provider's batch PROVIDER_BATCH is what the lost submission of BATCH made.

    It is polled from now on. Should its results turn out to be of other requests, the adoption is undone.
    """
    adopted = client.provider_batch_do(batch_id, "adopt", provider_batch_id=provider_batch_id)
    return _told(adopted, as_json, f"{batch_id} is {provider_batch_id} from now on.")


@batches.command()
@_batch
@json_option
@with_client
def abandon(_world: World, client: Client, batch_id: str, as_json: bool) -> int:
    """Give up BATCH, whose fate is unknown or which the provider answers 404 for: its items end as errored, and
    `backburner retry` can run them again.

    If the provider has it after all, it goes on there and is paid for.
    """
    closed = client.provider_batch_do(batch_id, "abandon")
    ended = closed.get("ended_job_id")
    return _told(closed, as_json, f"{batch_id} is given up." + (f" With it {ended} has ended." if ended else ""))


@batches.command()
@_batch
@json_option
@with_client
def poll(_world: World, client: Client, batch_id: str, as_json: bool) -> int:
    """Look at BATCH now, whatever it is waiting for."""
    return _told(client.provider_batch_do(batch_id, "poll"), as_json, f"{batch_id} is looked at now.")


@batches.command()
@click.option("--from", "source", required=True, metavar="PROVIDER", help="One that is not configured any more.")
@click.option("--to", required=True, metavar="PROVIDER", help="One that is.")
@json_option
@with_client
def move(_world: World, client: Client, source: str, to: str, as_json: bool) -> int:
    """Have what was planned for a provider that is not configured any more sent to another one."""
    done = client.provider_do(source, "move-batches", to=to)
    return _told(done, as_json, f"{done['batches']} planned batches of {source} go to {to} from now on.")


@batches.command()
@click.option("--provider", required=True, metavar="PROVIDER", help="One that is not configured any more.")
@click.option("--at-provider", is_flag=True, help="Also those that it has: nothing more of them will be read.")
@json_option
@with_client
def end(_world: World, client: Client, provider: str, at_provider: bool, as_json: bool) -> int:
    """End what was planned for a provider that is not configured any more: its items end as errored.

    `backburner retry` can run them again elsewhere.
    """
    ended, more = 0, True
    while more:
        done = client.provider_do(provider, "end-batches", at_provider=at_provider)
        ended, more = ended + done["batches"], done["has_more"]
    return _told(done | {"batches": ended}, as_json, f"{ended} batches of {provider} are ended.")


def _shown(batch: dict[str, Any], as_json: bool) -> int:
    if as_json:
        show_json(batch)
    else:
        show_fields(batch, _FIELDS)
    return Exit.OK


def _told(batch: dict[str, Any], as_json: bool, message: str) -> int:
    if as_json:
        show_json(batch)
    else:
        say(message)
    return Exit.OK
