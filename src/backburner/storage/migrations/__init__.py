"""The schema's history. Add a file to `versions/` and name it in HEAD."""

from __future__ import annotations

HEAD = "v0001"

#: Of databases that were made before the first release: nothing leads from there to HEAD.
UNRELEASED = frozenset(f"{number:04}" for number in range(1, 8))
