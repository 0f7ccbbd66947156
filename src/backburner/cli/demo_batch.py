"""What the demo sends, and what it tells of what came back."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from backburner.cli.exits import CommandError
from backburner.cli.following import until_end
from backburner.cli.output import say, show
from backburner.cli.progress import Display
from backburner.cli.world import World
from backburner.client import Client, Job
from backburner.client.results import Usage

MODEL = "claude-haiku-4-5"
_SUBJECTS = (
    "rivers",
    "lighthouses",
    "honey bees",
    "glaciers",
    "bridges",
    "old maps",
    "owls",
    "bread",
    "comets",
    "tides",
)
_SAMPLE_COLUMNS = 100


def requests(count: int) -> Iterator[dict[str, Any]]:
    """So many different requests."""
    for index in range(count):
        question = f"Tell me fact number {index // len(_SUBJECTS) + 1} about {_SUBJECTS[index % len(_SUBJECTS)]}."
        message = {"role": "user", "content": question}
        params = {"model": MODEL, "max_tokens": 200, "messages": [message]}
        yield {"custom_id": f"demo-{index:06}", "params": params}


@attrs.frozen(kw_only=True)
class Ended:
    """The demo's job, its first result, and how long it took in seconds."""

    job: Job
    provider_batches: int
    sample: dict[str, Any]
    lines: int
    seconds: float


def run(world: World, client: Client, items: int, callback_url: str, shown: Display) -> Ended:
    """Submit a batch, follow it to its end, and read its results. For a thread."""
    began = world.monotonic()
    say(f"Submitting {items:,} requests …")
    job = client.submit(requests(items), callback_url=callback_url)
    job = until_end(client, job, shown)
    taken = world.monotonic() - began
    results = io.BytesIO()
    with client.results(job.id) as found:
        found.save(results)
    return Ended(
        job=job,
        provider_batches=(job.provider_batches or {}).get("total", 0),
        sample=msgspec.json.decode(results.getvalue().partition(b"\n")[0]),
        lines=results.getvalue().count(b"\n"),
        seconds=taken,
    )


def check(ended: Ended, items: int, webhook: dict[str, Any] | None) -> None:
    """Raises CommandError unless everything came back and the webhook told of it."""
    job = ended.job
    if job.status != "completed" or ended.lines != items:
        raise CommandError(f"The batch ended {job.status} ({job.stop_reason}) with {ended.lines:,} results.")
    if webhook is None or webhook.get("job_id") != job.id:
        raise CommandError("No webhook with a right signature arrived for the batch.")


def summarize(ended: Ended, webhook: dict[str, Any]) -> None:
    """A few lines for a person."""
    usage = ended.job.usage or Usage()
    show("")
    show(f"Results:  {ended.job.counts.succeeded:,} of {ended.lines:,} succeeded")
    show(f"Time:     {ended.seconds:.1f} s, in {ended.provider_batches} provider batches")
    show(f"Tokens:   {usage.input_tokens:,} in, {usage.output_tokens:,} out")
    show(f"Webhook:  {webhook['type']}, signature verified")
    show(f"Sample:   {ended.sample['custom_id']}: {_text(ended.sample)}")
    show("")


def _text(line: dict[str, Any]) -> str:
    content = line["result"].get("message", {}).get("content") or [{}]
    return textwrap.shorten(str(content[0].get("text", line["result"]["type"])), _SAMPLE_COLUMNS, placeholder=" …")
