"""What is measured of one input at four sizes, and when that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

STEEP = 3.0  # times the processor time, for twice the input
WORTH_IT = 0.02  # seconds; what takes less is not looked at
MEMORY, PER_BYTE = 64 * 2**20, 200  # bytes that may be taken for a moment, and how many more for each that is sent


class Measured(msgspec.Struct):
    """One input at sizes that double."""

    name: str
    sizes: list[int]  #: bytes sent
    seconds: list[float]  #: of processor time
    peaks: list[int]  #: bytes of memory, above what there was before


def is_steep(seconds: Sequence[float]) -> bool:
    """Whether two doublings in a row cost more than `STEEP` times each."""
    ratios = [after / max(before, 1e-9) if after >= WORTH_IT else 0.0 for before, after in pairwise(seconds)]
    return any(min(pair) > STEEP for pair in pairwise(ratios))


def complaint(found: Measured) -> str | None:
    """What is wrong with it, if anything."""
    if is_steep(found.seconds):
        took = ", ".join(f"{size:,} bytes {1000 * seconds:.0f} ms" for size, seconds in _both(found, found.seconds))
        return f"{found.name}: processor time grows too fast: {took}"
    for size, peak in zip(found.sizes, found.peaks, strict=False):
        if peak > MEMORY + PER_BYTE * size:
            return f"{found.name}: {size:,} bytes took {peak // 2**20:,} MiB of memory"
    return None


def _both(found: Measured, values: Sequence[float]) -> zip[tuple[int, float]]:
    return zip(found.sizes, values, strict=False)
