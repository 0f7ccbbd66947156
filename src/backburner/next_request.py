"""Requests of agents: the item's params, the tools, and what has been said since."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import msgspec

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


@attrs.frozen
class ToolReturn:
    """What the model is given for one of its calls."""

    tool_use_id: str
    content: str  #: JSON: a text, or blocks
    is_error: bool


@attrs.frozen
class Exchange:
    """One answer of the model and what it was given for its calls: nothing when it only paused."""

    content: bytes  #: JSON, verbatim
    returns: Sequence[ToolReturn] = ()


class _Named(msgspec.Struct):
    name: str | None = None


_decode_named = msgspec.json.Decoder(list[_Named]).decode


def next_request(params: str, tools: Sequence[tuple[str, bytes]], exchanges: Sequence[Exchange]) -> bytes:
    """The request that goes on from here, in the same words every time.

    `tools` are (name, definition); what the params themselves say of a tool goes before. What the user and the
    model have said stays as it is.
    """
    members = _decode_members(params)
    if tools:
        members["tools"] = _with_tools(members.get("tools"), tools)
    if exchanges:
        members["messages"] = _with_exchanges(members["messages"], exchanges)
    return _encode(members)


def _with_tools(given: msgspec.Raw | None, tools: Sequence[tuple[str, bytes]]) -> msgspec.Raw:
    own = bytes(given) if given is not None and bytes(given) != b"null" else b"[]"
    try:
        known = {tool.name for tool in _decode_named(own)}
    except msgspec.DecodeError:  # the provider says what is wrong with it
        return msgspec.Raw(own)
    return _joined(own, [definition for name, definition in tools if name not in known])


def _with_exchanges(messages: msgspec.Raw, exchanges: Sequence[Exchange]) -> msgspec.Raw:
    added: list[bytes] = []
    for exchange in exchanges:
        added.append(b'{"role":"assistant","content":%b}' % exchange.content)
        if exchange.returns:
            added.append(b'{"role":"user","content":%b}' % results_content(exchange.returns))
    return _joined(bytes(messages), added)


def _joined(array: bytes, added: Sequence[bytes]) -> msgspec.Raw:
    elements = [bytes(element) for element in _decode_elements(array)]
    return msgspec.Raw(b"[" + b",".join([*elements, *added]) + b"]")


def results_content(returns: Sequence[ToolReturn]) -> bytes:
    """The content of the message that answers a model's calls, in their order."""
    return b"[" + b",".join(_block(one) for one in returns) + b"]"


def _block(one: ToolReturn) -> bytes:
    marked = b',"is_error":true' if one.is_error else b""
    identity = _encode(one.tool_use_id)
    return b'{"type":"tool_result","tool_use_id":%b,"content":%b%b}' % (identity, one.content.encode(), marked)
