"""The lock beside a SQLite file, on real files."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
import trio

from backburner.errors import StorageUnusable
from backburner.storage.file_lock import AlreadyHeld, Holder, acquire, lock_path, wait_for
from backburner.storage.filesystems import filesystem_magic, network_filesystem

ME = Holder(pid=os.getpid(), instance_id="me", since=datetime(2026, 1, 1, tzinfo=UTC))
OTHER = Holder(pid=1, instance_id="other", since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

HOLDER_PROGRAM = """
import sys, os, time
from datetime import UTC, datetime
from pathlib import Path
from backburner.storage.file_lock import Holder, acquire
lock = acquire(Path(sys.argv[1]), Holder(pid=os.getpid(), instance_id="child", since=datetime(2026, 1, 1, tzinfo=UTC)))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "backburner.db"


def test_the_second_is_refused_with_the_name_of_the_holder(database):
    with acquire(database, OTHER), pytest.raises(AlreadyHeld) as refusal:
        acquire(database, ME)
    assert refusal.value.holder == OTHER
    assert str(refusal.value) == (
        f"{database}.lock is held by process 1 (instance other, since 2026-01-02 03:04:05 UTC)."
    )


def test_a_holder_that_has_not_written_its_name_yet_is_another_process(database):
    with acquire(database, OTHER):
        lock_path(database).write_text("")
        with pytest.raises(AlreadyHeld, match="held by another process") as refusal:
            acquire(database, ME)
    assert refusal.value.holder is None


def test_closing_frees_it_for_the_next(database):
    acquire(database, OTHER).close()
    with acquire(database, ME), pytest.raises(AlreadyHeld) as refusal:
        acquire(database, OTHER)
    assert refusal.value.holder == ME


def test_the_database_itself_is_not_touched(database):
    with acquire(database, ME):
        assert [path.name for path in database.parent.iterdir()] == ["backburner.db.lock"]


def test_opening_and_closing_the_lock_file_elsewhere_in_the_process_does_not_free_it(database):
    with acquire(database, OTHER):
        lock_path(database).read_bytes()
        with pytest.raises(AlreadyHeld):
            acquire(database, ME)


def test_a_symbolic_link_leads_to_the_same_lock(database):
    link = database.with_name("link.db")
    link.symlink_to(database)
    with acquire(database, OTHER), pytest.raises(AlreadyHeld):
        acquire(link, ME)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageUnusable, match=r"Cannot use the folder .*nowhere"):
        acquire(tmp_path / "nowhere" / "x.db", ME)


def test_a_network_file_system_is_refused(database):
    with pytest.raises(StorageUnusable, match="is on NFS"):
        acquire(database, ME, magic=lambda _: 0x6969)
    assert list(database.parent.iterdir()) == []


def test_the_magic_numbers_of_local_file_systems_are_not_network(tmp_path):
    assert network_filesystem(filesystem_magic(tmp_path)) is None
    assert network_filesystem(0xFF534D42) == "CIFS"


@pytest.mark.skipif(sys.platform != "linux", reason="statfs magic numbers are Linux's")
def test_statfs_is_read_as_the_kernel_writes_it():
    assert filesystem_magic(Path("/proc")) == 0x9FA0


@pytest.mark.processes
def test_a_killed_process_holds_nothing(database):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER_PROGRAM, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyHeld) as refusal:
            acquire(database, ME)
        child.kill()
    assert refusal.value.holder is not None
    assert (refusal.value.holder.pid, refusal.value.holder.instance_id) == (child.pid, "child")
    acquire(database, ME).close()


async def test_a_standby_takes_the_lock_within_one_interval_and_a_half_of_its_release(database, autojump_clock):
    first = acquire(database, OTHER)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def standby() -> None:
            with await wait_for(database, lambda: ME, Random(1)):
                assert 10 < trio.current_time() <= 11.5

        await trio.sleep(10)
        first.close()


async def test_a_standby_can_be_cancelled_and_holds_nothing(database, autojump_clock):
    with acquire(database, OTHER), trio.move_on_after(5) as scope:
        await wait_for(database, lambda: ME, Random(1))
    assert scope.cancelled_caught
    acquire(database, OTHER).close()
