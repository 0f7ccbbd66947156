"""Signals: what stops a server, what has it read its settings again, and what it takes over."""

from __future__ import annotations

import io
import json
import logging
import signal
from collections.abc import Iterator

import attrs
import pytest
import structlog
import trio
import trio.testing

from backburner import logs
from backburner.cli import serve
from backburner.serving.signals import Signals
from backburner.setting_fields import SettingError
from backburner.settings import Settings


@attrs.define
class Watched:
    """A server's signals, and what came of them."""

    terminals: Iterator[bool]
    read: int = 0
    stop: trio.Event = attrs.field(factory=trio.Event)
    whole: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def again(self) -> None:
        self.read += 1

    async def hear(self, *numbers: int) -> None:
        signals = Signals(
            stop=self.stop, whole=self.whole, read_again=self.again, terminal=lambda: next(self.terminals)
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(signals.watch)
            for number in numbers:
                signal.raise_signal(number)
                await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("terminals", [[False, False], [True, True]])
async def test_a_hangup_has_settings_read_again_while_the_terminal_is_as_it_was(terminals):
    watched = Watched(iter(terminals))
    await watched.hear(signal.SIGHUP)
    assert (watched.read, watched.stop.is_set()) == (1, False)


async def test_a_lost_terminal_stops_in_order_and_a_second_signal_at_once():
    watched = Watched(iter([True, False]))
    await watched.hear(signal.SIGHUP)
    assert (watched.read, watched.stop.is_set(), watched.whole.cancel_called) == (0, True, False)
    watched.terminals = iter([False])
    await watched.hear(signal.SIGTERM)
    assert watched.whole.cancel_called


async def test_a_hangup_that_was_ignored_before_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        watched = Watched(iter([True, False]))
        await watched.hear(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (watched.read, watched.stop.is_set()) == (0, False)


@pytest.fixture
def log_file(tmp_path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # so that pytest's own are not closed
    yield tmp_path / "log"
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_has_changed_is_taken_over_or_named(log_file):
    started = Settings(log_file=str(log_file), log_format="json", log_level="info")
    logs.configure(level="info", log_format="json", file=str(log_file))
    serve._read_again(started, lambda: attrs.evolve(started, log_level="debug", port=1, bootstrap_key="bb_" + "c" * 24))
    structlog.get_logger("backburner.test").debug("heard")
    told, heard = events(log_file.read_text())
    assert (told["log_level"], told["need_restart"]) == ("debug", ["port", "bootstrap_key"])
    assert (heard["event"], "cccc" in log_file.read_text()) == ("heard", False)


def test_a_log_file_that_was_removed_is_made_anew(log_file):
    started = Settings(log_file=str(log_file), log_format="json")
    logs.configure(level="info", log_format="json", file=str(log_file))
    log_file.unlink()
    serve._read_again(started, lambda: started)
    assert [event["event"] for event in events(log_file.read_text())] == ["settings read again"]


def test_settings_that_are_wrong_now_change_nothing(log_file):
    def load() -> Settings:
        raise SettingError("Setting port: 'x' is not allowed.")

    stream = io.StringIO()
    logs.configure(level="warning", log_format="json", stream=stream)
    serve._read_again(Settings(log_file=str(log_file)), load)
    assert [(event["event"], event["level"]) for event in events(stream.getvalue())] == [
        ("settings not read again", "error")
    ]
    assert not log_file.exists()
