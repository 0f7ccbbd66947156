"""A transaction pooler, as small as one can be: many clients share few sessions of PostgreSQL."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from typing import Self

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102


class Pooler:
    """Lends each transaction a session of `url`'s server while the `with` block runs. What a client asks for its own
    session (options, locks, LISTEN, prepared statements) is lost or another's, as in PgBouncer's transaction mode.

    With `refuses_options` a client that names options is turned away, as by a PgBouncer that was not told otherwise.
    """

    def __init__(self, port: int, database: str, sessions: int = 4, *, refuses_options: bool = False) -> None:
        self._target, self._database, self._sessions = port, database, sessions
        self._refuses_options = refuses_options
        self._free: queue.Queue[socket.socket] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}/{database}"
        self._greeting = b""
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        for _ in range(self._sessions):
            self._free.put(self._session())
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _session(self) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self._target))
        self._open.append(server)
        words = b"user\0postgres\0database\0" + self._database.encode() + b"\0\0"
        server.sendall(struct.pack("!ii", len(words) + 8, 196608) + words)
        self._greeting = _until_ready(server)
        return server

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client:
            if self._greeted(client):
                while self._lend(client):
                    pass

    def _greeted(self, client: socket.socket) -> bool:
        while True:
            (length,) = struct.unpack("!i", _exactly(client, 4))
            words = _exactly(client, length - 4)
            (code,) = struct.unpack("!i", words[:4])
            if code == CANCEL_REQUEST:
                return False
            if code == SSL_REQUEST:
                client.sendall(b"N")
                continue
            if self._refuses_options and b"\0options\0" in words:
                client.sendall(_error(b"unsupported startup parameter: options"))
                return False
            client.sendall(self._greeting)
            return True

    def _lend(self, client: socket.socket) -> bool:
        """One transaction. False when the client says goodbye."""
        message = _message(client)
        if message[:1] == b"X":
            return False
        server = self._free.get()
        try:
            idle = False
            while not idle:
                server.sendall(message)
                if message[:1] in (b"Q", b"S", b"c", b"f"):  # what PostgreSQL answers with "ready"
                    answer = _until_ready(server)
                    client.sendall(answer)
                    idle = answer[-1:] == b"I"
                if not idle:
                    message = _message(client)
        finally:
            self._free.put(server)
        return True


def _error(message: bytes) -> bytes:
    fields = b"SFATAL\0C08P01\0M" + message + b"\0\0"
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


def _until_ready(server: socket.socket) -> bytes:
    """Everything up to "ready for query", or to "send me the data" of a COPY."""
    answer = b""
    while True:
        message = _message(server)
        answer += message
        if message[:1] in (b"Z", b"G"):
            return answer


def _message(source: socket.socket) -> bytes:
    head = _exactly(source, 5)
    return head + _exactly(source, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
