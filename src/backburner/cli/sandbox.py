"""`backburner sandbox`: the simulated Message Batches service alone."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import trio

from backburner.cli.exits import CommandError, Exit
from backburner.cli.output import show
from backburner.clock import SystemClock
from backburner.providers.sandbox.engine import Sandbox
from backburner.providers.sandbox.faults import FaultRule, parse_fault
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.serve import serve_sandbox

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHARE = click.FloatRange(0, 1)
_SECONDS = click.FloatRange(min=0)


def _faults(_context: click.Context, _parameter: click.Parameter, lines: Sequence[str]) -> list[FaultRule]:
    try:
        return [parse_fault(line) for line in lines]
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        found = float(low), float(high if dash else low)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number of seconds nor LOW-HIGH.") from None
    if not 0 <= found[0] <= found[1]:
        raise click.BadParameter(f"{text!r} is not a range from 0 upwards.")
    return found


@click.command()
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8284, help="Where to listen; 0 for any free port.")
@click.option("--seed", type=int, default=0, help="Where its randomness starts; the same seed, the same answers.")
@click.option("--latency", "latency_seconds", type=_SECONDS, default=0.0, help="Seconds before each answer.")
@click.option(
    "--batch-seconds", default="2-10", metavar="S|LOW-HIGH", callback=_duration, help="How long a batch takes."
)
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="How many times faster.")
@click.option("--errored", type=_SHARE, default=0.0, help="The share of items that err.")
@click.option("--expired", type=_SHARE, default=0.0, help="The share of items that expire.")
@click.option("--canceled", type=_SHARE, default=0.0, help="The share of items that are canceled.")
@click.option("--reply-bytes", type=click.IntRange(min=1), default=400, help="How long a reply is, about.")
@click.option("--api-key", metavar="KEY", help="The only key accepted.  [every key]")
@click.option("--fault", "faults", multiple=True, callback=_faults, metavar="RULE", help="What goes wrong; repeatable.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="PATH", help="Keep batches in this file.  [in memory]"
)
def sandbox(
    *, host: str, port: int, faults: Sequence[FaultRule], state: Path | None, **options: float | str | None
) -> int:
    """Simulate Anthropic's Message Batches service over HTTP, for any client.

    Batches belong to the workspace that `anthropic-workspace-id` names, and are seen only there.

    RULE is ENDPOINT:FAULT[=ARGUMENT][@WHEN][xCOUNT][#BATCH][:HEADER[=VALUE]], for example create:429=7@3-5 (creates 3
    to 5 are told to wait 7 seconds), create:lost_response@1, results:drop=2@p0.5x3, status:never_ends#2,
    create:cut_body=1000000 (a longer body is cut off by a reset), *:403:anthropic-beta=new (whoever sends this header
    is refused). A FAULT that there is not gets the list of those that there are.

    Words in a request decide what comes of it: [sandbox:errored], [sandbox:expired], [sandbox:echo], [sandbox:refused]
    (no batch is made of a body that holds it: 400, and the message names the request), [sandbox:refused_unnamed] (the
    message does not name it).
    """
    engine = Sandbox(clock=SystemClock(), options=SandboxOptions(**options), path=state)  # type: ignore[arg-type]
    for rule in faults:
        engine.faults.add(rule)
    try:
        trio.run(_serve, engine, host, port)
    finally:
        engine.close()
    return Exit.OK


async def _serve(engine: Sandbox, host: str, port: int) -> None:
    """Until Ctrl-C or SIGTERM."""
    try:
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(partial(serve_sandbox, engine, host, port))
                show(f"Sandbox:  http://{host}:{bound}")
                show("ready")
                await anext(signals)
                nursery.cancel_scope.cancel()
    except* OSError as group:
        raise CommandError(f"Cannot listen on {host}:{port}: {group.exceptions[0]}.") from group
