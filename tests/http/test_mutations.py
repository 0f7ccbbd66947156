"""Damaged requests over real sockets: answered or dropped, and nothing is left of them.

`BACKBURNER_TEST_MUTATIONS` says how many; more of them take longer and show slower leaks. What was answered is printed.
"""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import trio
from tests.http.api import open_api
from tests.http.mutations import corpus, mutated
from tests.http.raw import Server, get, read_all, send, served

pytestmark = pytest.mark.sockets

HOW_MANY = int(os.environ.get("BACKBURNER_TEST_MUTATIONS", "400"))
AT_ONCE = 16
PATIENCE = 20.0  # seconds for one answer
GROWTH = 24 * 1024 * 1024  # bytes that allocators and caches may take


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def attack(server: Server, data: bytes) -> bytes:
    """Everything the server says to these bytes and the end of the connection behind them."""
    with trio.fail_after(PATIENCE):
        async with await server.connect() as stream:
            await send(stream, data)
            try:
                await stream.send_eof()
            except trio.BrokenResourceError:
                return b""  # closed by the server meanwhile, its answer unread
            return await read_all(stream)


async def attack_all(server: Server, count: int, make: Callable[[], bytes], seen: Counter[str]) -> None:
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            data = make()
            answer = await attack(server, data)
            status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
            assert status or answer in (b"", b"<reset>"), (data, answer)
            assert not (status and status[1] == b"500"), (data, answer)
            seen[status[1].decode() if status else "nothing"] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(worker)


async def test_damaged_requests_leave_nothing_behind(tmp_path, pytestconfig):
    random, seen = Random(1), Counter[str]()
    async with open_api(f"sqlite:///{tmp_path}/database") as api:
        job = await api.batch(3)
        good = corpus(api.keys["admin"], job["id"])
        async with served(api.client.app, timeout=3600, keep_alive_timeout=2.0) as server:
            for data in good:
                assert not (await attack(server, data)).startswith(b"HTTP/1.1 5")
            await attack_all(server, max(100, HOW_MANY // 10), lambda: mutated(random, good), seen)
            await trio.sleep(0.1)
            files, memory = open_files(), resident()
            await attack_all(server, HOW_MANY, lambda: mutated(random, good), seen)
            await trio.sleep(0.1)
            grown = resident() - memory
            told = f"{dict(seen.most_common())}, grown by {grown / 2**20:.1f} MiB and {open_files() - files} files"
            pytestconfig.get_terminal_writer().line(told)
            assert open_files() - files <= 2
            assert grown < GROWTH
            assert (await attack(server, get("/healthz"))).startswith(b"HTTP/1.1 200")
    assert len(seen) > 5
