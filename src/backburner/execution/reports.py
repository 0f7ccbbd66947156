"""What handlers in other processes say, over a datagram socket of the operating system."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import msgspec
import structlog
import trio

from backburner.forks import hide_from_children

LARGEST = 65_536  # bytes of one report
_IS_LINUX = sys.platform.startswith("linux")
_CREDENTIALS = struct.Struct("3i")  # process, user and group of who sent a datagram
_SCM_CREDENTIALS = 2  # of unix(7)
_ABOUT = socket.CMSG_SPACE(_CREDENTIALS.size)  # bytes


@attrs.define(kw_only=True)
class RemoteContext:
    """The context of a handler that runs in a process. It is killed when its job is being ended, so it need not ask."""

    job_id: str
    handler: str
    attempt: int
    token: str
    deadline: datetime | None
    address: str

    @property
    def log(self) -> Any:
        return structlog.get_logger().bind(job=self.job_id, handler=self.handler, attempt=self.attempt)

    @property
    def cancelled(self) -> bool:
        return False

    def check(self) -> None:
        """As in a thread; never raises."""

    def progress(
        self, processed: float | None = None, total: float | None = None, message: str | None = None, **more: Any
    ) -> None:
        """As `Context.progress`. A word that finds no way is dropped: the next will be newer."""
        word = {"processed": processed, "total": total, "message": message and message[:500], **more}
        self.send(msgspec.json.encode([self.token, {name: value for name, value in word.items() if value is not None}]))

    def send(self, report: bytes) -> None:
        """Give a report to the server; it need not arrive."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            try:
                out.sendto(report, self.address)
            except OSError as error:
                self.log.debug("progress dropped", error=str(error))


@contextmanager
def _place() -> Iterator[str]:
    """The address of a socket that nobody else has. On Linux it is no file, so a killed server leaves none behind."""
    if _IS_LINUX:
        yield f"\0backburner-{secrets.token_hex(16)}"
        return
    with tempfile.TemporaryDirectory(prefix="backburner-") as folder:
        yield str(Path(folder) / "reports")


def _is_ours(about: list[tuple[int, int, bytes]]) -> bool:
    """Whether a process of our own user sent it: what is no file has no mode that would keep others away."""
    senders = [_CREDENTIALS.unpack(data)[1] for _, kind, data in about if kind == _SCM_CREDENTIALS]
    return not _IS_LINUX or senders == [os.geteuid()]


@attrs.define(eq=False)
class Reports:
    """Receives reports and hands them to who listens for their token."""

    _heard: dict[str, Callable[[dict[str, Any]], None]] = attrs.field(factory=dict, init=False)
    _address: str = attrs.field(default="", init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Reports arrive inside the block."""
        with _place() as self._address, trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
            hide_from_children(inbox)
            if _IS_LINUX:
                inbox.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            await inbox.bind(self._address)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, inbox)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()

    @contextmanager
    def context(self, facts: dict[str, Any], said: Callable[[dict[str, Any]], None]) -> Iterator[RemoteContext]:
        """A context to send to a process; `said` hears what its handler says while the block runs."""
        self._heard[facts["token"]] = said
        try:
            yield RemoteContext(**facts, address=self._address)
        finally:
            del self._heard[facts["token"]]

    async def _receive(self, inbox: trio.socket.SocketType) -> None:
        while True:
            report, about, _, _ = await inbox.recvmsg(LARGEST, _ABOUT)
            if not _is_ours(about):
                continue
            try:
                token, word = msgspec.json.decode(report, type=tuple[str, dict[str, Any]])
            except msgspec.DecodeError:
                continue  # not from a worker of ours
            if said := self._heard.get(token):
                said(word)
