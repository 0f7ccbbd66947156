"""What a child that a handler forks has of its server: nothing that would outlive it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio
import trio_asyncio  # type: ignore[import-untyped]
from tests.processes.harness import await_end, serve

from backburner.execution.reports import Reports
from backburner.forks import hide_from_children
from backburner.http.binding import bind
from backburner.http.hosting import serve_http
from backburner.storage.database import open_database
from backburner.storage.file_lock import Holder, acquire
from backburner.storage.line import Line

APP = """
import os, time
from backburner import App

app = App()

@app.handler("fork")
def fork() -> int:
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    return child
"""


def holds_in_child(check: Callable[[], bool]) -> bool:
    """What `check` says in a forked child."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def leads_nowhere(descriptor: int) -> bool:
    return os.path.samestat(os.fstat(descriptor), Path(os.devnull).stat())


def open_sockets() -> set[int]:
    """The descriptors of this process that are sockets."""
    return {number for path in Path("/proc/self/fd").iterdir() if is_socket(number := int(path.name))}


def is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False  # the folder's own, which is closed again


def test_a_child_does_not_keep_the_lock_of_a_database(tmp_path):
    with acquire(tmp_path / "jobs.db", Holder(pid=1, instance_id="me", since=datetime(2026, 1, 1, tzinfo=UTC))) as lock:
        assert holds_in_child(lambda: leads_nowhere(lock.fileno()))
        assert not leads_nowhere(lock.fileno())


def test_what_is_closed_or_gone_does_not_disturb_a_child():
    kept, closed, gone = socket.socket(), socket.socket(), socket.socket()
    for owner in (kept, closed, gone):
        hide_from_children(owner)
    closed.close()
    gone.close()
    del gone
    with kept:
        assert holds_in_child(lambda: leads_nowhere(kept.fileno()))


def test_a_childs_own_descriptors_stay():
    one, other = socket.socketpair()
    with one, other:
        assert holds_in_child(lambda: one.send(b"x") == 1)
        assert other.recv(1) == b"x"


@pytest.mark.sockets
async def test_a_child_has_neither_the_port_nor_a_connection_of_a_server():
    known = open_sockets()
    accepted = trio.Event()
    bound = await bind("127.0.0.1", 0)

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
        else:
            accepted.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        start = partial(serve_http, app, bound=bound, stop=trio.Event(), graceful_timeout=1, new_request_id=lambda: "x")
        address = await nursery.start(start)
        client = await trio.open_tcp_stream("127.0.0.1", address.port)
        async with client, Reports().opened():
            await client.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await accepted.wait()
            ours = open_sockets() - known - {client.socket.fileno()}
            assert len(ours) == 3  # the listener, the connection, the reports of processes
            assert holds_in_child(lambda: all(map(leads_nowhere, ours)))
            nursery.cancel_scope.cancel()


@pytest.mark.postgresql
async def test_a_child_does_not_keep_a_session_at_the_database_open(postgres_database):
    database = open_database(postgres_database, random=Random(1))
    with closing(database), database.writing.connect() as tx:
        session = tx.connection.driver_connection
        async with trio_asyncio.open_loop():
            line = await trio_asyncio.aio_as_trio(Line.open)(postgres_database, None)
            assert holds_in_child(lambda: leads_nowhere(session.fileno()) and leads_nowhere(line.fileno()))
            assert await trio_asyncio.aio_as_trio(line.row)("SELECT 1", ()) == (1,)
            line.hang_up()
        assert tx.exec_driver_sql("SELECT 1").scalar_one() == 1


@pytest.mark.processes
def test_a_killed_server_starts_again_while_a_child_of_a_handler_lives(tmp_path):
    (tmp_path / "forking.py").write_text(APP)
    with serve(tmp_path, "--app", "forking") as server:
        with server.client() as client:
            made = client.post("/v1/jobs", json={"handler": "fork"}).json()
            child = await_end(client, made["id"])["result"]
        port = server.url.rpartition(":")[2]
        server.kill()
    try:
        os.kill(child, 0)  # it lives
        with serve(tmp_path, environ={"BACKBURNER_PORT": port}) as again:
            assert again.url.endswith(port)
    finally:
        os.kill(child, 9)
