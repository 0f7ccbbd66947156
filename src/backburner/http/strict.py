"""Strict JSON: one meaning per document, or a refusal that names the place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

import msgspec

from backburner.errors import Invalid, Malformed

T = TypeVar("T")

MAX_DEPTH = 32
INT64 = range(-(2**63), 2**63)
_BEYOND_INT64 = 2**64

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"{}[]")))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
# Only a document with one of these in its text can hold a value that JSON allows and we do not.
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[eE]\+?[0-9]{3}")

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"^Object (?P<problem>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


def decode(raw: bytes, type_: type[T], *, max_depth: int = MAX_DEPTH) -> T:
    """Decode a whole document of moderate size (it is scanned twice) into `type_`.

    Raises Malformed for what is not one well-formed JSON text: not UTF-8, a syntax error, a key given twice, NaN,
    nesting deeper than `max_depth`. Raises Invalid, naming the field, for what is JSON and yet not acceptable: a lone
    surrogate, a NUL, an integer beyond 64 bits, and everything that `type_` does not allow. A struct type should
    forbid unknown fields.
    """
    value = parse(raw, max_depth=max_depth)
    if _SUSPECT.search(raw):
        refuse_unstorable(value)
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as error:
        raise translated(error) from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from None


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The plain Python value of a JSON document, numbers beyond 64 bits clipped. Raises Malformed."""
    text = decode_text(raw)
    if depth_of(raw) > max_depth:
        raise Malformed(f"The JSON is nested deeper than {max_depth} levels.", code="json_too_deep")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise Malformed("The JSON is nested too deeply.", code="json_too_deep") from None


def decode_text(raw: bytes) -> str:
    """The text of UTF-8 bytes; raises Malformed for any other encoding and for a byte order mark."""
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Malformed("The body starts with a byte order mark; send plain UTF-8.", code="invalid_encoding")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 (byte {error.start}).", code="invalid_encoding") from None


def depth_of(raw: bytes) -> int:
    """How deep brackets nest outside strings. Of text that is not JSON: some number."""
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def refuse_unstorable(value: Any, path: str = "") -> None:
    """Raises Invalid, naming the place, for text or numbers that no database here can hold. Needs bounded depth."""
    if isinstance(value, str):
        refuse_text(value, path)
    elif isinstance(value, (int, float)):
        _refuse_number(value, path)
    else:
        for name, child in _children(value, path):
            refuse_unstorable(child, name)


def refuse_text(text: str, path: str | None) -> None:
    """Raises Invalid for a NUL or half of a surrogate pair."""
    if "\0" in text:
        raise Invalid("Text must not contain NUL (\\u0000).", code="invalid_text", param=path or None)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid("Text must not contain a lone surrogate.", code="invalid_text", param=path or None) from None


def translated(error: msgspec.ValidationError) -> Invalid:
    """msgspec's complaint in our words: the field as a path such as `requests[17].custom_id`."""
    found = _PLACE.match(str(error))
    what = found["what"] if found else str(error)
    path = _param_of((found["path"] if found else "") or "")
    named = _NAMED.match(what)
    if named is None:
        return Invalid(f"{what}.", code=_code_of(what), param=path or None)
    field = f"{path}.{named['name']}" if path else named["name"]
    if named["problem"] == "contains unknown":
        return Invalid(f"There is no field {named['name']!r} here.", code="unknown_field", param=field)
    return Invalid(f"The field {named['name']!r} is required.", code="missing_field", param=field)


def _param_of(path: str) -> str:
    return path.replace("[...]", "").removeprefix(".")


def _code_of(what: str) -> str:
    if "`, got `" in what:
        return "invalid_type"
    return "out_of_range" if re.search(r"[<>]=? |out of range", what) else "invalid_value"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"The key {twice!r} is given twice in one object.", code="duplicate_key")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON.")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else _BEYOND_INT64


def _refuse_number(value: float, path: str) -> None:
    whole = isinstance(value, int)
    if (whole and value not in INT64) or not (whole or math.isfinite(value)):
        raise Invalid("The number is beyond 64 bits.", code="out_of_range", param=path or None)


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        yield from ((f"{path}[{index}]", child) for index, child in enumerate(value))
    elif isinstance(value, dict):
        for name, child in value.items():
            refuse_text(name, path)
            yield (f"{path}.{name}" if path else name), child
