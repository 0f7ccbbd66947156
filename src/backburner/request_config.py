"""A job's `request_config`: how the messages of its conversations are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs
import msgspec

from backburner.errors import Invalid

MAX_BYTES = 16 * 1024

#: What `include_return_message_types` may name: a role, or a kind of message.
ROLES = ("system", "user", "assistant")
KINDS = (
    "system_message",
    "user_message",
    "assistant_message",
    "reasoning_message",
    "tool_call_message",
    "tool_return_message",
)


class _Given(msgspec.Struct):
    use_assistant_message: bool | None = None
    assistant_message_tool_name: str | None = None
    assistant_message_tool_kwarg: str | None = None
    include_return_message_types: list[str] | None = None


@attrs.frozen(kw_only=True)
class Display:
    """The part of a `request_config` that is known here, with its defaults."""

    use_assistant_message: bool
    tool_name: str
    tool_kwarg: str
    included: frozenset[str] | None  #: roles and kinds; None means all

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        given = msgspec.convert(config, _Given)
        types = given.include_return_message_types
        return cls(
            use_assistant_message=given.use_assistant_message is not False,
            tool_name=given.assistant_message_tool_name or "send_message",
            tool_kwarg=given.assistant_message_tool_kwarg or "message",
            included=None if types is None else frozenset(types),
        )


def check_request_config(config: dict[str, Any]) -> None:
    """Raises Invalid for a known member of a wrong type, an unknown kind of message, and more than 16 KB."""
    if len(msgspec.json.encode(config)) > MAX_BYTES:
        raise Invalid(f"The request_config is larger than {MAX_BYTES} bytes.", param="request_config")
    try:
        given = msgspec.convert(config, _Given)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise Invalid(f"{what}.", code="invalid_type", param=f"request_config{place.rstrip('`')}") from None
    for name in given.include_return_message_types or ():
        if name not in (*ROLES, *KINDS):
            known = ", ".join((*ROLES, *KINDS))
            raise Invalid(
                f"There is no message type {name!r}; known: {known}.",
                param="request_config.include_return_message_types",
            )
