"""Hosts an ASGI application under Hypercorn's Trio code, inside the caller's nursery."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from backburner.http.binding import Address, Bound
from backburner.http.caps import ConnectionCaps
from backburner.http.guard import GuardConfig, GuardedConnection

MAX_CONNECTIONS = 1000

logger = structlog.get_logger()


async def serve_http(
    app: Callable[[Any, Any, Any], Awaitable[None]],
    *,
    bound: Bound,
    stop: trio.Event,
    graceful_timeout: float,
    new_request_id: Callable[[], str],
    caps: ConnectionCaps | None = None,
    send_timeout: float = 300.0,
    keep_alive_timeout: float = 75.0,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set; returns when the last connection is closed.

    Reports the address once it accepts connections. After `stop` no new connection is
    accepted, idle ones are closed, and requests under way have `graceful_timeout` seconds. Raises CannotListen.

    A client may idle, or take to send its headers, `keep_alive_timeout` seconds, and `send_timeout` seconds to
    read 64 KiB of its answer: the kernels at both ends take large answers in steps of hundreds of kilobytes.
    """
    config = _config(new_request_id, caps or ConnectionCaps(total=make_room(MAX_CONNECTIONS)))
    config.send_timeout, config.keep_alive_timeout = send_timeout, keep_alive_timeout
    config.shutdown_timeout = graceful_timeout
    with contextlib.ExitStack() as stack:
        stack.callback(bound.close)
        async with trio.open_nursery() as nursery:
            lifespan = Lifespan(ASGIWrapper(app), config, {})
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            context = WorkerContext(None)
            connection = partial(GuardedConnection, ASGIWrapper(app), config, context, ConnectionState({}))
            listeners = bound.listen()
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    # Calling the class gives an awaitable, which is all that is asked of a handler.
                    accepting.start_soon(
                        partial(trio.serve_listeners, connection, listeners, handler_nursery=connections)
                    )
                    task_status.started(bound.address)
                    await stop.wait()
                    accepting.cancel_scope.cancel(reason="stop accepting")
                await context.terminated.set()
                connections.cancel_scope.deadline = trio.current_time() + graceful_timeout
            await lifespan.wait_for_shutdown()
            nursery.cancel_scope.cancel(reason="served")


def make_room(connections: int) -> int:
    """As many connections as wanted, while half of the file descriptors stay free for everything else.

    Raises this process's soft limit of descriptors for them as far as it may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    if soft < 2 * connections:
        soft = 2 * connections if hard == resource.RLIM_INFINITY else max(soft, min(hard, 2 * connections))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(connections, soft // 2)


def _config(new_request_id: Callable[[], str], caps: ConnectionCaps) -> GuardConfig:
    config = GuardConfig()
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    # Room for a target and headers of the size that the gate allows, so that the gate can say which is too large.
    config.h11_max_incomplete_size = 32 * 1024
    config.logger_class = _Log  # type: ignore[assignment]
    config.new_request_id = new_request_id
    config.caps = caps
    return config


class _Log:
    """Hypercorn's logger: its errors become events, its access log and its banners nothing."""

    def __init__(self, config: GuardConfig) -> None:
        pass

    async def access(self, *_: Any) -> None:
        pass

    info = debug = access

    async def warning(self, message: str, *_: Any) -> None:
        logger.warning("http_server_warning", message=message)

    error = critical = warning

    async def exception(self, message: str, *_: Any) -> None:
        logger.exception("http_server_error", message=message)
