"""`backburner scheduler`: the switches of polling and submitting."""

from __future__ import annotations

import click

from backburner.cli.connect import with_client
from backburner.cli.exits import Exit
from backburner.cli.output import json_option, say, show_json
from backburner.cli.world import World
from backburner.client import Client

_SAID = {
    "poll": "Every batch that is due is looked at now.",
    "pause": "Nothing is polled or submitted any more, on any instance, until `backburner scheduler resume`.",
    "resume": "Polling and submitting go on; a provider account that was paused is tried again.",
    "step-down": "The leader gives the office away; another instance takes it, or this one again after ten seconds.",
}


@click.command()
@click.argument("action", type=click.Choice([*_SAID]))
@json_option
@with_client
def scheduler(_world: World, client: Client, action: str, as_json: bool) -> int:
    """Poll now, pause, resume, or have the leader step down. Needs an operator's key."""
    found = client.scheduler_do(action)
    if as_json:
        show_json(found)
    else:
        say(_SAID[action])
    return Exit.OK
