"""Connections that go only to addresses which were checked: name, check and connection belong together."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import cast

import attrs
import httpcore2
import httpx2
import trio

from backburner.egress import Address, is_forbidden
from backburner.errors import BackburnerError
from backburner.webhooks.pools import PoolPerReceiver

#: The addresses of a host, in the order to try them. Raises OSError when there are none.
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

RESOLVE_SECONDS = 5.0
MAX_ANSWERS = 16
FIRST_ADDRESS_SECONDS = 1.5  # for each address but the last
KEEPALIVE_SECONDS = 5.0
#: A lookup that hangs keeps its thread until the system gives up, so lookups must not use up the common threads.
LOOKUP_THREADS = 128


class AddressBlocked(BackburnerError):
    """A host has an address that must not be connected to."""


@attrs.frozen
class SystemResolver:
    """The machine's own name resolution, in threads of its own. To be made inside `trio.run`."""

    threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LOOKUP_THREADS))

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """Raises OSError when the name is not known or no answer came within 5 s."""
        with trio.move_on_after(RESOLVE_SECONDS):
            return await trio.to_thread.run_sync(_lookup, host, port, abandon_on_cancel=True, limiter=self.threads)
        raise socket.gaierror(socket.EAI_AGAIN, "name resolution took too long")


def _lookup(host: str, port: int) -> list[Address]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(sockaddr[0]) for *_, sockaddr in answers]


@attrs.frozen(kw_only=True)
class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks and connects. Nobody resolves the name a second time.

    TLS verifies the certificate against the name as usual, because the name stays in the URL.
    """

    resolve: Resolver
    allow_private: bool
    network: httpcore2.AsyncNetworkBackend = attrs.field(factory=httpcore2.TrioBackend)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises AddressBlocked before anything was sent if any address of the host is forbidden."""
        addresses = await self._checked_addresses(host, port)
        for address in addresses[:-1]:
            with trio.move_on_after(FIRST_ADDRESS_SECONDS):
                try:
                    return await self.network.connect_tcp(str(address), port, timeout, local_address, socket_options)
                except httpcore2.ConnectError:
                    continue
        return await self.network.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def _checked_addresses(self, host: str, port: int) -> Sequence[Address]:
        try:
            addresses = (await self._addresses(host, port))[:MAX_ANSWERS]
        except OSError as error:
            raise httpcore2.ConnectError(f"name not resolved: {error.strerror or error}") from error
        if not addresses:
            raise httpcore2.ConnectError("name not resolved: no address")
        # One bad answer condemns all: mixed answers are how rebinding works.
        if not self.allow_private and any(is_forbidden(address) for address in addresses):
            raise AddressBlocked("the host has an address that callbacks may not reach")
        return addresses

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            return await self.resolve(host, port)


class PinnedTransport(httpx2.AsyncHTTPTransport):
    """httpx2's own transport on connections that were checked. No proxy, HTTP/1.1.

    Concurrency is the caller's business: the number of connections is not limited here.
    """

    def __init__(self, backend: PinnedBackend, ssl_context: ssl.SSLContext | None = None) -> None:
        # The base class would build a pool that connects where the system resolver says.
        connections = partial(
            httpcore2.AsyncConnectionPool,
            ssl_context=ssl_context or httpx2.create_ssl_context(),
            max_connections=None,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=backend,
        )
        self._pool = cast("httpcore2.AsyncConnectionPool", PoolPerReceiver(connections))


def pinned_transport(*, allow_private: bool) -> PinnedTransport:
    """The transport of production: system resolver, system certificates. To be made inside `trio.run`."""
    return PinnedTransport(PinnedBackend(resolve=SystemResolver(), allow_private=allow_private))
