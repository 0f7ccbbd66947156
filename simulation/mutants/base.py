"""What a known bug is."""

from __future__ import annotations

import attrs

from simulation.where import AS_DRAWN, Where


@attrs.frozen
class Mutant:
    """In `file` the line `old` becomes `new`, which breaks `promise`, as docs/reliability.md has it.

    What takes days no seed finds: then `test` names a test under the virtual clock that does.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    where: Where = AS_DRAWN
    test: str | None = None
