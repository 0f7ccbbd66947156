"""One JSON text read strictly, in steps of bounded work, without making its values.

A decoder in C holds the interpreter for as long as it takes, whatever thread it runs in. This reader passes over
strings and runs of numbers at the speed of C as well, but stops again and again.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Collection

import attrs

from backburner.errors import Invalid, Malformed
from backburner.json_grammar import (
    ELEMENTS,
    KEY,
    LONGEST_ESCAPE,
    MEMBERS,
    NESTED,
    NESTED_LEVELS,
    NUMBER,
    SPACE,
    STRING,
    TEXT,
    UNIT,
    WORD,
)
from backburner.steps import Steps

MOST_PARTS = 50_000  # objects, arrays and keys of one text; making the values of so many takes some 20 ms in one call
SHOWN = 100  # characters of a key, in an error
INT64 = range(-(2**63), 2**63)
_WINDOW = 64 * 1024  # bytes that are looked at in one go
_TOKENS = 500  # in one step


class _Unstorable(Exception):
    """A string or a number that no database here can hold."""


@attrs.define(eq=False)
class _Open:
    """An object or array whose end has not come."""

    is_object: bool
    keys: set[str] | None  #: those so far, where none may come twice
    key: str = ""
    index: int = -1
    start: int = 0  #: of the value under way


@attrs.define(kw_only=True, eq=False)
class JsonReader:
    """Reads a text once. `steps` raises Malformed for what is not one well-formed JSON text.

    That is: not UTF-8, a syntax error, nesting deeper than `max_depth`, a key given twice in an object that is at most
    `unique_levels` deep, more than `MOST_PARTS` of these keys and, where all objects are looked at, of objects and
    arrays. It raises Invalid for a lone surrogate and a NUL, where all objects are looked at for a number beyond 64
    bits as well, and then it names the place.
    """

    raw: bytes
    max_depth: int
    unique_levels: int | None = None  #: None: all objects are looked at
    wanted: Collection[tuple[str, ...]] = ()  #: members whose places are to be known, by the keys that lead there
    found: dict[tuple[str, ...], slice] = attrs.field(factory=dict, init=False)
    is_object: bool = attrs.field(default=False, init=False)
    keys: set[str] = attrs.field(factory=set, init=False)  #: of the outermost object
    twice: list[tuple[str, ...]] | None = None  #: if not None, takes the keys given twice, which then raise nothing
    _at: int = attrs.field(default=0, init=False)
    _stack: list[_Open] = attrs.field(factory=list, init=False)
    _parts: int = attrs.field(default=0, init=False)
    _exact: bool = attrs.field(default=False, init=False)  # counts the elements of arrays

    def steps(self) -> Steps[None]:
        yield from _utf8(self.raw)
        try:
            yield from self._read()
        except _Unstorable as first:
            if self.unique_levels is not None:
                raise _refusal(str(first), "") from None
            again = JsonReader(raw=self.raw, max_depth=self.max_depth)
            again._exact = True
            try:
                yield from again._read()
            except _Unstorable as error:
                raise _refusal(str(error), again._path()) from None

    def _read(self) -> Steps[None]:
        state: Callable[[], object] | None = self._value
        count, begin = 0, 0
        while state is not None:
            state = state()  # type: ignore[assignment]  # a state leads to the next, or to None
            count += 1
            if count > _TOKENS or self._at - begin > _WINDOW:
                count, begin = 0, self._at
                yield

    # --- states: each passes over a token at most, or over a window -------------------------------------------

    def _value(self) -> object:
        if not self._space():
            return self._value
        byte = self._byte()
        if self._stack:
            self._stack[-1].start = self._at
            self._stack[-1].index += 1
        if byte == b'"':
            self._at += 1
            return self._string
        if byte in (b"{", b"["):
            return self._open(is_object=byte == b"{")
        self._scalar()
        return self._after

    def _string(self) -> object:
        """The rest of a string."""
        limit = self._at + _WINDOW
        found = TEXT.match(self.raw, self._at, limit)
        self._at = found.end() if found else self._at
        if self.raw[self._at : self._at + 1] == b'"':
            self._at += 1
            return self._after
        if limit < len(self.raw) and self._at > limit - LONGEST_ESCAPE:
            return self._string
        raise self._bad_text()

    def _open(self, *, is_object: bool) -> object:
        if len(self._stack) >= self.max_depth:
            raise Malformed(f"The JSON is nested deeper than {self.max_depth} levels.", code="json_too_deep")
        self._at += 1
        self.is_object = self.is_object or (is_object and not self._stack)
        level = len(self._stack) + 1
        is_unique = self.unique_levels is None or level <= self.unique_levels
        self._stack.append(_Open(is_object, set() if is_object and is_unique else None))
        if self.unique_levels is None:
            self._count()
        return self._first

    def _first(self) -> object:
        """What may follow an opening bracket."""
        if not self._space():
            return self._first
        here = self._stack[-1]
        if self._byte() == (b"}" if here.is_object else b"]"):
            return self._close()
        return self._key if here.is_object else self._element

    def _element(self) -> object:
        begin = self._at
        has_more = False
        if self._is_free():
            has_more = self._pass_over(NESTED)
        elif not self._exact and len(self._stack) <= self.max_depth - NESTED_LEVELS:
            has_more = self._pass_over(ELEMENTS)
            if self.unique_levels is None:
                self._count(STRING.sub(b"", self.raw[begin : self._at]).count(b"["))
        return self._element if has_more else self._value

    def _is_free(self) -> bool:
        """Whether nobody asks for what is inside here."""
        level = len(self._stack)
        return self.unique_levels is not None and self.unique_levels < level <= self.max_depth - NESTED_LEVELS

    def _pass_over(self, run: re.Pattern[bytes]) -> bool:
        """Whether there may be more of it."""
        begin = self._at
        found = run.match(self.raw, begin, begin + _WINDOW)
        self._at = found.end() if found else begin
        return self._at > begin + _WINDOW // 2

    def _key(self) -> object:
        here = self._stack[-1]
        if self._is_free() and self._pass_over(MEMBERS):
            return self._key
        if not self._space():
            return self._key
        found = KEY.match(self.raw, self._at, self._at + _WINDOW)
        if found is None:
            here.key = ""
            raise self._bad_key()
        self._at = found.end()
        if here.keys is not None:
            here.key = _text(found[1])
            self._note_key(here.key, here.keys)
        return self._value

    def _after(self) -> object:
        """What may follow a value."""
        if not self._space():
            return self._after
        if not self._stack:
            if self._at < len(self.raw):
                raise self._unexpected()
            return None
        here, byte = self._stack[-1], self._byte()
        if here.is_object and self.wanted and here.keys is not None:
            self._note_value(here)
        if byte == b",":
            self._at += 1
            return self._key if here.is_object else self._element
        if byte == (b"}" if here.is_object else b"]"):
            return self._close()
        raise self._unexpected()

    def _close(self) -> object:
        self._at += 1
        closed = self._stack.pop()
        if not self._stack and closed.keys is not None:
            self.keys = closed.keys
        return self._after

    # --- tokens ----------------------------------------------------------------------------------------------

    def _space(self) -> bool:
        """Passes over white space; False when there may be more."""
        found = SPACE.match(self.raw, self._at, self._at + _WINDOW)
        begin, self._at = self._at, found.end() if found else self._at
        return self._at - begin < _WINDOW

    def _byte(self) -> bytes:
        byte = self.raw[self._at : self._at + 1]
        if not byte:
            raise Malformed("The body is not valid JSON: it ends too early.")
        return byte

    def _scalar(self) -> None:
        found = NUMBER.match(self.raw, self._at, self._at + _WINDOW)
        if found is None:
            found = WORD.match(self.raw, self._at)
            if found is None:
                raise self._unexpected()
        elif len(found[0]) == _WINDOW:
            raise Malformed("The body is not valid JSON: a number is too long.")
        elif self.unique_levels is None and (len(found[0]) > 18 or found[2] is not None):
            _check_number(found[0], is_whole=found[1] is None and found[2] is None)
        self._at = found.end()

    def _note_key(self, key: str, keys: set[str]) -> None:
        self._count()
        if key in keys:
            if self.twice is None:
                raise Malformed(f"The key {key[:SHOWN]!r} is given twice in one object.", code="duplicate_key")
            if len(self.twice) < 10:
                self.twice.append((*(outer.key for outer in self._stack[:-1]), key))
        keys.add(key)

    def _note_value(self, here: _Open) -> None:
        if all(outer.is_object for outer in self._stack):
            path = tuple(outer.key for outer in self._stack)
            if path in self.wanted:
                self.found[path] = slice(here.start, self._at)

    def _count(self, more: int = 1) -> None:
        self._parts += more
        if self._parts > MOST_PARTS:
            message = f"The JSON has more than {MOST_PARTS:,} objects, arrays and keys."
            raise Malformed(message, code="json_too_complex")

    # --- refusals --------------------------------------------------------------------------------------------

    def _bad_text(self) -> Exception:
        if UNIT.match(self.raw, self._at):
            return _Unstorable("NUL" if self.raw.startswith(b"\\u0000", self._at) else "surrogate")
        return self._unexpected() if self._at < len(self.raw) else self._ends()

    def _bad_key(self) -> Exception:
        if self._byte() != b'"':
            return self._unexpected()
        begin = self._at
        found = TEXT.match(self.raw, begin + 1, begin + _WINDOW)
        self._at = found.end() if found else begin + 1
        if self._at > begin + _WINDOW - LONGEST_ESCAPE:
            return Malformed("The body is not valid JSON: a key is too long.")
        if self.raw[self._at : self._at + 1] == b'"':
            self._at += 1
            self._space()
            return self._unexpected() if self._at < len(self.raw) else self._ends()
        return self._bad_text()

    def _ends(self) -> Malformed:
        return Malformed("The body is not valid JSON: it ends too early.")

    def _unexpected(self) -> Malformed:
        what = chr(self.raw[self._at]) if self.raw[self._at] < 128 else "character"
        return Malformed(f"The body is not valid JSON: unexpected {what!r} (byte {self._at}).")

    def _path(self) -> str:
        """Where the value under way is, such as `requests[17].custom_id`; for a key, where its object is."""
        path = ""
        for outer in self._stack:
            name = outer.key[:SHOWN].encode("utf-8", "replace").decode()
            path += f".{name}" if outer.is_object and name else "" if outer.is_object else f"[{outer.index}]"
        return path.removeprefix(".")


def _refusal(what: str, path: str) -> Invalid:
    if what == "number":
        return Invalid("The number is beyond 64 bits.", code="out_of_range", param=path or None)
    words = "NUL (\\u0000)" if what == "NUL" else "a lone surrogate"
    return Invalid(f"Text must not contain {words}.", code="invalid_text", param=path or None)


def _utf8(raw: bytes) -> Steps[None]:
    if raw.startswith(codecs.BOM_UTF8):
        raise Malformed("The body starts with a byte order mark; send plain UTF-8.", code="invalid_encoding")
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(raw), _WINDOW):
        before = len(decoder.getstate()[0])
        try:
            decoder.decode(raw[begin : begin + _WINDOW], final=begin + _WINDOW >= len(raw))
        except UnicodeDecodeError as error:
            place = begin - before + error.start
            raise Malformed(f"The body is not UTF-8 (byte {place}).", code="invalid_encoding") from None
        if begin:
            yield


def _text(key: bytes) -> str:
    # The decoder of the standard library keeps lone surrogates, which are another's to refuse.
    return str(json.loads(b'"%b"' % key)) if b"\\" in key else key.decode()


def _check_number(digits: bytes, *, is_whole: bool) -> None:
    if is_whole:
        if len(digits) > 20 or int(digits) not in INT64:
            raise _Unstorable("number")
    elif not math.isfinite(float(digits)):
        raise _Unstorable("number")
