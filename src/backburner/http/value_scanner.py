"""Finds where a JSON value ends, in text that arrives in pieces."""

from __future__ import annotations

import re

import attrs

from backburner.errors import Malformed

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\r\n,:"{}\[\]]*+')
_QUOTE, _OPENING = ord('"'), frozenset(b"{[")


@attrs.define
class ValueScanner:
    """Follows strings and brackets of one value; whether the value is well-formed is for a decoder to say."""

    start: int  #: where the value begins in the data
    at: int  #: everything before has been looked at
    _depth: int = attrs.field(default=0, init=False)
    _in_string: bool = attrs.field(default=False, init=False)
    _in_scalar: bool = attrs.field(default=False, init=False)

    def shift(self, count: int) -> None:
        """`count` bytes were removed from the front of the data."""
        self.start = max(0, self.start - count)
        self.at -= count

    def end(self, data: bytes | bytearray) -> int | None:
        """Where the value ends, or None: call again with more data after what there is now.

        Raises Malformed where no value begins.
        """
        if self._in_string:
            return self._end_of_string(data) if self._depth == 0 else self._resume(data)
        if self._in_scalar or (self._depth == 0 and data[self.at] not in b'"{['):
            return self._end_of_scalar(data)
        return self._end_of_structure(data)

    def _resume(self, data: bytes | bytearray) -> int | None:
        return None if self._end_of_string(data) is None else self._end_of_structure(data)

    def _end_of_string(self, data: bytes | bytearray) -> int | None:
        found = _REST_OF_STRING.match(data, self.at)
        self.at = found.end() if found else self.at
        if self.at >= len(data) or data[self.at] != _QUOTE:
            return None
        self._in_string = False
        self.at += 1
        return self.at

    def _end_of_scalar(self, data: bytes | bytearray) -> int | None:
        found = _SCALAR.match(data, self.at)
        end = found.end() if found else self.at
        if end == self.at and not self._in_scalar:
            raise Malformed("The body is not valid JSON: a value is missing.")
        self._in_scalar = True
        self.at = end
        return None if end == len(data) else end

    def _end_of_structure(self, data: bytes | bytearray) -> int | None:
        for token in _TOKEN.finditer(data, self.at):
            begin, self.at = token.span()
            if data[begin] == _QUOTE:
                if self.at - begin == 1:
                    self._in_string = True
                    self._end_of_string(data)
                    return None
            else:
                self._depth += 1 if data[begin] in _OPENING else -1
            if self._depth == 0:
                return self.at
        self.at = len(data)
        return None
