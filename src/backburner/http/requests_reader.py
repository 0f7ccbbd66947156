"""The JSON form of a batch, `{"requests": [...], ...}`, read as it arrives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from backburner.errors import Invalid, Malformed
from backburner.http.problem import Refused
from backburner.http.strict import decode
from backburner.http.value_scanner import ValueScanner

MAX_MEMBERS_BYTES = 1024 * 1024
#: What a document is that is no object, by its first byte.
_KINDS = {
    ord("["): "array",
    ord('"'): "str",
    ord("t"): "bool",
    ord("f"): "bool",
    ord("n"): "null",
    **dict.fromkeys(b"-0123456789", "number"),
}
_MAX_KEY_BYTES = 1024
_STEPS, _BYTES_LIKE_A_STEP = 500, 64  # between two pauses

_SPACE = re.compile(rb"[ \t\r\n]*+")
# Between two requests as nearly everybody writes them. Inside a string its quotes would be escaped.
_NEXT_REQUEST = re.compile(rb'\}[ \t\r\n]*+,[ \t\r\n]*+(?=\{[ \t\r\n]*+"(?:custom_id|params|agent_id)")')


class RequestsReader:
    """Gives the elements of `requests` one by one and keeps the other members.

    Memory holds one chunk, one incomplete request of at most `max_item_bytes`, and `max_members_bytes` of the rest.
    `feed` and `finish` raise Malformed for what is not JSON and for a member given twice, Invalid for what is no
    object, if `requests` is missing or no array, Refused (413) when the other members are too large. A request whose
    own text is broken is given as it is.
    """

    def __init__(self, *, max_item_bytes: int, max_members_bytes: int = MAX_MEMBERS_BYTES) -> None:
        self._max_item_bytes = max_item_bytes
        self._room = max_members_bytes
        self._data = bytearray()
        self._at = 0
        self._scanner: ValueScanner | None = None
        self._limit = 0  # for the bytes of the value being scanned
        self._scanned = 0  # how many of those were thrown away
        self._names: set[str] = set()
        self._key = b""
        self._members: list[bytes] = []
        self._found: list[bytes | None] = []
        self._work = 0  # in steps, since the last pause
        self._unusual_until = 0  # before this place no request is written as usual
        # What is expected next: does it, and says whether there may be more to do without new data.
        self._step: Callable[[], bool] = self._open

    def feed(self, chunk: bytes) -> Iterator[list[bytes | None]]:
        """The requests that this chunk completes, in order; None for one larger than allowed.

        They come in groups, some of them empty, after a bounded amount of work each. To be read to the end.
        """
        self._forget()
        self._data += chunk
        while self._step():
            self._work += 1
            if self._work > _STEPS:
                yield self._taken()
        yield self._taken()

    def _taken(self) -> list[bytes | None]:
        found, self._found, self._work = self._found, [], 0
        return found

    def finish(self) -> bytes:
        """The document without `requests`. Call at the end of the body."""
        if self._step != self._after_document:
            raise Malformed("The body is not valid JSON: it ends too early.")
        if "requests" not in self._names:
            raise Invalid("The field 'requests' is required.", code="missing_field", param="requests")
        return self.members()

    def members(self) -> bytes:
        """The other members that were complete so far, as one document."""
        return b"{" + b",".join(self._members) + b"}"

    def _forget(self) -> None:
        keep = self._at
        if self._scanner is not None:
            too_large = self._scanned or self._scanner.at - self._scanner.start > self._limit
            keep = self._scanner.at if too_large else self._scanner.start
            self._scanned += keep - self._scanner.start
            self._scanner.shift(keep)
        del self._data[:keep]
        self._at = 0
        self._unusual_until = 0

    # --- the grammar ---

    def _open(self) -> bool:
        kind = _KINDS.get(self._peek() or 0)
        if kind is not None:
            raise Invalid(f"Expected `object`, got `{kind}`.", code="invalid_type")
        return self._choose({ord("{"): self._first_key})

    def _first_key(self) -> bool:
        return self._choose({ord("}"): self._after_document}, otherwise=self._read_key)

    def _read_key(self) -> bool:
        if self._peek() not in (None, ord('"')):
            raise self._unexpected()
        key = self._value(_MAX_KEY_BYTES)
        if key is None:
            return self._has_more()
        name = decode(key, str)
        if name in self._names:
            raise Malformed(f"The key {name!r} is given twice.", code="duplicate_key", param=name)
        self._names.add(name)
        self._key = key
        return self._go(self._colon if name != "requests" else self._requests_colon)

    def _colon(self) -> bool:
        return self._choose({ord(":"): self._member})

    def _requests_colon(self) -> bool:
        return self._choose({ord(":"): self._array})

    def _member(self) -> bool:
        value = self._value(self._room)
        if value is None:
            return self._has_more()
        self._room -= len(self._key) + len(value)
        self._members.append(self._key + b":" + value)
        return self._go(self._after_member)

    def _after_member(self) -> bool:
        return self._choose({ord(","): self._read_key, ord("}"): self._after_document})

    def _array(self) -> bool:
        if self._peek() not in (None, ord("[")):
            raise Invalid("Expected `array`.", code="invalid_type", param="requests")
        return self._choose({ord("["): self._first_request})

    def _first_request(self) -> bool:
        return self._choose({ord("]"): self._after_member}, otherwise=self._request)

    def _request(self) -> bool:
        if self._scanner is None and self._peek() is not None:
            self._take_usual_requests()
        end = self._scan(self._max_item_bytes)
        if end is None or self._scanner is None:
            return self._has_more()
        size = self._scanned + end - self._scanner.start
        is_fitting = size <= self._max_item_bytes
        self._found.append(bytes(memoryview(self._data)[self._scanner.start : end]) if is_fitting else None)
        self._leave_value(end)
        return self._go(self._after_request)

    def _after_request(self) -> bool:
        return self._choose({ord(","): self._request, ord("]"): self._after_member})

    def _after_document(self) -> bool:
        if self._peek() is not None:
            raise self._unexpected()
        return False

    # --- the means ---

    def _take_usual_requests(self) -> None:
        if self._at < self._unusual_until:
            return  # to look again for each request would be quadratic
        for separator in _NEXT_REQUEST.finditer(self._data, self._at):
            candidate = bytes(memoryview(self._data)[self._at : separator.start() + 1])
            # No proper beginning of an object is an object, so what decodes is the whole request.
            if len(candidate) > self._max_item_bytes or not _is_json(candidate):
                self._unusual_until = separator.end()
                return
            self._found.append(candidate)
            self._at = separator.end()
        self._unusual_until = len(self._data)

    def _value(self, limit: int) -> bytes | None:
        end = self._scan(limit)
        scanner = self._scanner
        if scanner is None:
            return None
        if (end or scanner.at) - scanner.start > limit:
            raise Refused(413, "request_too_large", "The members beside `requests` are too large.")
        if end is None:
            return None
        value = bytes(memoryview(self._data)[scanner.start : end])
        self._leave_value(end)
        return value

    def _scan(self, limit: int) -> int | None:
        if self._scanner is None:
            if self._peek() is None:
                return None
            self._limit = limit
            self._scanner = ValueScanner(self._at, self._at)
        if self._scanner.at >= len(self._data):
            return None
        begin = self._scanner.at
        end = self._scanner.end(self._data)
        self._work += (self._scanner.at - begin) // _BYTES_LIKE_A_STEP
        return end

    def _has_more(self) -> bool:
        """Whether the value under way has not been looked at to the end of the data."""
        return self._scanner is not None and self._scanner.at < len(self._data) and self._scanner.is_moving

    def _leave_value(self, end: int) -> None:
        self._scanner = None
        self._scanned = 0
        self._at = end

    def _peek(self) -> int | None:
        if self._scanner is not None:
            return self._data[self._scanner.start] if len(self._data) > self._scanner.start else None
        space = _SPACE.match(self._data, self._at)
        self._at = space.end() if space else self._at
        return self._data[self._at] if self._at < len(self._data) else None

    def _choose(self, steps: dict[int, Callable[[], bool]], otherwise: Callable[[], bool] | None = None) -> bool:
        character = self._peek()
        if character is None:
            return False
        if character in steps:
            self._at += 1
            return self._go(steps[character])
        if otherwise is None:
            raise self._unexpected()
        return self._go(otherwise)

    def _go(self, step: Callable[[], bool]) -> bool:
        self._step = step
        return True

    def _unexpected(self) -> Malformed:
        return Malformed(f"The body is not valid JSON: unexpected {chr(self._data[self._at])!r}.")


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
