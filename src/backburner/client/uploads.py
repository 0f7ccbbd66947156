"""Requests made into the body of a submission, without holding them all in memory."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, cast

import attrs
import msgspec

Form = Literal["ndjson", "json"]
#: What can be submitted: requests, a path, or an open binary file.
Source = Iterable[Mapping[str, Any]] | str | Path | IO[bytes]

_NDJSON = "application/x-ndjson"
_CHUNK = 1024 * 1024  # bytes read of a file at once
_GATHERED = 64 * 1024  # bytes of requests sent at once
_IN_MEMORY = 8 * 1024 * 1024  # bytes kept of an iterator for repetitions; more goes to a temporary file
_SUFFIXES: Mapping[str, Form] = {".ndjson": "ndjson", ".jsonl": "ndjson"}
_BEGINNING = 4096  # bytes
_BLANK = re.compile(rb"(\xef\xbb\xbf)?[ \t\r\n]*")
_REQUEST = re.compile(rb'\{\s*"(custom_id|params|agent_id)"')


@attrs.frozen(kw_only=True)
class Upload:
    """What to send. `body` starts again each time it is called; `size` is in bytes, None when it is not known."""

    content_type: str
    params: Mapping[str, str]
    body: Callable[[], Iterator[bytes]]
    size: int | None = None


@contextmanager
def upload(source: Source, options: Mapping[str, Any], *, form: Form | None = None) -> Iterator[Upload]:
    """The upload of `source`; whatever that opens is closed at the end. Raises OSError for a path.

    An iterator is read once, while it is being sent; what it gave is kept until the end, for repetitions.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as opened, rereadable(opened) as file:
            yield file_upload(file, str(source), options, form=form)
    elif not isinstance(source, Iterable) or hasattr(source, "read"):
        with rereadable(cast("IO[bytes]", source)) as file:
            yield file_upload(file, str(getattr(source, "name", "")), options, form=form)
    else:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
            yield Upload(content_type=_NDJSON, params=as_query(options), body=_body_of(source, kept))


@contextmanager
def rereadable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file itself, or a copy of what can be read only once: a pipe, a terminal."""
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        shutil.copyfileobj(file, copy, _CHUNK)
        yield cast("IO[bytes]", copy)


def _body_of(requests: Iterable[Mapping[str, Any]], kept: Any) -> Callable[[], Iterator[bytes]]:
    return _Kept(encoded(requests), kept) if isinstance(requests, Iterator) else partial(encoded, requests)


def encoded(requests: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """NDJSON, in pieces of a good size."""
    gathered = bytearray()
    for request in requests:
        gathered += msgspec.json.encode(request) + b"\n"
        if len(gathered) >= _GATHERED:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


@attrs.frozen
class _Kept:
    """Gives what an iterator gives, each time from its beginning."""

    source: Iterator[bytes]
    kept: Any  # a file

    def __call__(self) -> Iterator[bytes]:
        size, position = self.kept.seek(0, 2), 0
        while position < size:
            self.kept.seek(position)
            piece = self.kept.read(min(_CHUNK, size - position))
            position += len(piece)
            yield piece
        for piece in self.source:
            self.kept.seek(0, 2)
            self.kept.write(piece)
            yield piece


@attrs.frozen(kw_only=True)
class _FileBody:
    file: IO[bytes]
    before: bytes = b""
    after: bytes = b""
    start: int = 0

    @property
    def size(self) -> int:
        return len(self.before) + self.file.seek(0, 2) - self.start + len(self.after)

    def __call__(self) -> Iterator[bytes]:
        self.file.seek(self.start)
        if self.before:
            yield self.before
        while chunk := self.file.read(_CHUNK):
            yield chunk
        if self.after:
            yield self.after


def file_upload(file: IO[bytes], path: str, options: Mapping[str, Any], *, form: Form | None = None) -> Upload:
    """The upload of a file that can be read again: NDJSON as it is, a JSON array wrapped, options added to an object.

    `form` is guessed from the name and the beginning when None.
    """
    start, first = _beginning(file)
    dry_run = {"dry_run": "true"} if options.get("dry_run") else {}
    options = {name: value for name, value in options.items() if name != "dry_run"}
    if (form or _SUFFIXES.get(Path(path).suffix) or guess(first)) == "ndjson":
        body = _FileBody(file=file)
        return Upload(content_type=_NDJSON, params=dry_run | as_query(options), body=body, size=body.size)
    members = msgspec.json.encode(options)[1:-1]
    before, after = b"", b""
    if first.startswith(b"["):
        before, after = b'{"requests":', (b"," + members if members else b"") + b"}"
    elif members and first.startswith(b"{"):
        before, start = b"{" + members + b",", start + 1
    body = _FileBody(file=file, start=start, before=before, after=after)
    return Upload(content_type="application/json", params=dry_run, body=body, size=body.size)


def guess(beginning: bytes) -> Form:
    """NDJSON when it begins with a request, JSON when with anything else."""
    return "ndjson" if _REQUEST.match(beginning) else "json"


def as_query(options: Mapping[str, Any]) -> dict[str, str]:
    """Text as it is, everything else as JSON."""
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in options.items()
    }


def _beginning(file: IO[bytes]) -> tuple[int, bytes]:
    """Where the first character is that counts, and what follows."""
    file.seek(0)
    head = file.read(_BEGINNING)
    blank = _BLANK.match(head)
    start = blank.end() if blank else 0
    return start, head[start:]
