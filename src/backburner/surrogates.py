"""Text of others that no database can hold: NUL, and lone surrogates, which strict decoders refuse as well."""

from __future__ import annotations

import re

REPLACEMENT = rb"\ufffd"  # as long as what it replaces, so that every offset stays
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def without_lone_surrogates(text: bytes) -> bytes:
    """The JSON text with a replacement character for each escaped lone surrogate, and of the same length."""
    return _ESCAPE.sub(_replaced, text)


def storable(text: str, *, longest: int) -> str:
    """The beginning of somebody else's text, with a replacement character for what no database can hold."""
    return text[:longest].encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")


def _replaced(escape: re.Match[bytes]) -> bytes:
    return REPLACEMENT if _SURROGATE.fullmatch(escape[0]) else escape[0]
