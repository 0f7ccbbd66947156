"""Query parameters as Letta's clients send them: unknown ones are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import attrs

from backburner.errors import Invalid
from backburner.http.call import Call
from backburner.http.conversation_ids import PATTERNS, UUID
from backburner.http.paging import an_id
from backburner.http.problem import Refused
from backburner.http.query import flag, one_of, pairs, whole
from backburner.http.strict import refuse_text

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@attrs.frozen
class Asked:
    """The parameters of one request; of one given several times the last counts."""

    given: dict[str, list[str]]

    @classmethod
    def of(cls, call: Call) -> Self:
        """Raises Invalid for a query string that is not UTF-8, has a NUL, or too many parameters."""
        found: dict[str, list[str]] = {}
        for name, text in pairs(call.request.query_string):
            refuse_text(text, name)
            if text:
                found.setdefault(name, []).append(text)
        return cls(found)

    def text(self, name: str) -> str | None:
        """None when it is not given."""
        return self.given[name][-1] if name in self.given else None

    def texts(self, name: str) -> Sequence[str]:
        """Every value of it."""
        return self.given.get(name, [])

    def flag(self, name: str) -> bool | None:
        """Raises Invalid for what is neither true nor false."""
        text = self.text(name)
        try:
            return None if text is None else flag(text.lower())
        except ValueError as error:
            raise Invalid(f"{name} {error}.", param=name) from None

    def limit(self) -> int:
        """0 asks for as many as there may be."""
        try:
            found = whole(0, 2**31 - 1)(self.text("limit") or str(DEFAULT_LIMIT))
        except ValueError as error:
            raise Invalid(f"limit {error}.", param="limit") from None
        return min(found or MAX_LIMIT, MAX_LIMIT)

    def ascending(self, *, default: bool = False) -> bool:
        """By `order`; the older `ascending` counts where that is not given."""
        order, older = self.text("order"), self.flag("ascending")
        try:
            if order is not None:
                return one_of(("asc", "desc"))(order) == "asc"
        except ValueError as error:
            raise Invalid(f"order {error}.", param="order") from None
        return default if older is None else older

    def cursor(self, name: str, kind: str) -> str | None:
        """An id of the list. Raises Refused (400) for what can be none."""
        text = self.text(name)
        try:
            return None if text is None else an_id(f"{kind}-{PATTERNS.get(kind, UUID)}")(text)
        except ValueError as error:
            raise Refused(400, "invalid_value", f"{name} {error}.", param=name) from None
