"""Which batches stand on a page of the list."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping

import attrs

from backburner.providers.sandbox.batches import Batch
from backburner.providers.sandbox.wire import invalid

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


@attrs.frozen
class Page:
    batches: list[Batch]  # newest first
    has_more: bool  # in the direction that was asked for


class Register:
    """All batches of the sandbox, by id, and those of each workspace in the order of their making."""

    def __init__(self) -> None:
        self._by_id: dict[str, Batch] = {}
        self._ordered: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)

    def put(self, batch: Batch) -> None:
        if batch.id not in self._by_id:
            insort(self._ordered[batch.workspace], (batch.sequence, batch.id))
        self._by_id[batch.id] = batch

    def all(self) -> list[Batch]:
        """Every batch of every workspace, in the order of their making."""
        return sorted(self._by_id.values(), key=lambda batch: batch.sequence)

    def get(self, batch_id: str) -> Batch | None:
        return self._by_id.get(batch_id)

    def remove(self, batch: Batch) -> None:
        del self._by_id[batch.id]
        self._ordered[batch.workspace].remove((batch.sequence, batch.id))

    def page(self, workspace: str, query: Mapping[str, str], faults: Mapping[str, str | None]) -> Page:
        """The page that the query asks for, with the faults of these names and arguments. Raises ApiError."""
        ordered = self._ordered[workspace]
        limit = _limit(query.get("limit"))
        after, before = query.get("after_id"), query.get("before_id")
        if after and before:
            raise invalid("Only one of after_id and before_id may be given")
        shown = len(ordered)
        if "hide_newest" in faults:
            shown -= int(faults["hide_newest"] or 1)
        if before:
            start = self._place(workspace, before) + 1
            end = max(start, min(start + limit, shown))
            return self._part(ordered[start:end], has_more=end < shown)
        end = self._place(workspace, after) + ("overlap" in faults) if after and "stuck_cursor" not in faults else shown
        end = max(0, min(end, shown))
        start = max(0, end - limit)
        return self._part(ordered[start:end], has_more=start > 0)

    def _part(self, ordered: list[tuple[int, str]], *, has_more: bool) -> Page:
        return Page([self._by_id[name] for _, name in reversed(ordered)], has_more)

    def _place(self, workspace: str, batch_id: str) -> int:
        batch = self._by_id.get(batch_id)
        if batch is None or batch.workspace != workspace:
            raise invalid(f"No message batch with the ID {batch_id} to list from")
        return bisect_left(self._ordered[workspace], (batch.sequence, batch.id))


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid(f"limit: Input should be a number from 1 to {MAX_LIMIT}")
    return int(text)
