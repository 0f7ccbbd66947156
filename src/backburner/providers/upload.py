"""The body that creates a batch, made in pieces and handed to the network one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import msgspec

from backburner.providers.base import WireRequest

#: Encrypting and sending one piece holds the event loop for well below a millisecond.
PIECE_BYTES = 256 * 1024


def encode_requests(requests: Sequence[WireRequest]) -> list[bytes]:
    """The JSON body in pieces; every request's params go in verbatim."""
    pieces: list[bytes] = []
    buffer = bytearray(b'{"requests":[')
    for position, request in enumerate(requests):
        buffer += b'%b{"custom_id":%b,"params":' % (b"," if position else b"", msgspec.json.encode(request.custom_id))
        buffer += request.params
        buffer += b"}"
        if len(buffer) >= PIECE_BYTES:
            pieces.extend(_cut(buffer))
            buffer = bytearray()
    return [*pieces, *_cut(buffer + b"]}")]


def _cut(buffer: bytearray) -> Iterator[bytes]:
    return (bytes(buffer[start : start + PIECE_BYTES]) for start in range(0, len(buffer), PIECE_BYTES))


def _nothing() -> None:
    pass


@attrs.define(init=False)
class Upload:
    """An asynchronous iterable of the pieces that knows how far it got; a piece is forgotten when it is handed on."""

    length: int  # bytes
    on_progress: Callable[[], None]
    _left: deque[bytes]

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._left = deque(pieces)
        self.length = sum(map(len, self._left))
        self.on_progress = _nothing

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
        return self._left.popleft()
