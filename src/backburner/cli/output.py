"""Data goes to standard output, messages to standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(message: str) -> None:
    """A message for the person at the terminal."""
    click.echo(message, err=True)


def show(text: str) -> None:
    """Data that the command was asked for."""
    click.echo(text)


def show_json(value: object) -> None:
    """One JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


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
        return " ".join(f"{key}={_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ",".join(map(_cell, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
