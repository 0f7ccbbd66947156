"""Finds where a JSON value ends, in text that arrives in pieces."""

from __future__ import annotations

import re

import attrs

from backburner.errors import Malformed

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\r\n,:"{}\[\]]*+')
_WINDOW = 16 * 1024  # bytes that are looked at in one go
_QUOTE, _OPENING = ord('"'), frozenset(b"{[")


@attrs.define
class ValueScanner:
    """Follows strings and brackets of one value; whether the value is well-formed is for a decoder to say.

    `is_moving` tells whether the last call came further.
    """

    start: int  #: where the value begins in the data
    at: int  #: everything before has been looked at
    is_moving: bool = attrs.field(default=True, init=False)
    _depth: int = attrs.field(default=0, init=False)
    _in_string: bool = attrs.field(default=False, init=False)
    _in_scalar: bool = attrs.field(default=False, init=False)

    def shift(self, count: int) -> None:
        """`count` bytes were removed from the front of the data."""
        self.start = max(0, self.start - count)
        self.at -= count

    def end(self, data: bytes | bytearray) -> int | None:
        """Where the value ends, or None: call again, where all was looked at with more data after what there is now.

        Raises Malformed where no value begins.
        """
        begin = self.at
        end = self._end(data, begin + _WINDOW)
        self.is_moving = self.at > begin
        return end

    def _end(self, data: bytes | bytearray, limit: int) -> int | None:
        if self._in_string:
            return self._end_of_string(data, limit) if self._depth == 0 else self._resume(data, limit)
        if self._in_scalar or (self._depth == 0 and data[self.at] not in b'"{['):
            return self._end_of_scalar(data, limit)
        return self._end_of_structure(data, limit)

    def _resume(self, data: bytes | bytearray, limit: int) -> int | None:
        return None if self._end_of_string(data, limit) is None else self._end_of_structure(data, limit)

    def _end_of_string(self, data: bytes | bytearray, limit: int) -> int | None:
        found = _REST_OF_STRING.match(data, self.at, limit)
        self.at = found.end() if found else self.at
        if self.at >= len(data) or data[self.at] != _QUOTE:
            return None
        self._in_string = False
        self.at += 1
        return self.at

    def _end_of_scalar(self, data: bytes | bytearray, limit: int) -> int | None:
        found = _SCALAR.match(data, self.at, limit)
        end = found.end() if found else self.at
        if end == self.at and not self._in_scalar:
            raise Malformed("The body is not valid JSON: a value is missing.")
        self._in_scalar = True
        self.at = end
        return None if end in (len(data), limit) else end

    def _end_of_structure(self, data: bytes | bytearray, limit: int) -> int | None:
        for token in _TOKEN.finditer(data, self.at, limit):
            begin, self.at = token.span()
            if data[begin] == _QUOTE:
                if self.at - begin == 1:
                    self._in_string = True
                    end = self._end_of_string(data, limit)
                    return end if self._depth == 0 else None
            else:
                self._depth += 1 if data[begin] in _OPENING else -1
            if self._depth == 0:
                return self.at
        self.at = min(len(data), limit)
        return None
