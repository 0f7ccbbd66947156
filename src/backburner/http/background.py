"""Background jobs and the process itself, as an operator sees them."""

from __future__ import annotations

from typing import Any

import msgspec

from backburner.figures import QueueFigures, warnings_of
from backburner.http.services import InstanceStatus, Services
from backburner.times import rfc3339


def background_json(instance: InstanceStatus, queue: QueueFigures) -> dict[str, Any]:
    """Queue, handlers, places, process."""
    oldest = None if queue.oldest_at is None else rfc3339(queue.oldest_at)
    return {
        "queue": {"waiting": queue.waiting, "claimed": queue.claimed, "oldest_at": oldest},
        "handlers": msgspec.to_builtins(instance.jobs.handlers),
        "places": msgspec.to_builtins(instance.jobs.places),
        "process": None if instance.process is None else msgspec.to_builtins(instance.process),
    }


def background_warnings(services: Services, instance: InstanceStatus, queue: QueueFigures) -> list[str]:
    """One sentence for each figure beyond its threshold."""
    most, now = services.max_queued_jobs, services.clock.now()
    return warnings_of(queue, instance.jobs, instance.process, most_queued=most, now=now)
