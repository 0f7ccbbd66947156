"""Requests made of rows: a template with `{column}` where a row's values go."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, cast

import attrs
import msgspec

from backburner.errors import Invalid
from backburner.http.items import LineFault, too_large

#: A row's values by column.
Row = Mapping[str, Any]

CUSTOM_ID = "custom_id"  # the column that is taken for it where none is named
LONGEST_CUSTOM_ID = 100  # characters; what is longer is refused, and refused as well when it is cut
SHOWN_COLUMNS, SHOWN_CHARACTERS = 20, 100  # of a header, in an error
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


@attrs.frozen
class _Text:
    """The value of a column inside a text."""

    column: str


@attrs.frozen
class _Whole:
    """The value of a column as it is, text, number or object."""

    column: str


_Piece = bytes | _Text | _Whole


@attrs.frozen(kw_only=True)
class Template:
    """Makes a request of each row. Knows which columns it needs."""

    pieces: Sequence[_Piece]  #: of the params' JSON
    custom_id: str | None  #: a column; None: the row's own `custom_id` if it has one, else `row-` and its number

    @property
    def columns(self) -> frozenset[str]:
        """Those that every row must have."""
        named = {piece.column for piece in self.pieces if not isinstance(piece, bytes)}
        return frozenset(named | ({self.custom_id} if self.custom_id else set()))

    def request(self, row: Row, number: int, *, longest: int) -> bytes | list[LineFault]:
        """A line as `POST /v1/batches` takes it; or why there can be none.

        A request of more than `longest` bytes is not made: the cost is that of `longest`, however often the template
        repeats a value.
        """
        try:
            custom_id = self._custom_id(row, number)
            params = self._params(row, longest)
            if params is None:
                return [too_large(longest)]
            return b'{"custom_id":%b,"params":%b}' % (msgspec.json.encode(custom_id), params)
        except KeyError as error:
            return [LineFault(None, f"There is no column {shown(error.args[0])} in this row.")]
        except UnicodeEncodeError:
            return [LineFault(None, "The row is not UTF-8.")]
        except _NoJson as error:
            return [LineFault(None, str(error))]

    def _params(self, row: Row, longest: int) -> bytes | None:
        values: dict[_Text | _Whole, bytes] = {}
        found: list[bytes] = []
        size = 0
        for piece in self.pieces:
            if not isinstance(piece, bytes) and piece not in values:
                values[piece] = _value(piece, row)
            found.append(piece if isinstance(piece, bytes) else values[piece])
            size += len(found[-1])
            if size > longest:
                return None
        return b"".join(found)

    def _custom_id(self, row: Row, number: int) -> str:
        column = self.custom_id or CUSTOM_ID
        if self.custom_id is None and column not in row:
            return f"row-{number}"
        return _as_text(row[column], column)[:LONGEST_CUSTOM_ID]


class _NoJson(Exception):
    """A value cannot be said in JSON."""


def template_of(
    said: str | Mapping[str, Any], defaults: Mapping[str, Any], columns: Collection[str] | None, custom_id: str | None
) -> Template:
    """A template from a prompt, or from the params of a request with placeholders in their texts.

    `columns` are those of the file; None when each row has its own. Raises Invalid, naming the place.
    """
    params = {"messages": [{"role": "user", "content": said}]} if isinstance(said, str) else said
    pieces = list(_joined(_pieces({**defaults, **params})))
    if custom_id is None and columns is not None and CUSTOM_ID in columns:
        custom_id = CUSTOM_ID
    made = Template(pieces=pieces, custom_id=custom_id)
    if columns is not None and (unknown := sorted(made.columns - set(columns))):
        known = _first_of(columns)
        place = "custom_id" if unknown == [custom_id] else "template"
        raise Invalid(
            f"There is no column {shown(unknown[0])} in the file. Its columns: {known}.",
            code="unknown_column",
            param=place,
        )
    return made


def shown(column: str) -> str:
    """The beginning of a column's name, for an error: names may be long and errors many."""
    return repr(column[:SHOWN_CHARACTERS])


def _first_of(columns: Collection[str]) -> str:
    names = ", ".join(map(shown, islice(columns, SHOWN_COLUMNS)))
    more = len(columns) - SHOWN_COLUMNS
    return f"{names} and {more:,} more" if more > 0 else names


def _pieces(value: Any) -> Iterator[_Piece]:
    """The JSON of a value, with the placeholders of its texts left open."""
    if isinstance(value, str):
        yield from _pieces_of_text(value)
    elif isinstance(value, Mapping):
        for number, (name, child) in enumerate(value.items()):
            yield b"%b%b:" % (b"," if number else b"{", msgspec.json.encode(name))
            yield from _pieces(child)
        yield b"}" if value else b"{}"
    elif isinstance(value, list):
        yield b"["
        for number, child in enumerate(value):
            yield b"," if number else b""
            yield from _pieces(child)
        yield b"]"
    else:
        yield msgspec.json.encode(value)


def _pieces_of_text(text: str) -> Iterator[_Piece]:
    whole = _PLACEHOLDER.fullmatch(text)
    if whole and whole[1]:
        yield _Whole(whole[1])
        return
    yield b'"'
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        yield _escaped(text[end : found.start()])
        end = found.end()
        if found[1]:
            yield _Text(found[1])
        elif len(found[0]) == 2:
            yield found[0][:1].encode()
        else:
            raise Invalid(
                f"A single {found[0]!r} stands in {_around(text, found.start())!r}; write {found[0] * 2!r} for the "
                "character, {column} for a value.",
                code="invalid_template",
                param="template",
            )
    yield _escaped(text[end:]) + b'"'


def _around(text: str, at: int) -> str:
    return text[max(0, at - 20) : at + 20]


def _joined(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    for is_fixed, group in groupby(pieces, lambda piece: isinstance(piece, bytes)):
        if is_fixed:
            yield b"".join(cast("Iterator[bytes]", group))
        else:
            yield from group


def _value(piece: _Text | _Whole, row: Row) -> bytes:
    value = row[piece.column]
    if isinstance(piece, _Whole):
        return _json("" if value is None else value, piece.column)
    return _escaped(value if isinstance(value, str) else _as_text(value, piece.column))


def _as_text(value: Any, column: str) -> str:
    """Text as it is, nothing as no text, other values as their JSON, times without its quotation marks."""
    if isinstance(value, str):
        return value
    return "" if value is None else _json(value, column).decode().strip('"')


def _json(value: Any, column: str) -> bytes:
    try:
        text = msgspec.json.encode(value)
        # msgspec writes NaN and infinities as null: the question would be another.
        odd = b"null" in text and _has_odd_number(value)
    except UnicodeEncodeError:
        raise
    except (RecursionError, TypeError, ValueError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise _NoJson(f"The value of the column {shown(column)} has no JSON: {why}.") from error
    if odd:
        raise _NoJson(f"The value of the column {shown(column)} has no JSON: NaN and infinity are no numbers there.")
    return text


def _has_odd_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_odd_number, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_odd_number, value))


def _escaped(text: str) -> bytes:
    """The inside of a JSON text."""
    return msgspec.json.encode(text)[1:-1]
