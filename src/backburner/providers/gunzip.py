"""Undoing gzip piece by piece, and noticing when the end is missing."""

from __future__ import annotations

import zlib

import attrs

_GZIP = 16 + zlib.MAX_WBITS


def _decompressor() -> zlib._Decompress:
    return zlib.decompressobj(_GZIP)


@attrs.define
class Gunzip:
    """Decompresses one or several gzip members in a row. HTTP clients take a truncated one for complete; this does not.

    Raises zlib.error for corrupt bytes.
    """

    _member: zlib._Decompress = attrs.field(factory=_decompressor, init=False)
    _is_between: bool = attrs.field(default=True, init=False)

    def feed(self, data: bytes) -> bytes:
        """What can be decompressed so far and was not given yet."""
        pieces = []
        while data:
            pieces.append(self._member.decompress(data))
            data = self._member.unused_data
            self._is_between = self._member.eof
            if self._member.eof:
                self._member = _decompressor()
        return b"".join(pieces)

    def finish(self) -> None:
        """Raises EOFError unless the last member is complete."""
        if not self._is_between:
            raise EOFError("the compressed data ends early")
