"""`backburner doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from backburner.cli.checkups import Finding, checkups
from backburner.cli.configured import config_option, database_option, with_options
from backburner.cli.connect import connect_options
from backburner.cli.exits import Exit
from backburner.cli.output import json_option, show, show_json
from backburner.cli.world import World, pass_world


@click.command()
@with_options(database_option, config_option)
@with_options(*connect_options)
@json_option
@pass_world
def doctor(world: World, /, *, as_json: bool, **given: str | Path | None) -> int:
    """Find what is wrong with settings, database, disk and server, and what waits for a person; exits 1 if anything.

    For each batch, account or webhook that is stuck it says why, and the commands that settle it.
    """
    healthy = True
    for finding in checkups(world, given):
        healthy = healthy and finding.ok is not False
        if as_json:
            show_json(attrs.asdict(finding))
        else:
            _tell(finding)
    return Exit.OK if healthy else Exit.FAILED


def _tell(finding: Finding) -> None:
    mark = {True: "ok", False: "WRONG", None: "-"}[finding.ok]
    show(f"{mark:<6} {finding.what + ':':<10} {finding.detail}")
    for command in finding.commands:
        show(f"{'':<18}{command}")
