"""Public ids: prefixed, time-ordered, made from an injected clock and injected randomness."""

from __future__ import annotations

import base64
import uuid
from random import Random

import attrs

from backburner.clock import Clock

NONCE_BYTES = 10


@attrs.frozen
class Ids:
    """Makes ids such as `job-0192f0c1-…`: a prefix and a UUID of version 7 (RFC 9562 section 5.7)."""

    clock: Clock
    random: Random

    def new(self, prefix: str) -> str:
        """A new id; ids of later milliseconds sort after those of earlier ones."""
        return f"{prefix}-{self.uuid7()}"

    def uuid7(self) -> uuid.UUID:
        milliseconds = int(self.clock.now().timestamp() * 1000)
        value = (milliseconds & (1 << 48) - 1) << 80
        value |= 0x7 << 76 | self.random.getrandbits(12) << 64
        value |= 0b10 << 62 | self.random.getrandbits(62)
        return uuid.UUID(int=value)

    def nonce(self) -> str:
        """16 lower-case base32 characters (80 bits): marks the requests of one provider batch as ours."""
        return base64.b32encode(self.random.randbytes(NONCE_BYTES)).decode().lower()
