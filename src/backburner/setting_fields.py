"""One setting: its meaning, its unit, what it allows, and how it is read from text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import attrs

from backburner.errors import BackburnerError
from backburner.redaction import REDACTED, redacted_text

_SHOWN_CHARACTERS = 80
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class SettingError(BackburnerError):
    """A setting has a value that it cannot have, or does not exist. The message is one line and shows no secret."""


@attrs.frozen
class Kind:
    """The values a setting can have. `read` takes text or a TOML value and raises ValueError for all others."""

    allowed: str
    read: Callable[[Any], Any]


@attrs.frozen(kw_only=True)
class About:
    """What the documentation and an error message say of a setting."""

    kind: Kind
    meaning: str
    unit: str
    secret: bool
    #: The name that the seed documents know; it may also come as `LETTA_<NAME>`.
    seed_name: bool


def setting(
    kind: Kind, default: object, meaning: str, *, unit: str = "", secret: bool = False, seed_name: bool = False
) -> Any:
    """A field of `Settings` that reads and checks its value, whoever makes the object."""
    about = About(kind=kind, meaning=meaning, unit=unit, secret=secret, seed_name=seed_name)
    return attrs.field(
        default=default,
        converter=attrs.Converter(_convert, takes_field=True),
        metadata={"about": about},
        repr=_hidden if secret else _shown,
    )


def about(field: attrs.Attribute[Any]) -> About:
    found: About = field.metadata["about"]
    return found


def read(field: attrs.Attribute[Any], value: object, source: str) -> Any:
    """The value as the setting's type. Raises SettingError, which names setting, value, source and what is allowed."""
    described = about(field)
    try:
        return described.kind.read(value)
    except ValueError:
        shown = REDACTED if described.secret else shorten(value)
        raise SettingError(
            f"Setting {field.name}: {shown} (from {source}) is not allowed. Allowed: {described.kind.allowed}."
        ) from None


def shorten(value: object) -> str:
    """The value on one line, never longer than a line."""
    shown = _shown(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"


def whole(lowest: int, highest: int, *, optional: bool = False) -> Kind:
    def parse(value: object) -> int:
        number = _number(value)
        if not number.is_integer() or not lowest <= number <= highest:
            raise ValueError(value)
        return int(number)

    return _maybe(Kind(f"a whole number from {lowest:,} to {highest:,}", parse), optional)


def number(lowest: float, highest: float, *, optional: bool = False) -> Kind:
    def parse(value: object) -> float:
        found = _number(value)
        if not lowest <= found <= highest:
            raise ValueError(value)
        return found

    return _maybe(Kind(f"a number from {lowest:g} to {highest:,g}", parse), optional)


def switch() -> Kind:
    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        try:
            return _WORDS[str(value).strip().lower()]
        except KeyError:
            raise ValueError(value) from None

    return Kind("true or false (also yes, no, on, off, 1, 0)", parse)


def choice(*words: str, optional: bool = False) -> Kind:
    def parse(value: object) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError(value)
        return word

    return _maybe(Kind(", ".join(words[:-1]) + f" or {words[-1]}", parse), optional)


def text(pattern: str, allowed: str, *, optional: bool = False) -> Kind:
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value.strip()):
            raise ValueError(value)
        return value.strip()

    return _maybe(Kind(allowed, parse), optional)


def ports() -> Kind:
    """Read as a set of numbers; None for any port."""

    def parse(value: object) -> frozenset[int] | None:
        if value is None or value == "any":
            return None
        listed = value.split(",") if isinstance(value, str) else value
        if not isinstance(listed, list | tuple | frozenset) or not listed:
            raise ValueError(value)
        return frozenset(whole(1, 65_535).read(port) for port in listed)

    return Kind("port numbers with commas between, or `any`", parse)


def pairs(*names: str) -> Kind:
    """Read as a set of texts, each one of the names or `NAME=VALUE`."""

    def parse(value: object) -> frozenset[str]:
        listed = value.split(",") if isinstance(value, str) else value
        found = frozenset(str(pair).strip() for pair in listed) - {""}  # type: ignore[attr-defined]  # else TypeError
        if any(pair.partition("=")[0] not in names or pair.endswith("=") for pair in found):
            raise ValueError(value)
        return found

    return Kind(f"any of {', '.join(names)}, with commas between, each alone or with =VALUE", parse)


def _maybe(kind: Kind, optional: bool) -> Kind:
    if not optional:
        return kind

    def parse(value: object) -> Any:
        return None if value is None or value == "" else kind.read(value)

    return Kind(f"{kind.allowed}; or nothing", parse)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)  # noqa: TRY004 - the one error of a Kind
    found = float(value.strip().replace("_", "") if isinstance(value, str) else value)
    if not math.isfinite(found):
        raise ValueError(value)
    return found


def _convert(value: object, field: attrs.Attribute[Any]) -> Any:
    return read(field, value, "code")


def _shown(value: object) -> str:
    return repr(redacted_text(value) if isinstance(value, str) else value)


def _hidden(value: object) -> str:
    return repr(value) if value is None else repr(REDACTED)
