"""What an instance measures of itself, and which of it deserves attention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

LAG_WARNING = 0.25  # seconds that a task had to wait for its turn
QUEUE_AGE_WARNING = 300.0  # seconds that the first job in the queue waits
QUEUE_SHARE_WARNING = 0.8  # of what the queue takes
CPU_WARNING = 0.9  # of one core, where the event loop lives
MEMORY_WARNING = 2 * 1024**3  # bytes


class HandlerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One handler on this instance. Counts are of attempts since its start."""

    name: str
    executor: str
    running: int
    succeeded: int
    failed: int
    ended: int  #: cancelled, expired or given back
    state: str  #: active, or resting while it only fails


class PlaceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of executor."""

    total: int
    taken: int
    abandoned: int  #: of those taken, the ones that ignore their end


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The process itself, since it was asked last."""

    loop_lag_seconds: float  #: the longest that one task kept all others waiting
    loop_blocked: int  #: how often that was worth a log line, since the start
    loop_blocked_by: str | None  #: the last one
    cpu_share: float  #: of one core
    memory_bytes: int


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of background jobs, of all instances."""

    waiting: int = 0
    claimed: int = 0
    oldest_at: datetime | None = None  #: when the first of those that could run now was queued


class JobFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Background jobs on this instance."""

    handlers: list[HandlerFigures] = []
    places: dict[str, PlaceFigures] = {}


def warnings_of(
    queue: QueueFigures, jobs: JobFigures, process: ProcessFigures | None, *, most_queued: int, now: datetime
) -> list[str]:
    """One sentence for each figure beyond its threshold, for people."""
    return [*_queue_warnings(queue, most_queued, now), *_job_warnings(jobs), *_process_warnings(process)]


def _queue_warnings(queue: QueueFigures, most: int, now: datetime) -> Sequence[str]:
    found = []
    if queue.waiting >= QUEUE_SHARE_WARNING * most:
        found.append(f"{queue.waiting:,} jobs wait; the queue takes {most:,}.")
    if queue.oldest_at is not None and (age := (now - queue.oldest_at).total_seconds()) > QUEUE_AGE_WARNING:
        found.append(f"The first job in the queue has waited for {age:,.0f} s.")
    return found


def _job_warnings(jobs: JobFigures) -> Sequence[str]:
    found = [
        f"The handler {each.name} only fails and rests for now." for each in jobs.handlers if each.state != "active"
    ]
    for kind, places in jobs.places.items():
        if places.abandoned:
            found.append(f"{places.abandoned} of {places.total} places ({kind}) are held by work that ignores its end.")
        elif places.total and places.taken >= places.total:
            found.append(f"All {places.total} places ({kind}) are taken.")
    return found


def _process_warnings(process: ProcessFigures | None) -> Sequence[str]:
    if process is None:
        return []
    found = []
    if process.loop_lag_seconds > LAG_WARNING:
        by = f", last by {process.loop_blocked_by}" if process.loop_blocked_by else ""
        found.append(f"The event loop was held up for {process.loop_lag_seconds:.2f} s{by}.")
    if process.cpu_share > CPU_WARNING:
        found.append(f"The process uses {process.cpu_share:.0%} of a core.")
    if process.memory_bytes > MEMORY_WARNING:
        found.append(f"The process holds {process.memory_bytes / 1024**2:,.0f} MiB.")
    return found
