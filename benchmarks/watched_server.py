"""A server that also notes how long its event loop was held up: `serve` in every other way."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TextIO

import msgspec
import trio

from backburner import logs
from backburner.serving.process import Ready, serve
from backburner.settings import Settings
from backburner.settings_sources import load

BEAT = 0.005  # seconds between two looks at the clock
NOTED = 0.005  # seconds; shorter stalls are not written down


async def watch(notes: TextIO) -> None:
    """Write a line for each beat that came late: when, on the system's monotonic clock, and by how much."""
    while True:
        before = time.monotonic()
        await trio.sleep(BEAT)
        late = time.monotonic() - before - BEAT
        if late > NOTED:
            notes.write(f"{before} {late}\n")
            notes.flush()


def _tell(ready: Ready) -> None:
    print(msgspec.json.encode({"event": "ready", "api": ready.url, "role": ready.role}).decode(), flush=True)


async def _serve(settings: Settings, notes: TextIO) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, notes)
        await serve(settings, on_ready=_tell)
        nursery.cancel_scope.cancel()


def main() -> None:
    settings = load(os.environ, None, {}, notice=lambda text: print(text, file=sys.stderr))
    logs.configure(level="warning", log_format="text")
    with Path(sys.argv[1]).open("w") as notes:
        trio.run(_serve, settings, notes)


if __name__ == "__main__":
    main()
