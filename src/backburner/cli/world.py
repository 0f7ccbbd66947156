"""What a command knows of the world outside: handed in, so that tests can make their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

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

    @property
    def profile_path(self) -> Path:
        """Where url and key are kept."""
        if named := self.environ.get("BACKBURNER_PROFILE"):
            return Path(named)
        base = self.environ.get("XDG_CONFIG_HOME")
        return (Path(base) if base else _home() / ".config") / "backburner" / "profile.toml"


def _home() -> Path:
    """The working directory for a user without a home, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path.cwd()


pass_world = click.make_pass_decorator(World, ensure=True)
