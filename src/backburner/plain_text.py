"""Text of others made harmless for a terminal and for a log: it moves no cursor, writes no line and turns no order."""

from __future__ import annotations

import re

#: Control characters of both sets, line and paragraph separators, marks that turn the direction of text, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def one_line(text: str) -> str:
    """The text with each such character as its escape, line breaks too: `\\x1b`, `\\n`."""
    return _UNSAFE.sub(_escape, text)


def many_lines(text: str) -> str:
    """The same, but its lines stay lines."""
    return "\n".join(map(one_line, text.split("\n")))


def json_text(text: str) -> str:
    """JSON on one line that means the same and has no such character."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
