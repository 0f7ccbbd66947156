"""A TCP proxy that understands nothing, and can stop forwarding without closing anything."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

BUFFER = 65_536


class Proxy:
    """Forwards to 127.0.0.1:`target` while the `with` block runs.

    `cut()` drops nothing and closes nothing: bytes are simply not passed on, as by a network that has gone silent,
    until `heal()`. `on_bytes` is called with each piece that a client sends, before it is passed on.
    """

    def __init__(self, target: int, on_bytes: Callable[[bytes], None] = lambda _: None) -> None:
        self._target = target
        self._on_bytes = on_bytes
        self._flowing = threading.Event()
        self._flowing.set()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        _shut(self._listener)
        for each in [*self._sockets]:
            _shut(each)

    def cut(self) -> None:
        """From now on nothing passes, in either direction."""
        self._flowing.clear()

    def heal(self) -> None:
        """What was held back is passed on."""
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _shut(client)
            return
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.add(each)
        threading.Thread(target=self._pump, args=(server, client, None), daemon=True).start()
        self._pump(client, server, self._on_bytes)

    def _pump(self, source: socket.socket, sink: socket.socket, on_bytes: Callable[[bytes], None] | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BUFFER):
                self._flowing.wait()
                if on_bytes is not None:
                    on_bytes(data)
                sink.sendall(data)
        self._flowing.wait()
        for each in (source, sink):
            _shut(each)
            self._sockets.discard(each)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
