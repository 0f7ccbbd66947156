"""The file of requests that a command was given."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backburner.cli.exits import CommandError

_CHUNK = 1024 * 1024  # bytes
_IN_MEMORY = 8 * 1024 * 1024  # bytes of standard input; more goes to a temporary file


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
