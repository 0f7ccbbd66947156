"""Where settings come from: command line, environment, TOML file, defaults, in this order."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from backburner.setting_fields import SettingError, about, read, shorten
from backburner.settings import Settings

PREFIX = "BACKBURNER_"
SEED_PREFIX = "LETTA_"
CONFIG_VARIABLE = "BACKBURNER_CONFIG"
#: Variables with our prefix that are not settings of a server.
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "BACKBURNER_URL", "BACKBURNER_API_KEY", "BACKBURNER_PROFILE"})

#: What Kubernetes sets for each service whose name begins with `backburner`, whatever the value ...
_OF_SERVICES = re.compile(PREFIX + r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
#: ... and where the value is an address, for BACKBURNER_PORT is a setting too.
_PORT_OF_SERVICE = re.compile(PREFIX + r"(\w+_)?PORT=(tcp|udp|sctp)://.*")
#: The options whose name is not their setting's.
_OPTIONS = {"database_url": "--database", "sqlite_standby": "--standby"}

FIELDS: Mapping[str, attrs.Attribute[Any]] = {field.name: field for field in attrs.fields(Settings)}


def load(
    environ: Mapping[str, str],
    toml_path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    notice: Callable[[str], object] = lambda _: None,
) -> Settings:
    """Settings from everywhere. `overrides` are the command line's; those that are None were not given.

    `toml_path` wins over BACKBURNER_CONFIG. `notice` is told of things worth a line that are no error.
    Raises SettingError.
    """
    path = toml_path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values = _from_toml(path) if path else {}
    values |= _from_environ(environ, notice)
    values |= _from_command_line(overrides or {})
    return Settings(**values)


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"Cannot read the settings file {path}: {error.strerror}.") from None
    except ValueError as error:
        raise SettingError(f"The settings file {path} is not TOML: {_one_line(error)}.") from None
    for name in document:
        if name not in FIELDS:
            raise SettingError(f"Setting {shorten(name)} (from {path}) does not exist.{_did_you_mean(name)}")
    return {name: read(FIELDS[name], value, str(path)) for name, value in document.items()}


def _from_environ(environ: Mapping[str, str], notice: Callable[[str], object]) -> dict[str, Any]:
    services = _of_services(environ)
    if services:
        notice(_set_by_kubernetes(services))
    environ = {name: value for name, value in environ.items() if name not in services}
    for variable in unknown_variables(environ):
        notice(f"{variable} is not a setting and is ignored.{_did_you_mean(variable.removeprefix(PREFIX).lower())}")
    return {name: read(FIELDS[name], environ[variable], variable) for name, variable in _given(environ, notice)}


def _given(environ: Mapping[str, str], notice: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    for name, field in FIELDS.items():
        ours, theirs = PREFIX + name.upper(), SEED_PREFIX + name.upper()
        if ours in environ:
            yield name, ours
        elif about(field).seed_name and theirs in environ:
            notice(f"{theirs} is read as {ours}, which is not set.")
            yield name, theirs


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, sorted."""
    known = {PREFIX + name.upper() for name in FIELDS} | OTHER_VARIABLES
    return sorted(variable for variable in environ if variable.startswith(PREFIX) and variable not in known)


def _of_services(environ: Mapping[str, str]) -> list[str]:
    """Variables that describe services in the same cluster, sorted."""
    return sorted(
        name
        for name, value in environ.items()
        if _OF_SERVICES.fullmatch(name) or _PORT_OF_SERVICE.fullmatch(f"{name}={value}")
    )


def _set_by_kubernetes(names: Sequence[str]) -> str:
    which = f"{names[0]} and {len(names) - 1} more are" if len(names) > 1 else f"{names[0]} is"
    return f"{which} set by Kubernetes for a service and ignored; `enableServiceLinks: false` keeps such away."


def _from_command_line(overrides: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: read(FIELDS[name], value, _OPTIONS.get(name, f"--{name.replace('_', '-')}"))
        for name, value in overrides.items()
        if value is not None
    }


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
