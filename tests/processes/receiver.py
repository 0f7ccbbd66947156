"""A receiver of webhooks in a thread."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import attrs


@attrs.frozen
class Arrival:
    """One webhook."""

    id: str  #: its `webhook-id`
    body: dict[str, Any]
    at: float  #: when it came, in seconds since 1970


class Receiver:
    """Takes webhooks while the `with` block runs. `on_arrival` is called with each before it is answered."""

    def __init__(self, on_arrival: Callable[[], None] = lambda: None) -> None:
        self.arrivals: list[Arrival] = []  #: in the order of their answers
        self.status = 204  #: what is answered
        self.location: str | None = None  #: where the answer points to
        self.delay = 0.0  #: seconds before the answer
        self._arrived = threading.Event()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at = time.time()  # noqa: TID251  # receivers have no clock of ours
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                on_arrival()
                receiver._closing.wait(receiver.delay)
                receiver.arrivals.append(Arrival(self.headers["webhook-id"], body, at))
                self.send_response(receiver.status)
                if receiver.location is not None:
                    self.send_header("location", receiver.location)
                self.end_headers()
                receiver._arrived.set()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Whoever was to be answered has been killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [arrival.body for arrival in self.arrivals]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def await_one(self) -> None:
        assert self._arrived.wait(20), "no webhook came"
