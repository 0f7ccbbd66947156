"""What the actors count, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from backburner.commands import DeliveryAttempted


class Metrics:
    """Counters of this process since its start. The status page shows states; these show what happened."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._cycles = Histogram("backburner_cycle_seconds", "How long polling cycles take.", registry=self.registry)
        self._polls = Counter(
            "backburner_polls", "Looks at provider batches, by what they found.", ["found"], registry=self.registry
        )
        self._results = Counter("backburner_results_stored", "Results stored.", registry=self.registry)
        self._attempts = Counter(
            "backburner_webhook_attempts",
            "Attempts to deliver webhooks, by outcome.",
            ["outcome"],
            registry=self.registry,
        )

    def cycle(self, summary: Mapping[str, Any]) -> None:
        """A polling cycle has ended; `summary` is what `Cycle.summary` made of it."""
        self._cycles.observe(summary["duration_seconds"])
        self._polls.labels("running").inc(summary["running_count"])
        self._polls.labels("ended").inc(summary["completed_count"])
        self._polls.labels("error").inc(summary["errors"])

    def stored(self, results: int) -> None:
        """Results were committed."""
        self._results.inc(results)

    def attempted(self, attempt: DeliveryAttempted) -> None:
        """A webhook was attempted."""
        self._attempts.labels("delivered" if attempt.error is None else "failed").inc()
