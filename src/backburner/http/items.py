"""One request of a batch: checked without touching its params."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Annotated, Any

import msgspec

from backburner.errors import Invalid, Malformed
from backburner.http.strict import SMALL, decode_text, depth_of
from backburner.json_reader import SHOWN, JsonReader
from backburner.steps import Steps

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


_BAD = LineFault(None, "The request is not valid.")
MOST_FAULTS = 100  # of one request that are told

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


def check_in_steps(
    raw: bytes, defaults: Defaults | None = None, *, loose: bool = False, brief: bool = False
) -> Steps[CheckedItem | list[LineFault]]:
    """As `check_item`, for a request of any size."""
    if len(raw) > SMALL:
        return (yield from _check_large(raw, defaults, loose=loose))
    return check_item(raw, defaults, loose=loose, brief=brief)


def check_item(
    raw: bytes, defaults: Defaults | None = None, *, loose: bool = False, brief: bool = False
) -> CheckedItem | list[LineFault]:
    """The request in `raw`, which is small, or every reason why it is refused (at least one; if `brief`, no more).

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
        if brief:
            return [_BAD]
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
    found = _text_faults(raw, written) or chain(_written_twice(written), _item_faults(item, defaults, loose=loose))
    return [LineFault(fault.param, fault.message, known, fault.syntax) for fault in islice(found, MOST_FAULTS)]


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


def _text_faults(raw: bytes, written: _Pairs) -> list[LineFault]:
    found = []
    if _NUL.search(raw):
        found.append(LineFault(None, "Text must not contain NUL (\\u0000)."))
    try:
        json.dumps(written, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        found.append(LineFault(None, "Text must not contain a lone surrogate."))
    return found


def _written_twice(written: _Pairs) -> Iterator[LineFault]:
    yield from (_twice(name) for name in _repeated(written))
    for name, value in written:
        if name == "params" and isinstance(value, _Pairs):
            yield from (_twice(f"params.{inner}") for inner in _repeated(value))


def _repeated(pairs: _Pairs) -> list[str]:
    return sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)


def _twice(param: str) -> LineFault:
    return LineFault(param[:SHOWN], f"The key {param[:SHOWN]!r} is given twice.", syntax=True)


def _item_faults(item: dict[str, Any], defaults: Defaults | None, *, loose: bool) -> Iterator[LineFault]:
    unknown = (name[:SHOWN] for name in item if name not in FIELDS)
    yield from (LineFault(name, f"There is no field {name!r} here.") for name in unknown)
    custom_id = item.get("custom_id")
    if not isinstance(custom_id, str) or not _CUSTOM_ID.match(custom_id):
        yield LineFault("custom_id", "Must be a string of 1 to 64 letters, digits, '_' and '-'.")
    agent_id = item.get("agent_id")
    if agent_id is not None and not (isinstance(agent_id, str) and 1 <= len(agent_id) <= 255):
        yield LineFault("agent_id", "Must be a string of 1 to 255 characters.")
    params = item.get("params")
    if isinstance(params, _Pairs) and not loose:
        under = {name: _abridged(bytes(value)) for name, value in (defaults or {}).items() if name in _PARAMS}
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


# --- a large request, whose values are not made --------------------------------------------------------------

_PARAMS = ("model", "max_tokens", "messages", "stream")
_PLACES = frozenset({*((name,) for name in FIELDS), *(("params", name) for name in _PARAMS)})
_LONGEST_VALUE = 4096  # bytes of a value that is looked at itself
_NOTHING_IN_IT = re.compile(rb".[ \t\r\n]*+[\]}]", re.DOTALL)


def _check_large(raw: bytes, defaults: Defaults | None, *, loose: bool) -> Steps[CheckedItem | list[LineFault]]:
    merged = {("params", name) for name in defaults or ()}
    twice: list[tuple[str, ...]] = []
    reader = JsonReader(raw=raw, max_depth=MAX_ITEM_DEPTH, unique_levels=2, wanted=_PLACES | merged, twice=twice)
    try:
        yield from reader.steps()
    except Malformed as error:
        return [LineFault(None, str(error).replace("The body", "The request"), syntax=True)]
    except Invalid as error:
        return [LineFault(None, str(error))]
    if not reader.is_object:
        return [LineFault(None, "A request must be an object.")]
    item = _abridged_item(reader)
    faults = [*_given_twice(twice), *_item_faults(item, defaults, loose=loose)]
    if faults:
        return faults[:MOST_FAULTS]
    params = raw[reader.found[("params",)]]
    return CheckedItem(item["custom_id"], _with_defaults(reader, params, defaults), item.get("agent_id"))


def _abridged_item(reader: JsonReader) -> dict[str, Any]:
    item: dict[str, Any] = dict.fromkeys(reader.keys)
    params = _Pairs()
    for path, place in reader.found.items():
        if len(path) == 1:
            item[path[0]] = _abridged(reader.raw, place)
        else:
            params.append((path[1], _abridged(reader.raw, place)))
    if isinstance(item.get("params"), _Pairs):
        item["params"] = params
    return item


def _abridged(raw: bytes, place: slice = slice(None)) -> Any:
    """A JSON value as far as it is looked at: what is in an object or array is not, nor how a long text goes on."""
    begin, end, _ = place.indices(len(raw))
    head = raw[begin : min(end, begin + _LONGEST_VALUE)]
    if head.startswith((b"{", b"[")):
        is_empty = _NOTHING_IN_IT.match(raw, begin, end)
        return _Pairs() if head.startswith(b"{") else [] if is_empty else [None]
    if len(head) < end - begin:
        return "x" * _LONGEST_VALUE if head.startswith(b'"') else 2**64
    return json.loads(head, parse_int=_integer)


def _given_twice(paths: list[tuple[str, ...]]) -> Iterator[LineFault]:
    yield from (_twice(".".join(path)) for path in paths if len(path) == 1 or path[0] == "params")


def _with_defaults(reader: JsonReader, params: bytes, defaults: Defaults | None) -> bytes:
    missing = [(name, value) for name, value in (defaults or {}).items() if ("params", name) not in reader.found]
    if not missing:
        return params
    added = b",".join(b"%b:%b" % (_encode(name), bytes(value)) for name, value in missing)
    return b"{%b%b%b" % (added, b"" if _NOTHING_IN_IT.match(params) else b",", params[1:])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value == value // 1 and 1 <= value < 2**63
