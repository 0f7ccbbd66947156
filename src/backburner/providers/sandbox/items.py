"""What the sandbox remembers of one request: enough to make its result line, not the request itself.

A request is looked at once, when its batch is made. What is kept is about a tenth of an ordinary request, so that
batches of 100,000 cost little memory and their results can be made in any order, as often as they are asked for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from enum import IntEnum

import msgspec

PAGE_ITEMS = 512
#: A batch's items finish in so many steps; a cancel or the expiry of the batch falls between two of them.
SLOTS = 32


class Kind(IntEnum):
    """What the item's result will be, and what `detail` means."""

    TEXT = 0  # an ordinary reply
    SAID = 1  # a reply of this text, already escaped for JSON
    BLOCKS = 2  # a reply of these content blocks, as JSON
    LARGE = 3  # a result line of so many bytes
    INVALID = 4  # errored: invalid_request_error with this message
    FAILED = 5  # errored: an error of this type
    CANCELED = 6
    EXPIRED = 7
    UNKNOWN = 8  # a result of this type, which no client knows


class Outcome(IntEnum):
    """Under which of the request counts the item falls."""

    SUCCEEDED = 0
    ERRORED = 1
    CANCELED = 2
    EXPIRED = 3


OUTCOMES: dict[int, Outcome] = {
    Kind.TEXT: Outcome.SUCCEEDED,
    Kind.SAID: Outcome.SUCCEEDED,
    Kind.BLOCKS: Outcome.SUCCEEDED,
    Kind.LARGE: Outcome.SUCCEEDED,
    Kind.INVALID: Outcome.ERRORED,
    Kind.FAILED: Outcome.ERRORED,
    Kind.CANCELED: Outcome.CANCELED,
    Kind.EXPIRED: Outcome.EXPIRED,
    Kind.UNKNOWN: Outcome.SUCCEEDED,
}


class Item(msgspec.Struct, array_like=True, gc=False):
    """One request of a batch."""

    custom_id: str
    draw: bytes  # 16 bytes of chance, the same for this seed and custom id always
    kind: int = Kind.TEXT
    detail: str = ""
    model: str = ""
    max_tokens: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    stop_reason: str = "end_turn"


class Draws:
    """Chance that depends on nothing but the seed and what is asked for."""

    def __init__(self, seed: int) -> None:
        self._start = hashlib.blake2b(str(seed).encode(), digest_size=16)

    def draw(self, name: str) -> bytes:
        state = self._start.copy()
        state.update(name.encode())
        return state.digest()


def slot_of(item: Item) -> int:
    """When in the course of the batch the item finishes: 0 … SLOTS-1."""
    return item.draw[0] % SLOTS


def share_of(draw: bytes) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(draw[1:5]) / 2**32


def token(draw: bytes) -> str:
    """22 letters and digits, as they stand in the service's ids."""
    return base64.b64encode(draw, b"xZ")[:22].decode()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Item])


def pack(items: Sequence[Item]) -> bytes:
    """One page, in the order in which results will show it: shuffled, always the same way."""
    return _encoder.encode(sorted(items, key=_draw))


def unpack(page: bytes) -> list[Item]:
    return _decoder.decode(page)


def _draw(item: Item) -> bytes:
    return item.draw
