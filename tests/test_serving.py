"""The start of a server: what it takes, makes, tells and in which order; and a stop before it serves."""

from __future__ import annotations

import os
import signal
import socket
import sys
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from backburner.errors import CannotListen
from backburner.serving import process
from backburner.settings import Settings
from backburner.storage.file_lock import Holder, acquire

pytestmark = pytest.mark.sockets


@pytest.fixture(autouse=True)
def _as_before():
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


def is_reachable(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) == 0


async def test_a_busy_port_leaves_nothing_behind_and_the_key_comes_with_the_start_that_works(tmp_path):
    file, keys = tmp_path / "jobs.db", []

    def settings(port: int) -> Settings:
        return Settings(database_url=f"sqlite:///{file}", provider="sandbox", port=port)

    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(ExceptionGroup) as refused:
        await process.serve(
            settings(busy.getsockname()[1]), on_ready=pytest.fail, on_key=lambda *told: keys.append(told)
        )
    assert refused.group_contains(CannotListen)
    assert (file.exists(), keys) == (False, [])

    def knows(url: str, key: str) -> None:
        assert not is_reachable(url)
        keys.append((url, key))

    def ready(told: process.Ready) -> None:
        assert is_reachable(told.url)
        assert keys == [(told.url, told.admin_key)]
        signal.raise_signal(signal.SIGTERM)

    with trio.fail_after(60):
        await process.serve(settings(0), on_ready=ready, on_key=knows)
    assert len(keys) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_standby_stops_at_once(tmp_path, number):
    file = tmp_path / "jobs.db"
    settings = Settings(database_url=f"sqlite:///{file}", provider="sandbox", port=0, sqlite_standby=True)
    with acquire(file, Holder(pid=os.getpid(), instance_id="leader", since=datetime(2026, 1, 1, tzinfo=UTC))):
        with trio.fail_after(10):  # far less than an ordered stop may take
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: process.serve(settings, on_ready=pytest.fail))
                await trio.testing.wait_all_tasks_blocked()
                signal.raise_signal(number)
    assert not file.exists()
