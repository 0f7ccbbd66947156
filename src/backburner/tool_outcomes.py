"""What a model is told that came of its call."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

MOST_BYTES = 256 * 1024  # of one result; it is sent again in every later round
MOST_MESSAGE = 2000  # characters of an error


@attrs.frozen
class ToolOutcome:
    """How a call ended."""

    content: str  #: JSON: a text
    is_error: bool


def returned(value: Any) -> ToolOutcome:
    """A tool gave this JSON value. A text is passed on as it is, nothing as an empty one, the rest as JSON."""
    text = "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    content = _encoded(text)
    if len(content) > MOST_BYTES:
        return failed(f"The tool's result is larger than {MOST_BYTES} bytes.")
    return ToolOutcome(content.decode(), is_error=False)


def failed(message: str) -> ToolOutcome:
    """The call came to nothing, and this is why."""
    return ToolOutcome(_encoded(message[:MOST_MESSAGE]).decode(), is_error=True)


def unknown(name: str) -> ToolOutcome:
    """The server died while the call was under way, and it is not made a second time."""
    return failed(
        f"It is not known whether {name!r} has run: the server stopped while it was under way. It was not run again."
    )


def _encoded(text: str) -> bytes:
    # A function may return halves of surrogate pairs, which are no characters and cannot be sent.
    return msgspec.json.encode(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
