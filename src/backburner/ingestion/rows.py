"""The rows of a file, one after the other, in memory that does not grow with the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec

from backburner.errors import GiveUp
from backburner.http.items import LineFault, too_large
from backburner.ingestion.template import Row
from backburner.ndjson import Line, LineReader

PIECE = 64 * 1024  # bytes
PARQUET_ROWS = 512  # decoded at once

#: Where a row stands, and the row or why it is none.
Placed = tuple[int, "Row | list[LineFault]"]


def json_lines(file: IO[bytes], *, longest: int) -> Iterator[Line]:
    """The lines that are not blank, with their numbers; None for one of more than `longest` bytes."""
    reader = LineReader(longest)
    while piece := file.read(PIECE):
        yield from reader.feed(piece)
    yield from reader.finish()


def json_rows(file: IO[bytes], *, longest: int) -> Iterator[Placed]:
    """The same, each line an object whose members are columns."""
    for number, line in json_lines(file, longest=longest):
        yield number, [too_large(longest)] if line is None else _object(line)


def _object(line: bytes) -> Row | list[LineFault]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [LineFault(None, f"The row is not a JSON object: {error}.", syntax=True)]


class CsvRows:
    """The rows of a CSV file in UTF-8 whose first line names the columns. Their numbers are those of their last line.

    Raises GiveUp when that line is no header.
    """

    def __init__(self, file: IO[bytes], *, delimiter: str, longest: int) -> None:
        # What is not UTF-8 shows when a request is made of it, so that the line is named.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._longest = longest
        csv.field_size_limit(longest)  # of the whole process, but nobody else here reads CSV
        self._reader = csv.reader(_bounded(text, longest), delimiter=delimiter)
        self.columns = self._header()

    def _header(self) -> Sequence[str]:
        try:
            names = next(self._reader, [])
        except csv.Error as error:
            raise GiveUp(f"The first line is no header: {error}.", code="invalid_header") from error
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            what = f"names the column {twice[0]!r} twice" if twice else "names no columns"
            raise GiveUp(f"The first line {what}.", code="invalid_header")
        return names

    def __iter__(self) -> Iterator[Placed]:
        reader, columns = self._reader, self.columns
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                yield reader.line_num, [LineFault(None, f"The line is not CSV: {error}.")]
                continue
            if fields is None:
                return
            if len(fields) == len(columns):
                yield reader.line_num, dict(zip(columns, fields, strict=True))
            elif fields:
                message = f"There are {len(fields)} fields; the header has {len(columns)}."
                yield reader.line_num, [LineFault(None, message)]


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
        self._errors = (pa.ArrowException, OSError)
        try:
            self._file = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1024 * 1024)
        except self._errors as error:
            raise _no_parquet(error) from error
        self.columns: Sequence[str] = list(self._file.schema_arrow.names)
        self.count: int = self._file.metadata.num_rows

    def rows(self, columns: Sequence[str]) -> Iterator[Placed]:
        """Of these columns only. Raises GiveUp in the middle of a file that is damaged there."""
        number = 0
        try:
            batches = self._file.iter_batches(batch_size=PARQUET_ROWS, columns=list(columns), use_threads=False)
            for batch in batches:
                values = [column.to_pylist() for column in batch.columns]
                for fields in zip(*values, strict=True) if values else [()] * batch.num_rows:
                    number += 1
                    yield number, dict(zip(batch.schema.names, fields, strict=True))
        except self._errors as error:
            raise _no_parquet(error) from error


def _no_parquet(error: BaseException) -> GiveUp:
    return GiveUp(f"The file cannot be read as Parquet: {error}", code="invalid_file")
