"""Functions that processes can import."""

from __future__ import annotations

import os
import time
from pathlib import Path


def add(a, b):
    return a + b


def whoami():
    return os.getpid()


def die():
    os.kill(os.getpid(), 9)


def burn(path):
    Path(path).write_text(str(os.getpid()))
    while True:
        pass


def leak():
    hoard = []
    while True:
        hoard.append(bytearray(8 * 1024 * 1024))


def nap(seconds):
    time.sleep(seconds)  # noqa: TID251
    return seconds


def tell(ctx, words):
    os.write(1, b"this goes nowhere")
    for number in range(words):
        ctx.progress(number, words)
    return ctx.job_id


class Panic(BaseException):
    """As native code raises it."""


def panic():
    raise Panic("native code gave up")


def ctrl_c():
    raise KeyboardInterrupt


class Bomb:
    """Goes off in the process that it is sent to."""

    def __reduce__(self):
        return panic, ()


def bomb():
    return Bomb()
