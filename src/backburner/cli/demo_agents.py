"""The demo's agents: tools of their own, a job of many conversations, and what is told of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs
import trio
from rich.console import Console
from rich.table import Table

from backburner.app import App
from backburner.cli.exits import CommandError
from backburner.cli.following import until_end
from backburner.cli.output import say, show
from backburner.cli.progress import Display
from backburner.cli.world import World
from backburner.client import Client, Job
from backburner.client.conversations import Step
from backburner.client.results import Usage

MODEL = "claude-haiku-4-5"
ROUNDS = 3  # two with tools, and one that answers
_CITIES = ("Paris", "Oslo", "Lima", "Cairo", "Kyoto", "Quito", "Perth", "Riga", "Accra", "Hanoi")
PAGE = 500

app = App()


@app.tool(idempotent=True)
async def weather(city: str) -> dict[str, Any]:
    """The weather in a city."""
    await trio.sleep(0.05)
    return {"city": city, "celsius": sum(map(ord, city)) % 35}


@app.tool()
def convert(amount: float) -> str:
    """Degrees Celsius in Fahrenheit."""
    return f"{amount * 9 / 5 + 32:.1f} °F"


@attrs.frozen(kw_only=True)
class Ended:
    """The demo's job, its steps by round, and how long it took in seconds."""

    job: Job
    rounds: dict[int, list[Step]]
    seconds: float


def requests(count: int) -> Iterator[dict[str, Any]]:
    """So many questions; the simulated provider plays an agent that calls both tools in each round but the last."""
    for index in range(count):
        question = f"Is it warm in {_CITIES[index % len(_CITIES)]}? [sandbox:agent={ROUNDS - 1}]"
        params = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": question}]}
        yield {"custom_id": f"agent-{index:04}", "params": params}


def run(world: World, client: Client, agents: int, callback_url: str, shown: Display) -> Ended:
    """Start the agents and follow them to their end. For a thread."""
    began = world.monotonic()
    say(f"Starting {agents:,} agents with two tools, {ROUNDS} rounds each …")
    options = {"tools": ["weather", "convert"], "max_rounds": ROUNDS}
    job = client.submit(requests(agents), agent=options, callback_url=callback_url)
    job = until_end(client, job, shown)
    return Ended(job=job, rounds=_steps(client, job), seconds=world.monotonic() - began)


def _steps(client: Client, job: Job) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {}
    for step in client.steps(job.id, limit=PAGE):
        found.setdefault(step.round, []).append(step)
    return found


def check(ended: Ended, agents: int, webhook: dict[str, Any] | None) -> None:
    """Raises CommandError unless every agent went through its rounds and the webhook told of it."""
    job = ended.job
    sizes = {number: len(steps) for number, steps in ended.rounds.items()}
    if job.status != "completed" or sizes != dict.fromkeys(range(1, ROUNDS + 1), agents):
        raise CommandError(f"The agents ended {job.status} ({job.stop_reason}) with steps {sizes}.")
    if webhook is None or webhook.get("job_id") != job.id:
        raise CommandError("No webhook with a right signature arrived for the agents.")


def summarize(ended: Ended, webhook: dict[str, Any]) -> None:
    """A table for a person."""
    table = Table("round", "steps", "tool calls", "tools that failed", "call, median", "tokens in", "tokens out")
    for number, steps in sorted(ended.rounds.items()):
        calls = [call for step in steps for call in step.tool_calls]
        table.add_row(
            str(number),
            f"{len(steps):,}",
            f"{len(calls):,}",
            f"{sum(bool(call['is_error']) for call in calls):,}",
            f"{statistics.median(map(_milliseconds, calls)):.0f} ms" if calls else "",
            f"{sum((step.usage or Usage()).input_tokens for step in steps):,}",
            f"{sum((step.usage or Usage()).output_tokens for step in steps):,}",
        )
    show("")
    Console().print(table)
    batches = (ended.job.provider_batches or {}).get("total", 0)
    show(f"Agents:   {ended.job.counts.succeeded:,} of {ended.job.counts.total:,} came to an answer")
    show(f"Time:     {ended.seconds:.1f} s, in {batches} provider batches")
    show(f"Webhook:  {webhook['type']}, signature verified")
    show("")


def _milliseconds(call: dict[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(call[name]) for name in ("started_at", "finished_at"))
    return (end - begin).total_seconds() * 1000
