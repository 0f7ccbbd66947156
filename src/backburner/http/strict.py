"""Strict JSON: one meaning per document, or a refusal that names the place."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NoReturn, TypeVar

import msgspec

from backburner.errors import Invalid, Malformed
from backburner.json_reader import INT64, SHOWN, JsonReader
from backburner.steps import Steps, at_once

T = TypeVar("T")
#: The way to a value: the way to what it is in, and its key or index there. None: the document.
_Place = tuple["_Place", int | str] | None

MAX_DEPTH = 32
SMALL = 64 * 1024  # bytes of a document that is read in one go
_LONGEST_WORDS = 500  # of msgspec about a value, which it may repeat
_BEYOND_INT64 = 2**64

# One that is not closed reaches to the end: to look for the next one inside would take quadratic time.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"{}[]")))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
# Only a document with one of these in its text can hold a value that JSON allows and we do not.
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|[0-9]{19}|[eE]\+?[0-9]{3}")

_NAMED = re.compile(r"^Object (?P<problem>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)


def decode(raw: bytes, type_: type[T], *, max_depth: int = MAX_DEPTH) -> T:
    """Decode a whole document into `type_`, in one go: see `decode_in_steps`. For what is small."""
    return at_once(decode_in_steps(raw, type_, max_depth=max_depth))


def decode_in_steps(raw: bytes, type_: type[T], *, max_depth: int = MAX_DEPTH) -> Steps[T]:
    """Decode a whole document of moderate size into `type_`; a large one is read in steps before its values are made.

    Raises Malformed for what is not one well-formed JSON text: not UTF-8, a syntax error, a key given twice, NaN,
    nesting deeper than `max_depth`, more than `MOST_PARTS` objects, arrays and keys. Raises Invalid, naming the field,
    for what is JSON and yet not acceptable: a lone surrogate, a NUL, an integer beyond 64 bits, and everything that
    `type_` does not allow. A struct type should forbid unknown fields.
    """
    if len(raw) > SMALL:
        yield from JsonReader(raw=raw, max_depth=max_depth).steps()
    else:
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
    """The plain Python value of a small JSON document, numbers beyond 64 bits clipped. Raises Malformed."""
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


def refuse_unstorable(value: Any, place: _Place = None) -> None:
    """Raises Invalid, naming the place, for text or numbers that no database here can hold. Needs bounded depth."""
    if isinstance(value, str):
        if (what := unstorable(value)) is not None:
            raise _refused_text(what, _path(place))
    elif isinstance(value, (int, float)):
        if _is_beyond(value):
            raise Invalid("The number is beyond 64 bits.", code="out_of_range", param=_path(place))
    else:
        for name, child in _children(value, place):
            refuse_unstorable(child, (place, name))


def refuse_text(text: str, path: str | None) -> None:
    """Raises Invalid for a NUL or half of a surrogate pair."""
    if (what := unstorable(text)) is not None:
        raise _refused_text(what, path or None)


def unstorable(text: str) -> str | None:
    """What no database here can hold in this text, if anything."""
    if "\0" in text:
        return "NUL (\\u0000)"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None


def _refused_text(what: str, path: str | None) -> Invalid:
    return Invalid(f"Text must not contain {what}.", code="invalid_text", param=path)


def _path(place: _Place) -> str | None:
    """Such as `requests[17].custom_id`. Made only when it is told: to have one for each value is quadratic."""
    steps: list[str] = []
    while place is not None:
        place, name = place
        steps.append(f"[{name}]" if isinstance(name, int) else f".{name[:SHOWN]}")
    return "".join(reversed(steps)).removeprefix(".") or None


def translated(error: msgspec.ValidationError) -> Invalid:
    """msgspec's complaint in our words: the field as a path such as `requests[17].custom_id`."""
    what, found, path = str(error).rpartition(" - at `")
    if not found:
        what, path = path, ""
    path = _param_of(path.removesuffix("`").removeprefix("key in ").removeprefix("$"))
    named = _NAMED.match(what)
    if named is None:
        return Invalid(f"{what[:_LONGEST_WORDS]}.", code=_code_of(what), param=path or None)
    name = named["name"][:SHOWN]
    field = f"{path}.{name}" if path else name
    if named["problem"] == "contains unknown":
        return Invalid(f"There is no field {name!r} here.", code="unknown_field", param=field)
    return Invalid(f"The field {name!r} is required.", code="missing_field", param=field)


def _param_of(path: str) -> str:
    return path.replace("[...]", "").removeprefix(".")


def _code_of(what: str) -> str:
    if "`, got `" in what:
        return "invalid_type"
    return "out_of_range" if re.search(r"[<>]=? |out of range", what) else "invalid_value"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise Malformed(f"The key {twice[:SHOWN]!r} is given twice in one object.", code="duplicate_key")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON.")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else _BEYOND_INT64


def _is_beyond(value: float) -> bool:
    return value not in INT64 if isinstance(value, int) else not math.isfinite(value)


def _children(value: Any, place: _Place) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, dict):
        for name, child in value.items():
            if (what := unstorable(name)) is not None:
                raise _refused_text(what, _path(place))
            yield name, child
