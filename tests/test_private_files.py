"""Files for their owner only."""

from __future__ import annotations

import fcntl
import stat
import subprocess
import sys

from backburner.private_files import make_private

LOCKABLE = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"


def test_the_locks_of_a_file_that_is_there_are_kept(tmp_path):
    file = tmp_path / "jobs.db"
    make_private(file)
    with file.open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        make_private(file)
        other = subprocess.run([sys.executable, "-c", LOCKABLE, str(file)], capture_output=True, text=True, check=False)

    assert "BlockingIOError" in other.stderr


def test_a_new_file_is_its_owners_alone_also_by_a_link(tmp_path):
    (link := tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")
    make_private(link)

    assert stat.S_IMODE((tmp_path / "jobs.db").stat().st_mode) == 0o600
