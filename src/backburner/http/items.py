"""One request of a batch: checked without touching its params."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from backburner.errors import Malformed
from backburner.http.strict import decode_text, depth_of

MAX_ITEM_DEPTH = 100
CUSTOM_ID = r"\A[a-zA-Z0-9_-]{1,64}\Z"
FIELDS = ("custom_id", "params", "agent_id")

_CUSTOM_ID = re.compile(CUSTOM_ID)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


class CheckedItem(msgspec.Struct, frozen=True, gc=False):
    """A request that may be stored: `params` are the caller's bytes, with the defaults merged under them."""

    custom_id: str
    params: bytes
    agent_id: str | None


class LineFault(msgspec.Struct, frozen=True):
    """One reason why a request is refused. `param` is None when the whole request is meant."""

    param: str | None
    message: str
    custom_id: str | None = None  #: where it could be read
    syntax: bool = False  #: the text is not JSON, is not UTF-8 or gives a key twice


Defaults = Mapping[str, msgspec.Raw]


class _Item(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    custom_id: str
    params: dict[str, msgspec.Raw]
    agent_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class _Verbatim(msgspec.Struct):
    params: msgspec.Raw


class _Params(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    messages: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]
    stream: bool | None = None


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_verbatim = msgspec.json.Decoder(_Verbatim).decode
_decode_params = msgspec.json.Decoder(_Params).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def check_item(raw: bytes, defaults: Defaults | None = None, *, loose: bool = False) -> CheckedItem | list[LineFault]:
    """The request in `raw`, or every reason why it is refused (at least one).

    Only the item's own fields and `params.model`, `max_tokens`, `messages` and `stream` are looked at, after
    `defaults` were merged under the params; everything else in the params passes through byte for byte.
    With `loose` the params are any object.
    """
    try:
        item = _decode_item(raw)
        written = _params_as_written(raw, item)
        params = written if written and not defaults else _encode({**(defaults or {}), **item.params})
        stream = not loose and _decode_params(params).stream
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _faults(raw, defaults, loose=loose) or [LineFault(None, f"{error}.")]
    if written and not stream and _CUSTOM_ID.match(item.custom_id) and _is_plain(raw):
        return CheckedItem(item.custom_id, params, item.agent_id)
    return _faults(raw, defaults, loose=loose) or _unusual(raw, item, defaults)


def _unusual(raw: bytes, item: _Item, defaults: Defaults | None) -> CheckedItem:
    verbatim = _decode_verbatim(raw).params
    params = merge_defaults(defaults, verbatim) if defaults else bytes(verbatim)
    return CheckedItem(item.custom_id, params, item.agent_id)


def merge_defaults(defaults: Defaults, params: msgspec.Raw | bytes) -> bytes:
    """The params with `defaults` added where they say nothing. Raises msgspec.DecodeError if they are no object."""
    return _encode({**defaults, **_decode_members(params)})


def too_large(limit: int) -> LineFault:
    """The fault of a request of more than `limit` bytes, which is not read further."""
    return LineFault(None, f"The request is larger than {limit} bytes, the most the provider takes.")


# --- the quick question: nothing unusual in the text? -------------------------------------------------------


def _params_as_written(raw: bytes, item: _Item) -> bytes | None:
    """The params' own bytes, if the request is spaced as nearly everybody's and gives no key twice; else None.

    Decoding keeps one of two equal keys, so only a text without such comes back the same.
    """
    if not raw.startswith(b'{"custom_id": '):
        return _encode(item.params) if _encode(item) == raw else None
    params = b"{" + b", ".join([b'"%b": %b' % (name.encode(), value) for name, value in item.params.items()]) + b"}"
    agent = b"" if item.agent_id is None else b', "agent_id": ' + _encode(item.agent_id)
    same = raw == b'{"custom_id": "%b", "params": %b%b}' % (item.custom_id.encode(), params, agent)
    return params if same else None


def _is_plain(raw: bytes) -> bool:
    # msgspec has checked the syntax, lone surrogates included; not UTF-8 in what it skipped, nor what is below.
    return (
        (raw.isascii() or _is_utf8(raw))
        and (b"\\" not in raw or b"\\u0000" not in raw)
        and raw.count(b"{") + raw.count(b"[") <= MAX_ITEM_DEPTH
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- the long answer: what is wrong? ------------------------------------------------------------------------


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written, every key that it gives."""


def _faults(raw: bytes, defaults: Defaults | None, *, loose: bool) -> list[LineFault]:
    try:
        written = _read(raw)
    except Malformed as error:
        return [LineFault(None, str(error).replace("The body", "The request"), syntax=True)]
    if not isinstance(written, _Pairs):
        return [LineFault(None, "A request must be an object.")]
    item = dict(written)
    custom_id = item.get("custom_id")
    known = custom_id if isinstance(custom_id, str) and _CUSTOM_ID.match(custom_id) else None
    found = [*_text_faults(raw, written)] or [*_written_twice(written), *_item_faults(item, defaults, loose=loose)]
    return [LineFault(fault.param, fault.message, known, fault.syntax) for fault in found]


def _read(raw: bytes) -> Any:
    text = decode_text(raw)
    if depth_of(raw) > MAX_ITEM_DEPTH:
        raise Malformed(f"The body is nested deeper than {MAX_ITEM_DEPTH} levels.")
    try:
        # Numbers may be longer than Python is willing to convert; only max_tokens is looked at.
        return json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_int=_integer)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from None


def _refuse_constant(name: str) -> Any:
    raise Malformed(f"The body is not valid JSON: {name}.")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else 2**64


def _text_faults(raw: bytes, written: _Pairs) -> Iterator[LineFault]:
    if _NUL.search(raw):
        yield LineFault(None, "Text must not contain NUL (\\u0000).")
    try:
        json.dumps(written, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        yield LineFault(None, "Text must not contain a lone surrogate.")


def _written_twice(written: _Pairs) -> Iterator[LineFault]:
    yield from (_twice(name) for name in _repeated(written))
    for name, value in written:
        if name == "params" and isinstance(value, _Pairs):
            yield from (_twice(f"params.{inner}") for inner in _repeated(value))


def _repeated(pairs: _Pairs) -> list[str]:
    names = [name for name, _ in pairs]
    return sorted({name for name in names if names.count(name) > 1})


def _twice(param: str) -> LineFault:
    return LineFault(param, f"The key {param!r} is given twice.", syntax=True)


def _item_faults(item: dict[str, Any], defaults: Defaults | None, *, loose: bool) -> Iterator[LineFault]:
    yield from (LineFault(name, f"There is no field {name!r} here.") for name in item if name not in FIELDS)
    custom_id = item.get("custom_id")
    if not isinstance(custom_id, str) or not _CUSTOM_ID.match(custom_id):
        yield LineFault("custom_id", "Must be a string of 1 to 64 letters, digits, '_' and '-'.")
    agent_id = item.get("agent_id")
    if agent_id is not None and not (isinstance(agent_id, str) and 1 <= len(agent_id) <= 255):
        yield LineFault("agent_id", "Must be a string of 1 to 255 characters.")
    params = item.get("params")
    if isinstance(params, _Pairs) and not loose:
        under = {name: msgspec.json.decode(value) for name, value in (defaults or {}).items()}
        yield from _params_faults({**under, **dict(params)})
    elif not isinstance(params, _Pairs):
        yield LineFault("params", "Must be an object.")


def _params_faults(params: dict[str, Any]) -> Iterator[LineFault]:
    model, max_tokens, messages = params.get("model"), params.get("max_tokens"), params.get("messages")
    if not isinstance(model, str) or not model:
        yield LineFault("params.model", "Must be a string that is not empty.")
    if not _is_count(max_tokens):
        yield LineFault("params.max_tokens", "Must be a whole number of at least 1.")
    if isinstance(messages, _Pairs) or not isinstance(messages, list) or not messages:
        yield LineFault("params.messages", "Must be an array that is not empty.")
    if params.get("stream") not in (None, False) or _is_number(params.get("stream")):
        yield LineFault("params.stream", "A batch is not streamed: leave it out or set it to false.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value == value // 1 and 1 <= value < 2**63
