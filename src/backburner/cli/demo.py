"""`backburner demo`: everything at once, with nothing to set up."""

from __future__ import annotations

import signal
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import trio

from backburner import logs, signing
from backburner.cli import demo_agents, demo_batch
from backburner.cli.exits import Exit
from backburner.cli.output import say, show
from backburner.cli.progress import display
from backburner.cli.world import World, pass_world
from backburner.client import Client
from backburner.serving import process
from backburner.settings import Settings
from backburner.webhooks.receiver import WebhookReceiver

AGENTS = "backburner.cli.demo_agents:app"  # where the demo's agents find their tools
_WEBHOOK_SECONDS = 30.0


@click.command()
@click.option("--items", type=click.IntRange(1, 1_000_000), default=1000, help="How many requests to send.")
@click.option(
    "--agents",
    is_flag=False,
    flag_value=50,
    type=click.IntRange(1, 10_000),
    help="Show so many agents that use tools instead.  [50]",
)
@click.option("--once", is_flag=True, help="Exit when the batch is done, instead of serving on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Where to listen.  [any free port]")
@pass_world
def demo(world: World, items: int, agents: int | None, once: bool, port: int) -> int:
    """Run a batch through a real server on a temporary SQLite database and a simulated provider, over real HTTP.

    Shows its progress, receives its signed webhook and sums it up. Then serves on, for trying things, until Ctrl-C.
    """
    logs.configure(level="warning", log_format="text")
    with tempfile.TemporaryDirectory(prefix="backburner-demo-") as folder:
        settings = _settings(Path(folder), agents or items, port, app=None if agents is None else AGENTS)
        show_case = _Demo(world=world, count=agents or items, once=once, settings=settings, story=_story(agents))
        return trio.run(show_case.run)


def _story(agents: int | None) -> ModuleType:
    return demo_batch if agents is None else demo_agents


def _settings(folder: Path, items: int, port: int, *, app: str | None) -> Settings:
    """Quicker than in earnest, and webhooks may go to this machine."""
    return Settings(
        database_url=f"sqlite:///{folder / 'demo.db'}",
        port=port,
        provider="sandbox",
        webhook_secret=signing.new_secret(),
        callback_allow_private_networks=True,
        chunk_items=max(1, min(10_000, items // 10)),
        poll_running_llm_batches_interval_seconds=0.5,
        poll_jitter_seconds=0.1,
        sandbox_batch_seconds=3.0 if app is None else 1.0,
        app=app,
    )


@attrs.frozen(kw_only=True)
class _Demo:
    """One server, one receiver of webhooks, and one client in a thread."""

    world: World
    count: int  #: requests, or agents
    once: bool
    story: Any  #: what is sent and told: a module with `run`, `check` and `summarize`
    settings: Settings

    async def run(self) -> int:
        receiver = WebhookReceiver(self.settings.webhook_secret or "")
        outcome = Exit.INTERRUPTED
        async with trio.open_nursery() as nursery:
            callback_url = await nursery.start(receiver.run)
            ready = await nursery.start(self._serve, nursery.cancel_scope)
            outcome = await self._conduct(ready, receiver, callback_url)
            if self.once:
                # The way a service manager stops a server, so that it stops in order.
                signal.raise_signal(signal.SIGTERM)
        return outcome

    async def _serve(
        self, whole: trio.CancelScope, *, task_status: trio.TaskStatus[process.Ready] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """The demo ends with its server."""
        await process.serve(self.settings, on_ready=lambda ready: task_status.started(ready))  # noqa: PLW0108 - flake8-async looks for the call
        whole.cancel()

    async def _conduct(self, ready: process.Ready, receiver: WebhookReceiver, callback_url: str) -> Exit:
        say(f"Server:   {ready.url} on a temporary database, with a simulated provider")
        # Its thread is given up by Ctrl-C and could not give the terminal back.
        with Client(ready.url, ready.admin_key) as client, closing(display(self.world.monotonic)) as shown:
            work = partial(self.story.run, self.world, client, self.count, callback_url, shown)
            ended = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        webhook: dict[str, Any] | None = None
        with trio.move_on_after(_WEBHOOK_SECONDS):
            webhook = (await receiver.received.receive()).payload
        self.story.check(ended, self.count, webhook)
        self.story.summarize(ended, webhook or {})
        if not self.once:
            _invite(ready)
        return Exit.OK


def _invite(ready: process.Ready) -> None:
    show("The server runs on until Ctrl-C. In another terminal:")
    show(f"  export BACKBURNER_URL={ready.url} BACKBURNER_API_KEY={ready.admin_key}")
    show("  backburner jobs list")
