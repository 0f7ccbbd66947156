"""Newline-delimited JSON, line by line, from chunks of any size."""

from __future__ import annotations

import attrs

#: A line's number from 1 and its bytes; None when it was longer than allowed.
Line = tuple[int, bytes | None]


@attrs.define
class LineReader:
    """Holds at most one incomplete line of `max_line_bytes`. Blank lines are counted and left out."""

    max_line_bytes: int
    _number: int = attrs.field(default=1, init=False)  # of the line being gathered
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _held: int = attrs.field(default=0, init=False)  # bytes of that line so far, those thrown away included

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk completes, in order, without their line ends."""
        first, *others = chunk.split(b"\n")
        self._hold(first)
        if not others:
            return []
        last = others.pop()
        found = [self._complete(), *(self._line(line) for line in others)]
        self._hold(last)
        return [line for line in found if line is not None]

    def finish(self) -> list[Line]:
        """The last line, if the text did not end with a line end."""
        line = self._complete()
        return [] if line is None else [line]

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self.max_line_bytes + 1:  # a carriage return may follow
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)

    def _complete(self) -> Line | None:
        whole = self._held <= self.max_line_bytes + 1
        line = self._line(b"".join(self._pieces) if whole else None)
        self._pieces.clear()
        self._held = 0
        return line

    def _line(self, content: bytes | None) -> Line | None:
        number = self._number
        self._number += 1
        if content is None:
            return number, None
        content = content.removesuffix(b"\r")
        if len(content) > self.max_line_bytes:
            return number, None
        return None if not content or content.isspace() else (number, content)
