"""The file of requests that a command was given."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from backburner.cli.exits import CommandError, Exit
from backburner.client.uploads import rereadable


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The file, or for `-` standard input, in a form that can be read again.

    Raises CommandError (usage) when it cannot be read, also in the middle.
    """
    try:
        with ExitStack() as stack:
            file = _standard_input() if path == "-" else stack.enter_context(Path(path).open("rb"))
            yield stack.enter_context(rereadable(file))
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror or error}.", Exit.USAGE) from None


def _standard_input() -> IO[bytes]:
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # None: it was closed
