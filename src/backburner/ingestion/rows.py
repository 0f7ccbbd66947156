"""The rows of a file, one after the other, in memory that does not grow with the file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import msgspec

from backburner.errors import GiveUp
from backburner.http.items import LineFault, too_large
from backburner.ingestion.template import Row, shown
from backburner.streams import Line, LineSplitter

PIECE = 64 * 1024  # bytes
PARQUET_ROWS = 512  # decoded at once

#: Where a row stands, and the row or why it is none.
Placed = tuple[int, "Row | list[LineFault]"]

#: Takes the place of a row where a part of the file was read that has none: the reader may pause there.
NO_ROW = None


def json_lines(file: IO[bytes], *, longest: int) -> Iterator[Line | None]:
    """The lines that are not blank, with their numbers; None for one of more than `longest` bytes. And `NO_ROW`s."""
    splitter = LineSplitter(max_line_bytes=longest)
    while piece := file.read(PIECE):
        lines = splitter.feed(piece)
        yield from lines if lines else [NO_ROW]
    yield from splitter.finish()


def json_rows(file: IO[bytes], *, longest: int) -> Iterator[Placed | None]:
    """The same, each line an object whose members are columns."""
    for placed in json_lines(file, longest=longest):
        if placed is None:
            yield NO_ROW
        else:
            number, line = placed
            yield number, [too_large(longest)] if line is None else _object(line)


def _object(line: bytes) -> Row | list[LineFault]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [LineFault(None, f"The row is not a JSON object: {error}.", syntax=True)]
    except RecursionError:
        return [LineFault(None, "The row is nested too deeply.", syntax=True)]


class CsvRows:
    """The rows of a CSV file in UTF-8 whose first line names the columns. Leaves the file open.

    A row's number is that of its last line, or of its first when it is not CSV. A blank line is a row where the file
    has one column, else none. Raises GiveUp when the first line is no header.
    """

    def __init__(self, file: IO[bytes], *, delimiter: str, longest: int) -> None:
        # What is not UTF-8 shows when a request is made of it, so that the line is named.
        borrowed = cast("io.BufferedReader", _Borrowed(file))
        text = io.TextIOWrapper(borrowed, encoding="utf-8-sig", errors="surrogateescape", newline="")
        csv.field_size_limit(longest)  # of the whole process, but nobody else here reads CSV
        self._reader = csv.reader(_bounded(text, longest), delimiter=delimiter, strict=True)
        self.columns = self._header()

    def _header(self) -> Sequence[str]:
        try:
            names = next(self._reader, [])
        except csv.Error as error:
            raise GiveUp(f"The first line is no header: {error}.", code="invalid_header") from error
        if not names:
            raise GiveUp("The first line names no columns.", code="invalid_header")
        _refuse_twice("The first line", names)
        return names

    def __iter__(self) -> Iterator[Placed | None]:
        reader, columns = self._reader, self.columns
        while True:
            first = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                yield first, [LineFault(None, _no_csv(error, first, reader.line_num))]
                continue
            if fields is None:
                return
            if not fields and len(columns) == 1:
                fields = [""]
            if len(fields) == len(columns):
                yield reader.line_num, dict(zip(columns, fields, strict=True))
            elif fields:
                message = f"There are {len(fields)} fields; the header has {len(columns)}."
                yield reader.line_num, [LineFault(None, message)]
            else:
                yield NO_ROW


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise GiveUp(f"{what} names the column {shown(twice)} twice.", code="invalid_header")


def _no_csv(error: csv.Error, first: int, last: int) -> str:
    if str(error) == "unexpected end of data":
        return "A quotation mark is opened in the row that begins here and is never closed."
    reach = f" It begins here; an open quotation mark makes it reach to line {last}." if last > first else ""
    return f"The row is not CSV: {error}.{reach}"


class _Borrowed(io.BufferedIOBase):
    """A file that stays open when a reader of its text is closed or forgotten."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = cast("io.BufferedReader", file)

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        return self._file.read1(size)


def _bounded(text: io.TextIOWrapper, longest: int) -> Iterator[str]:
    number = 0
    while line := text.readline(longest + 2):
        number += 1
        if len(line) > longest and not line.endswith("\n"):
            raise GiveUp(f"Line {number} has more than {longest:,} characters.", code="line_too_long")
        yield line


class ParquetRows:
    """The rows of a Parquet file, numbered from 1. Raises GiveUp when it is none, or pyarrow is not installed."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415  # an extra
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            message = "Parquet files need pyarrow, which is not installed here: pip install 'backburner[parquet]'."
            raise GiveUp(message, code="parquet_not_installed") from error
        self._pa = pa
        # What pyarrow raises for a file or a value that it cannot read; its documentation names a part of it.
        self._errors = (pa.ArrowException, ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError)
        with self._reading():
            self._file = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1024 * 1024)
            self.columns: Sequence[str] = list(self._file.schema_arrow.names)
            self.count: int = self._file.metadata.num_rows
        _refuse_twice("The file", self.columns)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the machine cannot read the file now; pyarrow's own have no number
            raise GiveUp(f"The file cannot be read as Parquet: {error}", code="invalid_file") from error

    def rows(self, columns: Sequence[str]) -> Iterator[Placed]:
        """Of these columns only. Raises GiveUp in the middle of a file that is damaged there."""
        number = 0
        for batch in self._batches(columns):
            faults: dict[int, list[LineFault]] = {}
            names = batch.schema.names
            values = [self._values(name, batch.column(index), faults) for index, name in enumerate(names)]
            for index, fields in enumerate(zip(*values, strict=True) if values else [()] * batch.num_rows):
                number += 1
                yield number, faults.get(index) or dict(zip(names, fields, strict=True))

    def _batches(self, columns: Sequence[str]) -> Iterator[Any]:
        with self._reading():
            yield from self._file.iter_batches(batch_size=PARQUET_ROWS, columns=list(columns), use_threads=False)

    def _values(self, name: str, column: Any, faults: dict[int, list[LineFault]]) -> list[Any]:
        """The column in Python's types; what has none there is a fault of its row."""
        try:
            return self._plain(column)
        except self._errors:
            return [self._value(name, column.slice(index, 1), index, faults) for index in range(len(column))]

    def _value(self, name: str, cell: Any, index: int, faults: dict[int, list[LineFault]]) -> Any:
        try:
            return self._plain(cell)[0]
        except self._errors as error:
            message = f"The value of the column {shown(name)} ({cell.type}) cannot be read: {error}."
            faults.setdefault(index, []).append(LineFault(None, message))
            return None

    def _plain(self, column: Any) -> list[Any]:
        # Python's times have microseconds; with pandas installed, pyarrow would give values of pandas instead.
        in_nanoseconds = getattr(column.type, "unit", None) == "ns"
        return list((self._in_microseconds(column) if in_nanoseconds else column).to_pylist())

    def _in_microseconds(self, column: Any) -> Any:
        kind, pa = column.type, self._pa
        if pa.types.is_timestamp(kind):
            return column.cast(pa.timestamp("us", kind.tz))
        return column.cast(pa.time64("us") if pa.types.is_time(kind) else pa.duration("us"))
