"""What both clients need to know of their server."""

from __future__ import annotations

import ipaddress
import os
import secrets
from random import Random
from typing import Any

import attrs
import httpx2

from backburner import __version__
from backburner.client.asks import Ask
from backburner.client.retrying import Attempts, Retries
from backburner.profiles import address

_CONNECTING = 5.0  # seconds


def _without_slash(url: str) -> str:
    return url.rstrip("/")


def known_server(url: str | None, key: str | None, profile: str | None) -> tuple[str, str | None]:
    """The server and the key that a client is for. Raises ProfileError, ValueError for a url beside a profile."""
    if url is None:
        return address(os.environ, None, key, named=profile)
    if profile is not None:
        raise ValueError("Give either a url or a profile.")
    return url, key


@attrs.frozen(kw_only=True)
class Options:
    """`timeout` is how long the server may be silent, in seconds."""

    url: str = attrs.field(converter=_without_slash)
    key: str | None = None
    timeout: float = 30.0
    retries: Retries = attrs.field(factory=Retries)
    random: Random = attrs.field(factory=secrets.SystemRandom)

    def of_http(self) -> dict[str, Any]:
        """The arguments of an httpx2 client."""
        headers = {"user-agent": f"backburner-client/{__version__}"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        return {"base_url": self.url, "headers": headers, "trust_env": not _is_loopback(self.url)}

    def of_request(self, ask: Ask[Any]) -> dict[str, Any]:
        """The arguments of one request, the same for every try; the content comes apart."""
        limits = httpx2.Timeout(self.timeout, read=self.timeout + ask.patience, connect=min(self.timeout, _CONNECTING))
        return {
            "method": ask.method,
            "url": ask.path,
            "params": ask.params,
            "headers": ask.headers(),
            "timeout": limits,
        }

    def attempts(self, ask: Ask[Any]) -> Attempts:
        return Attempts(url=self.url, repeatable=ask.repeatable, retries=self.retries, random=self.random)


def _is_loopback(url: str) -> bool:
    """A proxy that the environment names cannot reach this machine's own addresses."""
    host = httpx2.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
