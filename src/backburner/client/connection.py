"""One server, spoken to over HTTP: sends, repeats, and turns answers into values or errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import httpx2

from backburner.client.asks import Ask
from backburner.client.errors import ServerUnreachable
from backburner.client.options import Options
from backburner.client.retrying import reason

T = TypeVar("T")


@attrs.frozen
class Connection:
    """Not for several threads at once."""

    options: Options
    http: httpx2.Client
    sleep: Callable[[float], None]

    def call(self, ask: Ask[T]) -> T:
        """The value that the server answers. Raises ApiError or ServerUnreachable."""
        with self.stream(ask) as response:
            return ask.answer(response.read())

    @contextmanager
    def stream(self, ask: Ask[Any]) -> Iterator[httpx2.Response]:
        """A successful answer whose body is not read yet. Raises ApiError or ServerUnreachable."""
        response = self._send(ask)
        try:
            yield response
        except httpx2.TransportError as error:
            raise self.broke_off(error) from error
        finally:
            response.close()

    def broke_off(self, error: httpx2.TransportError | str) -> ServerUnreachable:
        """What to raise when an answer has begun and does not end."""
        why = error if isinstance(error, str) else reason(error)
        return ServerUnreachable(f"The answer of {self.options.url} broke off: {why}.")

    def _send(self, ask: Ask[Any]) -> httpx2.Response:
        attempts, request = self.options.attempts(ask), self.options.of_request(ask)
        while True:
            content = ask.upload.body() if ask.upload else ask.content()
            try:
                response = self.http.send(self.http.build_request(content=content, **request), stream=True)
                if response.is_success:
                    return response
                response.read()
            except httpx2.TransportError as error:
                wait = attempts.broken(error)
            else:
                wait = attempts.refused(response)
            self.sleep(wait)
