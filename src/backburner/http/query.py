"""Query parameters: known ones, once, of the right type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import attrs

from backburner.errors import Invalid
from backburner.http.strict import refuse_text

MAX_PARAMETERS = 100


@attrs.frozen(kw_only=True)
class Parameter:
    """One query parameter. `convert` raises ValueError saying what is allowed."""

    convert: Callable[[str], Any]
    default: Any = None
    #: May be given several times; its value is a list, empty when it is not given.
    many: bool = False
    #: Stands for every parameter that starts with its name; its value is a dict by what follows the name.
    prefix: bool = False


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def convert(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(text) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return convert


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from `low` to `high`."""

    def convert(text: str) -> float:
        plain = text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 20
        if not (plain and low <= float(text) <= high):
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(text)

    return convert


def flag(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def one_of(choices: Collection[str]) -> Callable[[str], str]:
    """One of a few words."""

    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return convert


def words(longest: int = 255) -> Callable[[str], str]:
    """Text of 1 to `longest` characters."""

    def convert(text: str) -> str:
        if not 1 <= len(text) <= longest:
            raise ValueError(f"must have 1 to {longest} characters")
        return text

    return convert


def moment(text: str) -> datetime:
    """A time of RFC 3339 with its zone, as UTC. A `+` that arrives as a space is understood."""
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):  # overflow: a zone carries it over the first or the last year
        pass
    raise ValueError("must be a time such as 2026-01-31T12:00:00Z")


def query(raw: bytes, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The value of each parameter, by name, from a request's query string.

    Raises Invalid, naming the parameter: unknown, given twice, not convertible, not UTF-8, NUL.
    """
    found: dict[str, Any] = {name: _empty(parameter) for name, parameter in parameters.items()}
    given: set[str] = set()
    for name, text in _pairs(raw):
        refuse_text(text, name)
        key = _known(name, parameters)
        if name in given and not parameters[key].many:
            raise Invalid(f"The parameter {name!r} is given twice.", code="duplicate_parameter", param=name)
        given.add(name)
        _store(found, key, name, parameters[key], _converted(parameters[key], name, text))
    return found


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeError:
        raise Invalid("The query string is not UTF-8.", code="invalid_encoding") from None
    except ValueError:
        raise Invalid(f"There are more than {MAX_PARAMETERS} parameters.", code="too_many_parameters") from None


def _empty(parameter: Parameter) -> Any:
    if parameter.prefix:
        return {}
    return [] if parameter.many else parameter.default


def _known(name: str, parameters: Mapping[str, Parameter]) -> str:
    if name in parameters and not parameters[name].prefix:
        return name
    for key, parameter in parameters.items():
        if parameter.prefix and name.startswith(key) and len(name) > len(key):
            return key
    raise Invalid(f"There is no parameter {name!r} here.", code="unknown_parameter", param=name)


def _converted(parameter: Parameter, name: str, text: str) -> Any:
    try:
        return parameter.convert(text)
    except ValueError as error:
        raise Invalid(f"The parameter {name!r} {error}.", param=name) from None


def _store(found: dict[str, Any], key: str, name: str, parameter: Parameter, value: Any) -> None:
    if parameter.prefix:
        found[key][name.removeprefix(key)] = value
    elif parameter.many:
        found[key].append(value)
    else:
        found[key] = value
