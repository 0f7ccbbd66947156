"""The address of a server: taken before anything is made that nobody could reach, listened on when it can answer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address

import attrs
import trio

from backburner.errors import CannotListen
from backburner.forks import hide_from_children

_BACKLOG = 1024


@attrs.frozen
class Address:
    """Where the server can be reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For example `http://127.0.0.1:8283` or `http://[::1]:8283`."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@attrs.frozen(eq=False)
class Bound:
    """Sockets that have the address, so that nobody else gets it. Connections are refused until `listen`."""

    address: Address
    sockets: Sequence[trio.socket.SocketType]

    def listen(self) -> list[trio.SocketListener]:
        """Raises CannotListen when somebody else listens there after all."""
        try:
            for bound in self.sockets:
                bound.listen(_BACKLOG)
        except OSError as error:
            raise CannotListen(self.address.host, self.address.port, str(error.strerror)) from error
        return [trio.SocketListener(bound) for bound in self.sockets]

    def close(self) -> None:
        """Harmless when called again."""
        for bound in self.sockets:
            bound.close()


async def bind(host: str, port: int) -> Bound:
    """Take an address; of port 0 a free one. Raises CannotListen: taken, not ours, not allowed, or no such host."""
    try:
        sockets = await _sockets(host, port)
    except (OSError, OverflowError, UnicodeError) as error:
        raise CannotListen(host, port, getattr(error, "strerror", None) or str(error)) from error
    place = sockets[0].getsockname()
    return Bound(Address(host if _is_name(host) else place[0], place[1]), sockets)


async def _sockets(host: str, port: int) -> list[trio.socket.SocketType]:
    """One for each address that the host has."""
    found: list[trio.socket.SocketType] = []
    with ExitStack() as stack:
        places = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in places:
            try:
                made = stack.enter_context(trio.socket.socket(family, kind, protocol))
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(places) > 1:  # a name that has one of those too
                    continue
                raise
            await _take(made, family, place)
            found.append(made)
            if not port:  # each address would get a different one
                break
        if not found:
            raise OSError(errno.EAFNOSUPPORT, "none of its addresses is of a kind that this machine has")
        stack.pop_all()
    return found


async def _take(made: trio.socket.SocketType, family: int, place: object) -> None:
    hide_from_children(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier process do not matter
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    await made.bind(place)


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
