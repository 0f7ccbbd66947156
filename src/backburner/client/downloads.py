"""Results of a batch as they come, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import attrs
import httpx2

from backburner.client.connection import Connection
from backburner.client.errors import ServerUnreachable
from backburner.client.results import Result
from backburner.client.waiting import TRY_EVERY, Download, results_in


@attrs.define(eq=False)
class Results:
    """A download under way: iterate over it, or save it. Memory does not grow."""

    incomplete: bool  #: the job was still running when it began
    _connection: Connection
    _download: Download
    _response: httpx2.Response
    _open: ExitStack
    _on_trouble: Callable[[ServerUnreachable], object]

    def __iter__(self) -> Iterator[Result]:
        """One result after the other, in the order of the input. Raises ServerUnreachable."""
        for lines in self._pieces():
            yield from results_in(lines)

    def save(self, target: IO[bytes]) -> int:
        """Write every line to `target`; the number of bytes. Raises ServerUnreachable."""
        size = 0
        for lines in self._pieces():
            target.write(lines)
            size += len(lines)
        return size

    def _pieces(self) -> Iterator[bytes]:
        """Whole lines, some at once."""
        while True:
            try:
                for data in self._response.iter_bytes():
                    if lines := self._download.feed(data):
                        yield lines
            except httpx2.TransportError as error:
                self._reconnect(self._connection.broke_off(error))
                continue
            if not self._download.is_cut:
                return
            self._reconnect(self._connection.broke_off("it ended in the middle of a line"))

    def _reconnect(self, error: ServerUnreachable) -> None:
        while True:
            self._download.lost(error)
            self._on_trouble(error)
            self._open.close()
            self._connection.sleep(TRY_EVERY)
            try:
                self._response = self._open.enter_context(self._connection.stream(self._download.ask()))
            except ServerUnreachable as again:
                error = again
            else:
                return


@contextmanager
def opened_results(
    connection: Connection, download: Download, on_trouble: Callable[[ServerUnreachable], object]
) -> Iterator[Results]:
    """The download, begun. Raises ApiError or ServerUnreachable."""
    with ExitStack() as stack:
        response = stack.enter_context(connection.stream(download.ask()))
        incomplete = response.headers.get("x-incomplete") == "true"
        yield Results(incomplete, connection, download, response, stack, on_trouble)
