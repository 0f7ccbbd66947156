"""Asks the person at the terminal before something is done for which there is no way back."""

from __future__ import annotations

import sys

import click

from backburner.cli.exits import CommandError, Exit
from backburner.plain_text import one_line

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def confirmed(question: str) -> bool:
    """Whether the person says yes. Raises CommandError (usage) where there is nobody to ask."""
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        raise CommandError("There is no terminal to ask at; say --yes.", Exit.USAGE)
    return click.confirm(one_line(question), err=True)
