"""Splitting a stream of bytes into lines, in linear time and bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from backburner.providers.base import MEBIBYTE

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@attrs.define
class LineSplitter:
    """Feed it chunks, get the lines that became complete: the same lines however the stream is cut into chunks.

    Only LF ends a line. Carriage returns before it and a byte order mark at the start of the stream are removed,
    lines of nothing but white space are left out, everything else stays byte for byte. A line longer than
    `max_line_bytes` is dropped and counted in `dropped`: its item then shows up as missing, while giving up the
    whole stream would lose every item behind it as well, on every attempt.
    """

    max_line_bytes: int = 64 * MEBIBYTE
    dropped: int = 0
    _tail: list[bytes] = attrs.field(factory=list, init=False)
    _tail_bytes: int = attrs.field(default=0, init=False)
    _at_start: bool = attrs.field(default=True, init=False)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their line ends; often none, sometimes many."""
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        if not rest:
            return []
        lines = [*self._take_tail(), *self._fitting(rest[:-1])]
        self._keep(rest[-1])
        return _cleaned(lines)

    def finish(self) -> list[bytes]:
        """The last line if the stream ended without a line end: one line, whole or truncated, or none."""
        return _cleaned(self._take_tail())

    def _keep(self, piece: bytes) -> None:
        self._tail_bytes += len(piece)
        if self._tail_bytes > self.max_line_bytes:
            self._tail.clear()
        elif piece:
            self._tail.append(piece)

    def _take_tail(self) -> list[bytes]:
        line, size = b"".join(self._tail), self._tail_bytes
        self._tail.clear()
        self._tail_bytes = 0
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        return [line] if size <= self.max_line_bytes else self._drop()

    def _fitting(self, lines: Iterable[bytes]) -> Iterable[bytes]:
        for line in lines:
            yield from [line] if len(line) <= self.max_line_bytes else self._drop()

    def _drop(self) -> list[bytes]:
        self.dropped += 1
        return []


def _cleaned(lines: list[bytes]) -> list[bytes]:
    return [line.rstrip(b"\r") for line in lines if line and not line.isspace()]
