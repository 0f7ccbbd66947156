"""Writes docs/settings.md: `python -m backburner.settings_doc > docs/settings.md`."""

from __future__ import annotations

import sys
from typing import Any

import attrs

from backburner.setting_fields import about
from backburner.settings import Settings
from backburner.settings_sources import PREFIX, SEED_PREFIX

_HEAD = f"""# Settings

This page is generated from `src/backburner/settings.py` and `server_settings.py`; a test checks that it is current.

A setting comes from, in this order: an option of `backburner serve`, the environment variable `{PREFIX}<NAME>`,
the TOML file that `--config` or `{PREFIX}CONFIG` names (`name = value`, names in lower case), the default. A value
that is not allowed stops the program with one line and exit code 2.

Settings marked † may also come as `{SEED_PREFIX}<NAME>`. Values of settings marked * are never shown or logged.

| setting | default | unit | allowed | meaning |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(field) for field in attrs.fields(Settings))


def _row(field: attrs.Attribute[Any]) -> str:
    described = about(field)
    marks = ("†" if described.seed_name else "") + ("*" if described.secret else "")
    allowed = described.kind.allowed.replace("|", "\\|")
    return (
        f"| `{field.name}`{marks} | {_default(field.default)} | {described.unit} | {allowed} | {described.meaning} |\n"
    )


def _default(value: object) -> str:
    if value in (None, ""):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(markdown())
