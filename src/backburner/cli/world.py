"""What a command knows of the world outside: handed in, so that tests can make their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs
import click

from backburner.profiles import Profiles

if TYPE_CHECKING:
    import httpx2  # takes too long for `--help`


@attrs.frozen(kw_only=True)
class World:
    """Environment, time and network of one run of the program."""

    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ)
    #: Seconds since an arbitrary point.
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep  # noqa: TID251 - commands are synchronous
    #: What the client sends through; None for real sockets.
    transport: httpx2.BaseTransport | None = None

    def profiles(self, named: str | None = None) -> Profiles:
        """The user's profiles; `named` is the one that the command line says."""
        return Profiles.of(self.environ, named)


pass_world = click.make_pass_decorator(World, ensure=True)
