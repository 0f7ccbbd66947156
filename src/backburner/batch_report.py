"""Everything that is wrong with the requests of one batch."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal

import attrs

from backburner.errors import Invalid
from backburner.http.items import LineFault

MOST_ROWS = 1000


@attrs.define(eq=False)
class Report:
    """Gathers failing requests and makes one error of them. Memory does not grow with their number."""

    place: Literal["index", "line", "row"]  #: how requests are counted: `index` from 0, `line` and `row` from 1
    failing: int = attrs.field(default=0, init=False)  #: requests
    _faults: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    _duplicates: list[dict[str, Any]] = attrs.field(factory=list, init=False)

    def refuse(self, at: int, faults: Iterable[LineFault]) -> None:
        """The request at a place has these faults. To be called in the order of the places."""
        self.failing += 1
        room = MOST_ROWS - len(self._faults)
        self._faults += [self._row(at, fault.custom_id, fault.param, fault.message) for fault in islice(faults, room)]

    @property
    def is_full(self) -> bool:
        """Whether further faults are counted and not told."""
        return len(self._faults) >= MOST_ROWS

    def duplicate(self, at: int, earlier: int, custom_id: str) -> None:
        """The request at a place repeats the custom id of an earlier one. To be called in the order of the places."""
        self.failing += 1
        if len(self._duplicates) < MOST_ROWS:
            message = f"The custom_id {custom_id!r} is also that of {self._name(earlier)}."
            self._duplicates.append(self._row(at, custom_id, "custom_id", message))

    def error(self) -> Invalid | None:
        """What to raise; None when every request is good."""
        if not self.failing:
            return None
        rows = sorted(self._faults + self._duplicates, key=lambda row: int(row[self.place]))[:MOST_ROWS]
        first = rows[0]
        where = f"{'requests' if self.place == 'index' else f'{self.place}s'}[{first[self.place]}]"
        return Invalid(
            f"{self._how_many()} not valid, nothing was stored. {where}: {first['message']}",
            code="invalid_requests" if self._faults else "custom_id_duplicate",
            param=f"{where}.{first['param']}" if first["param"] else where,
            details=rows,
        )

    def _how_many(self) -> str:
        return "1 request is" if self.failing == 1 else f"{self.failing:,} requests are"

    def _name(self, at: int) -> str:
        return f"requests[{at}]" if self.place == "index" else f"{self.place} {at}"

    def _row(self, at: int, custom_id: str | None, param: str | None, message: str) -> dict[str, Any]:
        return {self.place: at, "custom_id": custom_id, "param": param, "message": message}
