"""What one polling cycle did, for the log, the status page and the metrics."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import attrs

from backburner.times import rfc3339


@attrs.define(kw_only=True, eq=False)
class Cycle:
    """Counts of one cycle. `updated_items_count` also has the results stored since the cycle before."""

    start_time: datetime
    batches: Counter[str] = attrs.field(factory=Counter)  # by provider
    running_count: int = 0
    completed_count: int = 0
    updated_items_count: int = 0
    errors: int = 0

    def summary(self, duration: float) -> dict[str, Any]:
        """The cycle in one flat record; `duration_seconds` is how long it took."""
        return {
            "start_time": rfc3339(self.start_time),
            "duration_seconds": round(duration, 3),
            "total_batches": self.batches.total(),
            **{f"{provider}_batches": count for provider, count in sorted(self.batches.items())},
            "running_count": self.running_count,
            "completed_count": self.completed_count,
            "updated_items_count": self.updated_items_count,
            "errors": self.errors,
        }
