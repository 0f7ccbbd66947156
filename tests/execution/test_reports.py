"""What handlers in processes say: by a socket that is no file, and only from processes of our own."""

from __future__ import annotations

import socket
import tempfile

import pytest
import trio

from backburner.execution import reports
from backburner.execution.reports import RemoteContext, Reports

pytestmark = pytest.mark.sockets

FACTS = {"job_id": "job-1", "handler": "h", "attempt": 1, "token": "attempt-1", "deadline": None}


async def heard(inbox: Reports, send) -> list[dict[str, object]]:
    """What arrives of what is sent."""
    found: list[dict[str, object]] = []
    arrived = trio.Event()

    def said(word: dict[str, object]) -> None:
        found.append(word)
        arrived.set()

    async with inbox.opened():
        with inbox.context(dict(FACTS), said) as context:
            send(context)
            context.progress(7)  # comes behind it
            await arrived.wait()
    return found


async def test_progress_arrives_and_leaves_no_file_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def send(context: RemoteContext) -> None:
        assert list(tmp_path.iterdir()) == []  # what a kill at this moment would leave

    assert await heard(Reports(), send) == [{"processed": 7}]


async def test_what_another_user_or_no_worker_sends_is_dropped(monkeypatch):
    ours = reports._is_ours
    users = iter([False])
    monkeypatch.setattr(reports, "_is_ours", lambda about: ours(about) and next(users, True))

    def send(context: RemoteContext) -> None:
        context.progress(1)  # as if another user had sent it
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(b"nonsense", context.address)

    assert await heard(Reports(), send) == [{"processed": 7}]


def credentials(user: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, reports._CREDENTIALS.pack(1, user, 1))]


def test_who_sent_it_is_told_by_the_system(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert reports._is_ours(credentials(1000))
    assert not reports._is_ours(credentials(1001))
    assert not reports._is_ours([])
