"""What a scenario found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from benchmarks.report import percentile


@attrs.frozen
class Outcome:
    """Figures of a scenario in which every promise was kept."""

    figures: Mapping[str, Any]


def took(what: str, seconds: Sequence[float]) -> dict[str, Any]:
    """p50, p95 and the longest, in seconds."""
    if not seconds:
        return {}
    ranks = {"p50": percentile(seconds, 0.5), "p95": percentile(seconds, 0.95), "max": max(seconds)}
    return {f"{what}, {name}": round(value, 3) for name, value in ranks.items()}
