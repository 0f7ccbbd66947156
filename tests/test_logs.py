"""Log set-up: formats, levels, the file, and that no secret passes."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from tests.world import open_world, params

from backburner import logs
from backburner.setting_fields import SettingError

CANARY = "bb_canary0123456789canary01"


@pytest.fixture(autouse=True)
def _restored():
    root, chatty = logging.getLogger(), {name: logging.getLogger(name).level for name in logs._CHATTY}
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # so that pytest's own are not closed
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    for name, old in chatty.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(level: str = "info", log_format: str = "json", **speak) -> list[str]:
    stream = io.StringIO()
    logs.configure(level=level, log_format=log_format, stream=stream)
    for name, message in speak.items():
        logging.getLogger(name).info(message)
    return stream.getvalue().splitlines()


def test_json_lines_carry_event_level_time_and_values():
    stream = io.StringIO()
    logs.configure(level="info", log_format="json", stream=stream)
    structlog.get_logger().info("poll_failed", batch="batch-1", count=3)
    record = json.loads(stream.getvalue())
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "poll_failed", "level": "info", "batch": "batch-1", "count": 3}


def test_the_standard_librarys_records_take_the_same_way():
    (line,) = lines(somebody=f"said {CANARY}")
    record = json.loads(line)
    assert (record["event"], record["level"]) == ("said bb_***", "info")


def test_chatty_libraries_are_heard_only_when_debugging():
    assert lines(httpx2="HTTP Request") == []
    assert len(lines(level="debug", httpx2="HTTP Request")) == 1


def test_only_our_own_modules_and_the_users_are_heard_below_info(monkeypatch):
    stream = io.StringIO()
    logs.configure(level="debug", log_format="json", stream=stream, app="mine.handlers:app")
    logging.getLogger("anthropic").setLevel(logging.DEBUG)  # as ANTHROPIC_LOG=debug does
    for name in ("anthropic._base_client", "httpcore2.http11", "somebody", "mine.tools", "backburner.system"):
        logging.getLogger(name).debug("from %s", name)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "from mine.tools",
        "from backburner.system",
    ]


async def test_no_prompt_is_logged_at_any_level(autojump_clock):
    stream = io.StringIO()
    logs.configure(level="debug", log_format="json", stream=stream)
    async with open_world() as world, world.instance() as system:
        job = await world.submit([params("tell me of the canary")])
        assert (await world.ended(system, job)).counts.succeeded == 1
    assert "canary" not in stream.getvalue()
    assert stream.getvalue() != ""


def test_events_below_the_level_are_dropped():
    stream = io.StringIO()
    logs.configure(level="warning", log_format="text", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("heard")
    assert "quiet" not in stream.getvalue()
    assert "heard" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_passes_in_values_or_tracebacks(log_format):
    stream = io.StringIO()
    logs.configure(level="info", log_format=log_format, stream=stream)
    try:
        raise ValueError(CANARY)
    except ValueError:
        structlog.get_logger().exception("failed", text=CANARY, secret="canary", inner={"password": "canary"})
        logging.getLogger("somebody").exception("failed with %s", CANARY)
    assert "canary" not in stream.getvalue()
    assert stream.getvalue().count("ValueError") >= 2


def test_foreign_text_cannot_start_a_line_of_its_own():
    stream = io.StringIO()
    logs.configure(level="info", log_format="text", stream=stream)
    structlog.get_logger().info("got", text="a\nb", code="\x1b[2J")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_events_go_to_the_file_when_there_is_one(tmp_path):
    path = tmp_path / "events.log"
    logs.configure(level="info", log_format="json", file=str(path))
    structlog.get_logger().info("hello", text="\udc80")
    assert json.loads(path.read_text())["event"] == "hello"


def test_a_file_that_cannot_be_written_is_a_wrong_setting(tmp_path):
    with pytest.raises(SettingError, match=r"Setting log_file: cannot write .*: Is a directory\."):
        logs.configure(level="info", log_format="json", file=str(tmp_path))


def test_a_log_file_is_its_owners_from_the_beginning_also_after_it_was_rotated(tmp_path):
    path = tmp_path / "log"
    logs.configure(level="info", log_format="json", file=str(path))
    path.rename(tmp_path / "log.1")
    logging.getLogger("x").info("after the rotation")
    assert [file.stat().st_mode & 0o777 for file in (path, tmp_path / "log.1")] == [0o600, 0o600]
    assert "after the rotation" in path.read_text()


def test_a_traceback_on_a_terminal_moves_no_cursor():
    stream = io.StringIO()
    logs.configure(level="info", log_format="text", stream=stream)
    try:
        raise ValueError("\x1b]0;owned\x07\r\u202eeman")
    except ValueError:
        structlog.get_logger().exception("it broke")
    assert r"ValueError: \x1b]0;owned\x07\r\u202eeman" in stream.getvalue().splitlines()
