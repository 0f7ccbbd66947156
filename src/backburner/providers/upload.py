"""The body that creates a batch, made in pieces and handed to the network one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import msgspec

from backburner.providers.base import WireRequest

#: Encrypting and sending one piece holds the event loop for well below a millisecond.
PIECE_BYTES = 256 * 1024


def encode_requests(requests: Sequence[WireRequest], piece_bytes: int = PIECE_BYTES) -> list[bytes]:
    """The JSON body in pieces of so many bytes at most; every request's params go in verbatim."""
    pieces: list[bytes] = []
    buffer = bytearray(b'{"requests":[')
    for position, request in enumerate(requests):
        buffer += b'%b{"custom_id":%b,"params":' % (b"," if position else b"", msgspec.json.encode(request.custom_id))
        buffer += request.params
        buffer += b"}"
        if len(buffer) >= piece_bytes:
            pieces.extend(_cut(buffer, piece_bytes))
            buffer = bytearray()
    return [*pieces, *_cut(buffer + b"]}", piece_bytes)]


def _cut(buffer: bytearray, piece_bytes: int) -> Iterator[bytes]:
    return (bytes(buffer[start : start + piece_bytes]) for start in range(0, len(buffer), piece_bytes))


def _nothing() -> None:
    pass


@attrs.define(init=False)
class Upload:
    """An asynchronous iterable of the pieces that knows how far it got; a piece is forgotten when it is handed on.

    Without its last piece the body is no JSON, and nothing is made of it. So `check` is called right before that piece
    is handed on; what it raises ends the upload, and is kept as `withheld`.
    """

    length: int  # bytes
    on_progress: Callable[[], None]
    withheld: Exception | None
    _left: deque[bytes]
    _check: Callable[[], None]

    def __init__(self, pieces: Iterable[bytes], check: Callable[[], None] = _nothing) -> None:
        self._left = deque(pieces)
        self.length = sum(map(len, self._left))
        self.on_progress = _nothing
        self.withheld = None
        self._check = check

    @property
    def sent(self) -> bool:
        """Whether the last piece was handed on: from then on the provider may have all of it."""
        return not self._left

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> bytes:
        self.on_progress()
        if not self._left:
            raise StopAsyncIteration
        if len(self._left) == 1:
            self._check_once_more()
        return self._left.popleft()

    def _check_once_more(self) -> None:
        try:
            self._check()
        except Exception as error:
            self.withheld = error
            raise
