"""`python -m benchmarks`: run measures, print their rows and one table for the README."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import attrs
import msgspec

from benchmarks import (
    agents,
    batch,
    cycle,
    front,
    history,
    hostile,
    idle,
    ingest,
    lists,
    queue,
    startup,
    streams,
    takeover,
    uploads,
    webhooks,
)
from benchmarks.report import Options, Row, machine, markdown

MEASURES: dict[str, Callable[[Options], list[Row]]] = {
    "batch": batch.measure,
    "cycle": cycle.measure,
    "webhooks": webhooks.measure,
    "startup": startup.measure,
    "idle": idle.measure,
    "takeover": takeover.measure,
    "front": front.measure,
    "lists": lists.measure,
    "streams": streams.measure,
    "uploads": uploads.measure,
    "queue": queue.measure,
    "agents": agents.measure,
    "ingest_file": ingest.measure,
    "history": history.measure,
    "hostile": hostile.measure,
}
#: Accepting, ingesting and downloading are three moments of one batch.
ALIASES = {"accept": "batch", "ingest": "batch", "download": "batch"}
SIZES = {
    "items": "items of a batch",
    "requests": "requests of one kind to the front",
    "jobs": "jobs in the database when lists are read",
    "listeners": "live streams at once",
    "megabytes": "size of the large upload",
}
MOST_SECONDS = 600  # of one measure


class TookTooLongError(Exception):
    """A measure was stopped."""


def main() -> int:
    arguments = _arguments()
    chosen = dict.fromkeys(ALIASES.get(name, name) for name in arguments.only or MEASURES)
    databases = ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,)
    options = Options(databases=databases, **{name: getattr(arguments, name) for name in ("runs", *SIZES)})
    signal.signal(signal.SIGALRM, _stop)
    found, failed = machine(), []
    rows: list[Row] = []
    for name in chosen:
        try:
            rows += _measured(name, options)
        except TookTooLongError:
            failed.append(name)
            print(f"{name}: stopped after {MOST_SECONDS} seconds", file=sys.stderr)
    print("\n" + markdown(rows))
    if arguments.json is not None:
        shown = [attrs.asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]
        report = {"machine": found, "options": attrs.asdict(options), "rows": shown, "failed": failed}
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*MEASURES, *ALIASES], help="these measures and no others")
    for name, what in SIZES.items():
        default = getattr(Options(), name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} ({default:,})")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts (3)")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser.parse_args()


def _measured(name: str, options: Options) -> list[Row]:
    signal.alarm(MOST_SECONDS)
    try:
        rows = MEASURES[name](options)
    finally:
        signal.alarm(0)
    for row in rows:
        print(" | ".join(cell or "-" for cell in row.cells()), flush=True)
    return rows


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise TookTooLongError


if __name__ == "__main__":
    sys.exit(main())
