"""Escaped lone surrogates in JSON: providers send them, they are no characters, and strict decoders refuse them."""

from __future__ import annotations

import re

REPLACEMENT = rb"\ufffd"  # as long as what it replaces, so that every offset stays
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def without_lone_surrogates(text: bytes) -> bytes:
    """The JSON text with a replacement character for each escaped lone surrogate, and of the same length."""
    return _ESCAPE.sub(_replaced, text)


def _replaced(escape: re.Match[bytes]) -> bytes:
    return REPLACEMENT if _SURROGATE.fullmatch(escape[0]) else escape[0]
