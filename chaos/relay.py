"""`python chaos/relay.py ADDRESS PORT SOCKET`: a database host of its own, as far as the network can tell.

Each connection is passed on to a Unix socket, which is reached from every network namespace.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

BUFFER = 65_536


def main() -> None:
    """Until it is killed."""
    address, port, target = sys.argv[1:]
    with socket.create_server((address, int(port)), backlog=128) as listener:
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(BUFFER):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
