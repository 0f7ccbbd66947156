"""The person's terminal: what a server or a file says moves no cursor, and the terminal is given back."""

from __future__ import annotations

import io
import json
import re
from threading import Event
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import trio
from rich.console import Console
from tests.client.fakes import job, ok, page, refusal

from backburner.cli import demo, progress
from backburner.cli.progress import Bar
from backburner.cli.world import World
from backburner.client.results import Job, record
from backburner.plain_text import json_text, many_lines, one_line

HOSTILE = "\x1b]0;owned\x07\x9b2J[/x][bold]\r\nfake\u202e\u2028\x7f:smile:"
SAFE = r"\x1b]0;owned\x07\x9b2J[/x][bold]\r\nfake\u202e\u2028\x7f:smile:"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def hostile(**more: Any) -> dict[str, Any]:
    """A job of a handler; every text in it is hostile."""
    return {
        **job("completed"), "job_type": "job", "request_counts": None, "id": HOSTILE, "status": HOSTILE,
        "stop_reason": HOSTILE, "callback_error": HOSTILE, "error": {HOSTILE: [HOSTILE]},
        "metadata": {HOSTILE: HOSTILE, "progress": {"message": HOSTILE, "processed": 1}}, **more,
    }  # fmt: skip


ROW = dict.fromkeys(["id", "name", "status", "type", "job_id", "prefix", "user_id", "provider_batch_id"], HOSTILE)
DELIVERY = {
    **ROW,
    "url": HOSTILE,
    "attempts": [{"number": 1, "at": "2026-01-01T00:00:00Z", "status_code": None, "error": HOSTILE}],
}
SCHEDULER = {"leader": HOSTILE, "providers": [{**ROW, "reason": HOSTILE}], "warnings": [HOSTILE]}
REFUSED = refusal(422, "x", HOSTILE, details=[{"line": 1, "custom_id": HOSTILE, "param": HOSTILE, "message": HOSTILE}])
COMMANDS = {
    "jobs list": [page(hostile())],
    "jobs get x": [ok(hostile())],
    "watch x": [ok(hostile()), ok(hostile(status="failed"))],
    "cancel x": [ok(hostile())],
    "retry x": [ok(hostile())],
    "batches list": [page(ROW)],
    "batches show x": [ok(ROW)],
    "batches abandon x": [ok({**ROW, "ended_job_id": HOSTILE})],
    "deliveries list x": [page(DELIVERY)],
    "keys list": [page({**ROW, "scopes": [HOSTILE]})],
    "keys create": [page({**ROW}, {**ROW})],
    "status": [ok(SCHEDULER)],
    "jobs get y": [REFUSED],
    "jobs get z": [httpx2.Response(502, content=HOSTILE.encode())],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_what_a_server_says_is_printed_without_its_control_characters(terminal, command, as_json):
    ran = terminal.run(*command.split(), *(["--json"] if as_json else []), answers=list(COMMANDS[command]))
    printed = ran.out + ran.err
    assert UNSAFE.findall(printed) == []
    assert not any(line.startswith("fake") for line in printed.splitlines())
    for line in ran.out.splitlines() if as_json else ():
        json.loads(line)


def test_json_keeps_what_it_says(terminal):
    ran = terminal.run("jobs", "get", "x", "--json", answers=[ok(hostile())])
    assert json.loads(ran.out) == hostile()
    assert "\\u009b" in ran.out


def test_rows_of_a_file_are_quoted_without_their_control_characters(terminal, batch_file):
    ran = terminal.run("submit", batch_file(), answers=[REFUSED])
    assert ran.code == 1
    assert f"  line 1: {SAFE}: {SAFE}: {SAFE}" in ran.err.splitlines()


def test_letters_of_all_scripts_are_left_alone():
    text = "Zoë 中文 👩‍👩‍👧 \u00a0 ş"
    assert (one_line(text), many_lines(f"{text}\n{text}"), json_text(text)) == (text, f"{text}\n{text}", text)
    assert (one_line("\ud800"), one_line("a\nb"), many_lines("a\n\x1b")) == (r"\ud800", r"a\nb", "a\n\\x1b")


# --- the bar -------------------------------------------------------------------------------------------------


def bar() -> tuple[Bar, io.StringIO]:
    written = io.StringIO()
    return Bar(Console(file=written, force_terminal=True, width=120)), written


def test_a_bar_shows_what_looks_like_markup_as_it_is(terminal, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = terminal.run("watch", "job-1", answers=[ok(hostile(status="running")), ok(hostile(status="completed"))])
    assert ran.code == 0
    assert r"[/x][bold]\r\nfake\u202e" in ran.err
    assert ":smile:" in ran.err
    assert "\x1b]0;" not in ran.err
    assert ran.err.rindex(SHOW) > ran.err.rindex(HIDE)


@pytest.mark.parametrize("said", [{"processed": float("nan")}, {"processed": "3"}, {"total": True}, [1], "x", None])
def test_progress_that_is_none_is_no_reason_to_stop_watching(said):
    shown, _ = bar()
    shown.show(record(Job)({**job(), "request_counts": None, "metadata": {"progress": said}}))
    assert progress.extent(record(Job)({**job(), "request_counts": None, "metadata": {"progress": said}})) == (0, None)


def test_what_is_said_beside_a_bar_does_not_go_into_it(capsys):
    shown, written = bar()
    with shown:
        shown.show(record(Job)(job(processing=1)))
        before = written.tell()
        shown.say(f"Cannot reach it. {HOSTILE}")
        after = written.getvalue()[before:]
    assert "\x1b[2K" in after.partition("Cannot reach it.")[0]  # the bar's line is cleared, and drawn again below
    assert "\x1b]0;" not in after
    assert capsys.readouterr() == ("", "")


def test_a_reconnect_is_told_beside_the_bar(terminal, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    said: list[str] = []
    monkeypatch.setattr(Bar, "say", lambda _self, message: said.append(message))
    away = [httpx2.ConnectError("Connection refused")] * 6
    ran = terminal.run("watch", "job-1", answers=[ok(job(processing=1)), *away, ok(job("completed"))])
    assert (ran.code, len(said)) == (0, 1)
    assert said[0].endswith("Connection refused. Trying again.")
    assert "Trying again." not in ran.err


def test_a_bar_that_was_closed_stays_closed():
    shown, written = bar()
    with shown:
        shown.close()
        at = written.tell()
        shown.show(record(Job)(job()))
    with shown:
        shown.show(record(Job)(job()))
    assert written.getvalue().rindex(SHOW) > written.getvalue().rindex(HIDE)
    assert HIDE not in written.getvalue()[at:]


async def test_ctrl_c_in_the_demo_gives_the_terminal_back(monkeypatch):
    shown, written = bar()
    begun, over, left = trio.Event(), Event(), Event()
    token = trio.lowlevel.current_trio_token()
    monkeypatch.setattr(demo, "display", lambda _monotonic: shown)

    def follow(*arguments: Any) -> None:
        with arguments[-1]:
            token.run_sync_soon(begun.set)
            over.wait(10)
        left.set()

    case = demo._Demo(world=World(), count=1, once=True, settings=None, story=SimpleNamespace(run=follow))
    ready = SimpleNamespace(url="http://127.0.0.1:1", admin_key="bb_x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case._conduct, ready, None, "http://x")
        await begun.wait()
        nursery.cancel_scope.cancel()  # as Ctrl-C does
    assert written.getvalue().rindex(SHOW) > written.getvalue().rindex(HIDE)
    over.set()
    assert left.wait(10)
