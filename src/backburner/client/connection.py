"""One server, spoken to over HTTP: sends, retries, and turns answers into values or errors."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx2
import msgspec

from backburner import __version__
from backburner.client.errors import ServerUnreachable, api_error
from backburner.client.retrying import Retries, may_repeat_answer, may_repeat_error

#: Makes a new body for each try; None for no body.
Body = Callable[[], "bytes | Iterator[bytes]"]


class Connection:
    """Not for several threads at once. `timeout` is how long the server may be silent, in seconds."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - this client is synchronous
        random: Random | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries or Retries()
        self._sleep = sleep
        self._random = random or secrets.SystemRandom()
        headers = {"user-agent": f"backburner-client/{__version__}"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self._http = httpx2.Client(
            base_url=self.url, headers=headers, transport=transport, trust_env=not _is_loopback(self.url)
        )

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        patience: float = 0.0,
    ) -> Any:
        """The decoded JSON answer. `patience` seconds are added to the time the server may be silent.

        A repeatable POST carries an idempotency key, the same on every try.
        """
        extra = dict(headers or {})
        if json is not None:
            encoded = msgspec.json.encode(json)
            body, extra["content-type"] = (lambda: encoded), "application/json"
        if method == "POST" and repeatable:
            extra["idempotency-key"] = secrets.token_hex(16)
        with self.stream(
            method, path, params=params, body=body, headers=extra, repeatable=repeatable, patience=patience
        ) as response:
            return msgspec.json.decode(_read(response)) if response.status_code != 204 else None

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        patience: float = 0.0,
    ) -> Iterator[httpx2.Response]:
        """A successful answer whose body is not read yet. Raises ApiError or ServerUnreachable."""
        timeout = httpx2.Timeout(self._timeout, read=self._timeout + patience, connect=min(self._timeout, 5.0))

        def build() -> httpx2.Request:
            content = body() if body else None
            return self._http.build_request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )

        response = self._send(build, repeatable)
        try:
            yield response
        except httpx2.TransportError as error:
            raise ServerUnreachable(f"The answer of {self.url} broke off: {_reason(error)}.") from error
        finally:
            response.close()

    def _send(self, build: Callable[[], httpx2.Request], repeatable: bool) -> httpx2.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._http.send(build(), stream=True)
                if response.is_success:
                    return response
                response.read()
            except httpx2.TransportError as error:
                if not may_repeat_error(error, repeatable=repeatable) or not self._pause(attempt, None):
                    raise ServerUnreachable(f"Cannot reach {self.url}: {_reason(error)}.") from error
                continue
            if not may_repeat_answer(response) or not self._pause(attempt, response.headers.get("retry-after")):
                raise api_error(response)

    def _pause(self, attempt: int, retry_after: str | None) -> bool:
        wait = self._retries.wait(attempt=attempt, retry_after=retry_after, random=self._random)
        if wait is None:
            return False
        self._sleep(wait)
        return True


def _read(response: httpx2.Response) -> bytes:
    return response.read()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _is_loopback(url: str) -> bool:
    """A proxy that the environment names cannot reach this machine's own addresses."""
    host = httpx2.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
