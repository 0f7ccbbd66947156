"""One row for each thing measured, and the table they make."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Literal, TypeVar

import attrs

T = TypeVar("T")

ENOUGH = 40.0  # seconds of one measure on one database after which no further run begins
HEADINGS = ("What", "Raw operation", "Ours", "Ratio", "Target", "Verdict")


@attrs.frozen(kw_only=True)
class Options:
    """What a measure is asked for."""

    items: int = 100_000
    requests: int = 5000
    jobs: int = 1_000_000
    listeners: int = 500
    megabytes: int = 256
    runs: int = 3
    databases: Sequence[str] = ("sqlite", "postgresql")


@attrs.frozen(kw_only=True)
class Row:
    """One thing measured: ours beside the raw operation, both in `unit`."""

    what: str
    unit: str
    ours: float
    raw: float | None = None
    raw_name: str = ""
    target: float | None = None
    ratio_target: float | None = None
    better: Literal["more", "less"] = "more"

    @property
    def ratio(self) -> float | None:
        return None if not self.raw else self.ours / self.raw

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        pairs = [(self.ours, self.target), (self.ratio, self.ratio_target)]
        wanted = [(found, target) for found, target in pairs if found is not None and target is not None]
        if not wanted:
            return None
        return all(found >= target if self.better == "more" else found <= target for found, target in wanted)

    def cells(self) -> tuple[str, ...]:
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        raw = "" if self.raw is None else f"{shown(self.raw, self.unit)} ({self.raw_name})"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.what, raw, shown(self.ours, self.unit), ratio, self._targets(), verdict)

    def _targets(self) -> str:
        sign = "≥" if self.better == "more" else "≤"
        absolute = [] if self.target is None else [f"{sign} {shown(self.target, self.unit)}"]
        relative = [] if self.ratio_target is None else [f"{sign} {self.ratio_target:g} times raw"]
        return ", ".join(absolute + relative)


def shown(value: float, unit: str) -> str:
    """A number with as many digits as matter."""
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def repeated(run: Callable[[], T], runs: int) -> list[T]:
    """What `run` returns each of `runs` times, fewer when they take more than ENOUGH seconds together."""
    until = time.monotonic() + ENOUGH
    found = [run()]
    while len(found) < runs and time.monotonic() < until:
        found.append(run())
    return found


def middle(values: Iterable[float]) -> float:
    return median(list(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> dict[str, str | int | float]:
    """Where it was measured, and how busy that was."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "load_average": round(os.getloadavg()[0], 2),
    }
