"""A group whose commands are imported when they are run, so that help is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import attrs
import click


@attrs.frozen
class Entry:
    """Where a command is, as `module:object`, and its line in the help."""

    place: str
    help: str

    def load(self) -> click.Command:
        module, name = self.place.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


class LazyGroup(click.Group):
    """Knows names and help lines of its commands without importing them. Commands are listed in the order given."""

    def __init__(self, name: str, *, entries: Mapping[str, Entry], **attributes: object) -> None:
        super().__init__(name, **attributes)  # type: ignore[arg-type]
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = self._entries.get(cmd_name)
        return entry.load() if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])
