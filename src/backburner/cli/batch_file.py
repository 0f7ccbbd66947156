"""A file of requests, made into the body of a submission without reading it into memory."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import attrs
import msgspec

from backburner.cli.exits import CommandError

Form = Literal["ndjson", "json"]
_CHUNK = 1024 * 1024  # bytes
_IN_MEMORY = 8 * 1024 * 1024  # bytes of standard input; more goes to a temporary file
_SUFFIXES: Mapping[str, Form] = {".ndjson": "ndjson", ".jsonl": "ndjson"}
_BEGINNING = 4096  # bytes
_BLANK = re.compile(rb"(\xef\xbb\xbf)?[ \t\r\n]*")
_REQUEST = re.compile(rb'\{\s*"(custom_id|params|agent_id)"')


@attrs.frozen(kw_only=True)
class Submission:
    """What to send. `body` starts again each time it is called; `size` is in bytes."""

    content_type: str
    params: Mapping[str, str]
    file: IO[bytes]
    before: bytes = b""
    after: bytes = b""
    start: int = 0

    @property
    def size(self) -> int:
        return len(self.before) + self.file.seek(0, 2) - self.start + len(self.after)

    def body(self) -> Iterator[bytes]:
        self.file.seek(self.start)
        if self.before:
            yield self.before
        while chunk := self.file.read(_CHUNK):
            yield chunk
        if self.after:
            yield self.after


@contextmanager
def opened(path: str, stdin: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file, or for `-` a copy of standard input that can be read again. Raises CommandError."""
    if path == "-":
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
            shutil.copyfileobj(stdin, copy, _CHUNK)
            yield copy
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}.") from None
    with file:
        yield file


def submission(
    file: IO[bytes], path: str, options: Mapping[str, Any], *, dry_run: bool, form: Form | None = None
) -> Submission:
    """The request that submits the file: NDJSON as it is, a JSON array wrapped, a JSON object with the options added.

    `form` is guessed from the name and the beginning when None.
    """
    start, first = _beginning(file)
    params = {"dry_run": "true"} if dry_run else {}
    if (form or _SUFFIXES.get(Path(path).suffix) or guess(first)) == "ndjson":
        return Submission(content_type="application/x-ndjson", params=params | as_query(options), file=file)
    members = msgspec.json.encode(options)[1:-1]
    before, after = b"", b""
    if first.startswith(b"["):
        before, after = b'{"requests":', (b"," + members if members else b"") + b"}"
    elif members and first.startswith(b"{"):
        before, start = b"{" + members + b",", start + 1
    return Submission(
        content_type="application/json", params=params, file=file, start=start, before=before, after=after
    )


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
