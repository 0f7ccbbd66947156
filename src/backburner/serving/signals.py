"""What a server does on signals: it stops in order, at once, or reads its settings again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import attrs
import structlog
import trio

log = structlog.get_logger()

LAST_SECONDS = 3.0  # for what is left after an ordered stop was cut short


def has_terminal() -> bool:
    """Whether this process has a controlling terminal now."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False


@attrs.frozen(kw_only=True, eq=False)
class Signals:
    """SIGTERM and SIGINT set `stop`, a second one cancels `whole`. SIGHUP has settings read again; when it says that
    the terminal is lost, it is as SIGTERM. A server that is started with SIGHUP ignored, as by nohup, ignores it.
    """

    stop: trio.Event
    whole: trio.CancelScope
    read_again: Callable[[], None]
    terminal: Callable[[], bool] = has_terminal

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ends only by cancellation."""
        hears_hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        wanted = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if hears_hangup else set())
        had_terminal = self.terminal()
        with trio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP and not (had_terminal and not self.terminal()):
                    self.read_again()
                else:
                    self._end(signal.Signals(number).name)

    def _end(self, name: str) -> None:
        log.info("asked to stop", signal=name)
        if self.stop.is_set():
            self.whole.cancel(reason="second signal")
        self.stop.set()

    async def bound_the_stop(self, grace: float) -> None:
        """An ordered stop takes `grace` seconds at most."""
        await self.stop.wait()
        await trio.sleep(grace)
        log.error("the ordered stop took too long and is cut short", grace_seconds=grace)
        # A task that shields itself holds up even that: then the process goes without it.
        last = threading.Timer(LAST_SECONDS, os._exit, args=(1,))
        last.daemon = True
        last.start()
        self.whole.cancel(reason="shutdown_grace_seconds are over")
