"""Keeps secrets out of logs: by the name of what carries them and by what they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "***"

_SECRET_NAME = re.compile(
    r"(^|_)(api_?key|bootstrap_key|admin_key|secrets?|passwords?|passwd|authorization|cookie|token|credentials?)$"
)
_SECRET_VALUES = (
    (re.compile(r"(?<![A-Za-z0-9_])bb_[A-Za-z0-9_\-]{8,}"), f"bb_{REDACTED}"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_\-]+"), f"whsec_{REDACTED}"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s'\",]+", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_\-]{8,}"), f"sk-{REDACTED}"),
    # A password in a database's URL may have any character but @, and one of them may be there all the same.
    (re.compile(r"(\bpostgres(?:ql)?(?:\+\w+)?://[^:/@\s]*):\S*@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(://[^:/@\s]*):(?!\d{1,5}[/?#])\S*@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(password|client_secret)=('(?:\\.|[^'\\])*'|[^\s&'\"]+)", re.IGNORECASE), rf"\1={REDACTED}"),
)


def redacted(value: object, name: str = "") -> Any:
    """The value without secrets, ready to be shown: containers are copied, other objects become text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name.lower().replace("-", "_")):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(key): redacted(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(inner, name) for inner in value]
    return redacted_text(_as_text(value))


def redacted_text(text: str) -> str:
    """The text with everything starred that looks like a secret."""
    for pattern, replacement in _SECRET_VALUES:
        text = pattern.sub(replacement, text)
    return text


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return repr(value) if isinstance(value, BaseException) else str(value)
    except Exception:  # of the user's classes; the rest of the event is worth telling
        return f"({type(value).__name__}, of which nothing can be told)"
