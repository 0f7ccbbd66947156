"""Data goes to standard output, messages to standard error. Whatever is printed moves no cursor and colours nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from backburner.plain_text import json_text, one_line

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(message: str) -> None:
    """A message of one line for the person at the terminal."""
    click.echo(one_line(message), err=True)


def show(text: str) -> None:
    """A line of the data that the command was asked for."""
    click.echo(one_line(text))


def show_json(value: object) -> None:
    """One JSON value on one line."""
    click.echo(json_text(json.dumps(value, ensure_ascii=False)))


def show_rows(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """A table with a heading; columns are as wide as their widest cell. Nothing for no rows."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in ([column.upper() for column in columns], *cells):
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(value: dict[str, Any], names: Sequence[str]) -> None:
    """One `name: value` a line."""
    width = max(map(len, names)) + 1
    for name in names:
        show(f"{name + ':':<{width}} {_cell(value.get(name))}")


def _cell(value: object) -> str:
    if value in (None, {}, []):
        return "-"
    if isinstance(value, dict):
        return " ".join(f"{one_line(str(key))}={_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ",".join(map(_cell, value))
    return str(value).lower() if isinstance(value, bool) else one_line(str(value))
