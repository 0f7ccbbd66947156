"""The options that set settings, and the settings that they, the environment and a file make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from backburner.cli.output import say
from backburner.cli.world import World
from backburner.setting_fields import SettingError
from backburner.settings import Settings
from backburner.settings_sources import load

C = TypeVar("C", bound=Callable[..., Any])

config_option = click.option(
    "--config", type=click.Path(path_type=Path), metavar="PATH", help="A TOML file of settings."
)
database_option = click.option(
    "--database", "database_url", metavar="URL", help="sqlite:///PATH or postgresql://…  [sqlite:///backburner.db]"
)
log_options = (
    click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.  [info]"),
    click.option("--log-format", metavar="FORMAT", help="text or json.  [text]"),
    click.option("--log-file", metavar="PATH", help="Write events there.  [standard error]"),
)


def with_options(*options: Callable[[C], C]) -> Callable[[C], C]:
    """One decorator made of many; the first is shown first."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def configured(world: World, config: Path | None, overrides: Mapping[str, object]) -> Settings:
    """Settings from everywhere; notices go to standard error. Raises SettingError."""
    settings = load(world.environ, config, overrides, notice=lambda text: say(f"Notice: {text}"))
    if settings.sandbox_faults:
        _check_faults(settings.sandbox_faults)
    return settings


def _check_faults(faults: str) -> None:
    from backburner.providers.sandbox.faults import parse_fault  # noqa: PLC0415 - not needed by most commands

    try:
        for rule in faults.split():
            parse_fault(rule)
    except ValueError as error:
        raise SettingError(f"Setting sandbox_faults: {error}.") from None
