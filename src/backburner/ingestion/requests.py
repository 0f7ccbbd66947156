"""From a file to the requests in it, whatever its format."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import attrs

from backburner.batch_report import Report
from backburner.errors import Invalid
from backburner.http.items import LineFault
from backburner.ingestion.rows import NO_ROW, CsvRows, ParquetRows, Placed, json_lines, json_rows
from backburner.ingestion.sources import Source
from backburner.ingestion.template import Template, template_of

Format = Literal["jsonl", "csv", "parquet"]
_SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip

_NO_DELIMITERS = '\n\r\0"'

PAGE_LINES = 500
PAGE_BYTES = 256 * 1024  # of requests
PAGE_READ = 1024 * 1024  # bytes of the file; a page is read in one go, which cannot be cancelled

#: Where a request stands, and its text or why it has none; None for one that is too large.
Placeable = tuple[int, "bytes | list[LineFault] | None"]


@attrs.frozen(kw_only=True)
class Form:
    """How requests are made of a file."""

    format: Format | None
    template: str | Mapping[str, Any] | None
    custom_id: str | None  #: the column
    delimiter: str | None
    defaults: Mapping[str, Any]

    def of(self, name: str) -> Format:
        """The format of a file with this name. Raises Invalid when that cannot be told, or it needs a template."""
        found = self.format or _SUFFIXES.get(PurePosixPath(name).suffix.lower())
        if found is None:
            known = ", ".join(get_args(Format))
            message = f"The format of {name!r} cannot be told from its name; say which: {known}."
            raise Invalid(message, code="unknown_format", param="format")
        if found != "jsonl" and self.template is None:
            message = f"Requests are made of {found} rows by a template; give one."
            raise Invalid(message, code="missing_field", param="template")
        return found

    def check(self) -> None:
        """Raises Invalid for what is wrong with any file."""
        if self.delimiter is not None and (len(self.delimiter.encode()) != 1 or self.delimiter in _NO_DELIMITERS):
            message = "The delimiter is one ASCII character, neither a line break nor a quotation mark."
            raise Invalid(message, param="delimiter")
        if self.template is not None:
            template_of(self.template, self.defaults, None, self.custom_id)


@attrs.define(kw_only=True, eq=False)
class Requests:
    """The requests of one file, a page at a time. Its methods read the file."""

    place: Literal["line", "row"]
    lines: Iterator[Placeable | None]
    seen: int = 0  #: rows so far
    is_over: bool = False  #: the last page was the last
    _done: Callable[[int], int]

    def page(self) -> list[Placeable]:
        """The next few; none where a part of the file has none. To be called until `is_over`."""
        found: list[Placeable] = []
        size, begin = 0, self.done()
        for placed in self.lines:
            if placed is not None:
                found.append(placed)
                self.seen += 1
                size += len(placed[1] or ())
            if len(found) >= PAGE_LINES or size >= PAGE_BYTES or self.done() - begin >= PAGE_READ:
                break
        else:
            self.is_over = True
        return found

    def done(self) -> int:
        """How many bytes of the file are read."""
        return self._done(self.seen)

    def report(self) -> Report:
        return Report(self.place)


def open_requests(source: Source, form: Form, *, longest: int) -> Requests:
    """Reads the beginning of the file. Raises GiveUp for what is not of its format, Invalid for a template."""
    kind = form.of(source.name)
    if kind == "parquet":
        return _of_parquet(source, form, longest)
    if kind == "csv":
        delimiter = form.delimiter or ("\t" if source.name.endswith(".tsv") else ",")
        rows = CsvRows(source.file, delimiter=delimiter, longest=longest)
        template = _template(form, rows.columns)
        return Requests(place="line", lines=_made(rows, template, longest), done=_position(source))
    if form.template is None:
        lines: Iterator[Placeable | None] = json_lines(source.file, longest=longest)
    else:
        lines = _made(json_rows(source.file, longest=longest), _template(form, None), longest)
    return Requests(place="line", lines=lines, done=_position(source))


def _of_parquet(source: Source, form: Form, longest: int) -> Requests:
    rows = ParquetRows(source.file)
    template = _template(form, rows.columns)
    needed = [column for column in rows.columns if column in template.columns]
    total = max(1, rows.count)
    return Requests(
        place="row",
        lines=_made(rows.rows(needed), template, longest),
        done=lambda seen: source.size * min(seen, total) // total,
    )


def _template(form: Form, columns: Any) -> Template:
    return template_of(form.template or {}, form.defaults, columns, form.custom_id)


def _made(rows: Iterable[Placed | None], template: Template, longest: int) -> Iterator[Placeable | None]:
    count = 0
    for placed in rows:
        if placed is None:
            yield NO_ROW
            continue
        count += 1
        number, row = placed
        yield number, row if isinstance(row, list) else template.request(row, count, longest=longest)


def _position(source: Source) -> Callable[[int], int]:
    """Where the reading is; what is read ahead counts."""
    raw = source.file.raw if isinstance(source.file, io.BufferedReader) else source.file
    return lambda _: min(source.size, raw.tell())
