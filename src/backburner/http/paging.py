"""Lists, page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import attrs

from backburner.errors import NotFound
from backburner.http.query import Converter, Parameter, matching, one_of, whole

T = TypeVar("T")

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def an_id(pattern: str) -> Converter[str]:
    """An id of the list. The object itself need not exist any more."""
    return matching(pattern, "an id of this list")


def parameters(kind: str, *, order: str = "desc", pattern: str = _UUID) -> Mapping[str, Parameter]:
    """The query parameters of every list; ids begin with `kind` and a dash."""
    cursor = an_id(f"{kind}-{pattern}")
    return {
        "limit": Parameter(convert=whole(1, 1000), default=50),
        "after": Parameter(convert=cursor),
        "before": Parameter(convert=cursor),
        "order": Parameter(convert=one_of(("asc", "desc")), default=order),
    }


@attrs.frozen(kw_only=True)
class Page:
    """Which part of a list is wanted."""

    limit: int
    after: str | None
    before: str | None
    ascending: bool

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Self:
        """From the converted query parameters."""
        return cls(
            limit=asked["limit"], after=asked["after"], before=asked["before"], ascending=asked["order"] == "asc"
        )

    def cut(self, rows: Sequence[T], id_of: Callable[[T], str]) -> tuple[list[T], bool]:
        """The page of a list that is held whole, and whether there are more rows in the direction of travel."""
        rows = sorted(rows, key=id_of, reverse=not self.ascending)
        if self.after is not None:
            rows = [row for row in rows if self._is_behind(id_of(row), self.after)]
        if self.before is None:
            return rows[: self.limit], len(rows) > self.limit
        rows = [row for row in rows if self._is_behind(self.before, id_of(row))]
        return rows[-self.limit :], len(rows) > self.limit

    def _is_behind(self, one: str, other: str) -> bool:
        return one > other if self.ascending else one < other


def envelope(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page as it is answered."""
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def require_id(kind: str, public_id: str) -> None:
    """Raises NotFound for what cannot be the id of any `kind`, before a database is asked."""
    if not re.fullmatch(f"{kind}-{_UUID}", public_id):
        raise NotFound(kind, public_id)
