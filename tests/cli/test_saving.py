"""What a command saves, and what stays of what was there."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from backburner.cli import saving

CONTENT = b'{"custom_id":"a","result":{}}\n'


def save(terminal, path) -> int:
    return terminal.run("results", "job-1", "-o", str(path), answers=[httpx2.Response(200, content=CONTENT)]).code


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal", "link.db"])
def test_a_database_is_not_replaced(terminal, tmp_path, name):
    (tmp_path / "link.db").symlink_to("jobs.db")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE mine (x)")
        before = (tmp_path / "jobs.db").read_bytes(), (tmp_path / "jobs.db-wal").read_bytes()
        assert save(terminal, tmp_path / name) == 2
        assert ((tmp_path / "jobs.db").read_bytes(), (tmp_path / "jobs.db-wal").read_bytes()) == before


def test_a_new_file_has_the_usual_mode(terminal, tmp_path):
    before = os.umask(0o027)
    try:
        assert save(terminal, tmp_path / "r") == 0
    finally:
        os.umask(before)
    assert ((tmp_path / "r").read_bytes(), mode(tmp_path / "r")) == (CONTENT, 0o640)


def test_a_file_that_is_replaced_keeps_its_mode(terminal, tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b"much more than what comes" * 99)
    for bits in (0o600, 0o664):
        path.chmod(bits)
        assert save(terminal, path) == 0
        assert (path.read_bytes(), mode(path)) == (CONTENT, bits)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_stays_and_leads_to_the_results(terminal, tmp_path, there):
    (tmp_path / "inner").mkdir()
    target, link = tmp_path / "inner" / "r", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("inner/r")
    assert save(terminal, link) == 0
    assert (str(link.readlink()), target.read_bytes()) == ("inner/r", CONTENT)
    assert list(target.parent.iterdir()) == [target]


def test_another_name_of_a_file_has_the_results_too(terminal, tmp_path):
    (tmp_path / "a").write_bytes(b"old" * 99)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert save(terminal, tmp_path / "a") == 0
    assert (tmp_path / "b").read_bytes() == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_pipe_stays_a_pipe(terminal, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(path.read_bytes)
        assert save(terminal, path) == 0
        assert read.result() == CONTENT
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_a_device(terminal, tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "null"):
        assert save(terminal, path) == 0
        assert stat.S_ISCHR(path.stat().st_mode)


def test_an_open_file_is_written_to(terminal, tmp_path):
    path = tmp_path / "r"
    with path.open("wb") as file:
        assert save(terminal, f"/dev/fd/{file.fileno()}") == 0
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_mounted_is_overwritten(terminal, tmp_path, monkeypatch):
    path = tmp_path / "r"
    path.write_bytes(b"old" * 99)

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    assert save(terminal, path) == 0
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_a_folder_that_takes_no_new_ones_is_overwritten(terminal, tmp_path, monkeypatch):
    path = tmp_path / "r"
    path.write_bytes(b"old" * 99)
    monkeypatch.setattr("os.access", lambda place, _mode: Path(place) != tmp_path)
    assert save(terminal, path) == 0
    assert path.read_bytes() == CONTENT


def test_a_download_that_fails_leaves_what_was_there(terminal, tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b"old")
    answers = [httpx2.Response(200, content=CONTENT + b"{"), httpx2.Response(404)]
    assert terminal.run("results", "job-1", "-o", str(path), answers=answers).code == 3
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class Screen(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Screen, io.TextIOWrapper])
def test_a_terminal_is_given_no_control_characters(monkeypatch, kind):
    line = '{"custom_id":"a","result":"\\u0000 é \x9b2J \x7f"}\n'
    seen = line.replace("\x9b", r"\u009b").replace("\x7f", r"\u007f") if kind is Screen else line
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", kind(written))
    with saving.saved("-") as target:
        target.write(line.encode())
        target.flush()
    assert written.getvalue().decode() == seen
