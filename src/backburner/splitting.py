"""How a job's items are divided into provider batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

import attrs

#: What the envelope around one request takes in the body that creates a batch:
#: {"custom_id":"<16 characters>-<7 digits>","params":},
ENVELOPE_BYTES = 52
LARGEST_CHUNK = 10_000  # items; progress and partial results come from chunks
SMALLEST_CHUNK = 1_000
CHUNKS = 20  # that many steps of progress are enough


@attrs.frozen
class Chunk:
    """A range of a job's items that travels as one provider batch."""

    first: int
    last: int  # inclusive
    byte_size: int

    @property
    def items(self) -> int:
        return self.last - self.first + 1


def default_chunk_items(items: int) -> int:
    """How many items a provider batch holds when nobody says otherwise."""
    return min(LARGEST_CHUNK, max(SMALLEST_CHUNK, ceil(items / CHUNKS)))


def split(sizes: Sequence[int], *, most_items: int, most_bytes: int) -> Iterator[Chunk]:
    """Cut items of the given sizes (bytes of params) into chunks, in order; every item is in exactly one.

    An item that is larger than `most_bytes` by itself travels alone.
    """
    first, total = 0, 0
    for index, size in enumerate(sizes):
        needed = size + ENVELOPE_BYTES
        if index > first and (index - first >= most_items or total + needed > most_bytes):
            yield Chunk(first, index - 1, total)
            first, total = index, 0
        total += needed
    if sizes:
        yield Chunk(first, len(sizes) - 1, total)
