"""API keys: what they look like and what is kept of them."""

from __future__ import annotations

import hashlib
import secrets
import zlib

PREFIX = "bb_"
SHOWN = 11  # characters of a key that may be shown: the prefix and the public part
SCOPES = ("read", "write", "admin")


def new_key() -> str:
    """A new key: `bb_`, 8 public characters, 256 random bits, a checksum that lets secret scanners know it."""
    body = f"{PREFIX}{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def hash_key(key: str) -> str:
    """What is stored: the SHA-256 of the whole key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def shown_prefix(key: str) -> str:
    """The part of a key by which people recognise it."""
    return key[:SHOWN]
