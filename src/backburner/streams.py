"""Lines and gzip out of bytes that arrive in pieces, in linear time and bounded memory."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import starmap

import attrs

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

#: A line's number from 1 and its bytes; None when it was longer than allowed.
Line = tuple[int, bytes | None]

# Blank lines, the white space at the begin of a line, and the rest of that line.
_NEXT_LINE = re.compile(rb"\s*+(\S[^\n]*+)?")
_TEXT = re.compile(rb"\S[^\n]*+")
_SHORT = 16  # bytes; where lines are shorter than that on average, nearly all may be blank


@attrs.define(kw_only=True)
class LineSplitter:
    """Feed it chunks, get the lines that became complete: the same lines however the stream is cut into chunks.

    Only LF ends a line; a carriage return before it belongs to the end. A byte order mark at the start of the stream
    is removed. Lines of nothing but white space are counted and left out, unless `keeps_blank`. Of a line longer than
    `max_line_bytes` only the number is given. Memory holds one incomplete line.
    """

    max_line_bytes: int = sys.maxsize
    keeps_blank: bool = False
    _number: int = attrs.field(default=1, init=False)  # of the line being gathered
    _held: bytearray = attrs.field(factory=bytearray, init=False)
    _size: int = attrs.field(default=0, init=False)  # bytes of that line so far, those thrown away included
    _is_blank: bool = attrs.field(default=True, init=False)
    _start: bytes | None = attrs.field(default=b"", init=False)  # of the stream, while it may be a part of a mark

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk completes, in order, without their ends; often none, sometimes many."""
        if self._start is not None:
            chunk = self._without_mark(self._start + chunk)
        ends = chunk.count(b"\n")
        if not ends:
            self._hold(chunk)
            return []
        if self._is_nearly_blank(chunk, ends):
            first, inner, last = _ends_cut_off(chunk)
            self._hold(first)
            lines = [*self._complete(), *self._of_nearly_blank(inner)]
        else:
            first, *others, last = chunk.split(b"\n")
            self._hold(first)
            lines = [*self._complete(), *self._judged(others)]
        self._hold(last)
        return lines

    def finish(self) -> list[Line]:
        """The last line if the stream ended without a line end: one line, whole or truncated, or none."""
        start, self._start = self._start, None
        self._hold(start or b"")
        return self._complete() if self._size else []

    def _without_mark(self, begin: bytes) -> bytes:
        if len(begin) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(begin):
            self._start = begin
            return b""
        self._start = None
        return begin.removeprefix(BYTE_ORDER_MARK)

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        self._is_blank = self._is_blank and (not piece or piece.isspace())
        if self._size > self.max_line_bytes + 1:  # a carriage return may follow
            self._held.clear()
        else:
            self._held += piece

    def _complete(self) -> list[Line]:
        number, held, size, is_blank = self._number, self._held, self._size, self._is_blank
        self._number += 1
        self._held, self._size, self._is_blank = bytearray(), 0, True
        if size > self.max_line_bytes + 1:
            return [(number, None)]
        if held.endswith(b"\r"):
            del held[-1:]
        if len(held) > self.max_line_bytes:
            return [(number, None)]
        return [] if is_blank and not self.keeps_blank else [(number, bytes(held))]

    def _judged(self, whole: list[bytes]) -> list[Line]:
        lines: Iterable[Line] = enumerate(whole, self._number)
        self._number += len(whole)
        lines = starmap(self._line, lines)
        if self.keeps_blank:
            return list(lines)
        return [found for found in lines if (line := found[1]) is None or (line and not line.isspace())]

    def _is_nearly_blank(self, chunk: bytes, ends: int) -> bool:
        """Whether it pays to pass over blank lines together: a little gzip can be a great many of them."""
        return not self.keeps_blank and ends * _SHORT > len(chunk) and len(_TEXT.findall(chunk)) * _SHORT < ends

    def _of_nearly_blank(self, text: bytes) -> Iterator[Line]:
        """The lines of a text whose last line has an end."""
        for found in _NEXT_LINE.finditer(text):
            begin, (content, end) = found.start(), found.span(1)
            blank = text[begin:] if content < 0 else text[begin:content]
            if len(blank) > self.max_line_bytes:
                yield from self._too_long(blank)
            self._number += blank.count(b"\n")
            if content >= 0:
                yield self._line(self._number, text[begin + blank.rfind(b"\n") + 1 : end])

    def _too_long(self, blank: bytes) -> Iterator[Line]:
        for number, line in enumerate(blank.split(b"\n")[:-1], self._number):
            if len(line.removesuffix(b"\r")) > self.max_line_bytes:
                yield number, None

    def _line(self, number: int, line: bytes) -> Line:
        line = line.removesuffix(b"\r")
        return number, line if len(line) <= self.max_line_bytes else None


def _ends_cut_off(chunk: bytes) -> tuple[bytes, bytes, bytes]:
    begin, end = chunk.index(b"\n") + 1, chunk.rindex(b"\n") + 1
    return chunk[: begin - 1], chunk[begin:end], chunk[end:]


PIECE = 64 * 1024
_INPUT = 4 * 1024  # bytes, decompressed in one go: of empty members there can be many in a few bytes
_GZIP = 16 + zlib.MAX_WBITS


@attrs.define
class Gunzip:
    """Decompresses one or several gzip members in a row. HTTP clients take a truncated one for complete; this does not.

    Raises zlib.error for corrupt bytes.
    """

    _member: zlib._Decompress | None = attrs.field(default=None, init=False)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes decompress to, in pieces of at most `PIECE`; b"" after work that had no output.

        To be read to its end before the next call.
        """
        for begin in range(0, len(data), _INPUT):
            yield from self._pieces(data[begin : begin + _INPUT])
            yield b""

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        is_full = False  # the decompressor may hold output although it has taken all input
        while data or is_full:
            if self._member is None:
                self._member = zlib.decompressobj(_GZIP)
            piece = self._member.decompress(data, PIECE)
            data, is_full = self._member.unconsumed_tail, len(piece) == PIECE
            if self._member.eof:
                data, is_full, self._member = self._member.unused_data, False, None
            if piece:
                yield piece

    def finish(self) -> None:
        """Raises EOFError unless the last member is complete."""
        if self._member is not None:
            raise EOFError("the compressed data ends early")
