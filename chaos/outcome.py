"""What a scenario found, and whether it took longer than it may."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from benchmarks.report import percentile

from chaos.ledger import Violation

FEWEST = 5  # samples that a time is judged by, where single ones may be a busy machine's
ENOUGH = 20  # samples of which the p95 is more than the longest


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


def within(limit: float, seconds: Sequence[float], what: str) -> dict[str, Any]:
    """What `took` tells, when none took longer than `limit`. Raises Violation, also when there are none."""
    if not seconds:
        raise Violation(f"{what}: nothing was measured")
    _judge(max(seconds), limit, what, "the longest")
    return took(what, seconds) | {f"{what}, limit": limit}


def mostly_within(limit: float, seconds: Sequence[float], what: str) -> dict[str, Any]:
    """What `took` tells, when the p95 is at most `limit`. Raises Violation.

    The median is judged while the p95 would be the longest of few, and nothing by fewer than FEWEST.
    """
    if len(seconds) < FEWEST:
        return took(what, seconds) | {f"{what}, limit": f"{limit}, not judged by {len(seconds)}"}
    name, share = ("p95", 0.95) if len(seconds) >= ENOUGH else ("p50", 0.5)
    _judge(percentile(seconds, share), limit, what, name)
    return took(what, seconds) | {f"{what}, limit of {name}": limit}


def since(began: float, happened: float | None, what: str) -> float:
    """Seconds between two moments. Raises Violation when there is no second one, or it came before the first."""
    if happened is None or happened < began:
        raise Violation(f"{what}: {'never' if happened is None else f'{began - happened:.3f} s too early'}")
    return happened - began


def _judge(found: float, limit: float, what: str, name: str) -> None:
    if found > limit:
        load = os.getloadavg()[0]
        raise Violation(f"{what}: {name} is {found:.2f} s, the limit {limit} s (load average {load:.1f})")
