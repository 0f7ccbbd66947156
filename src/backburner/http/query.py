"""Query parameters: known ones, once, of the right type."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import attrs

from backburner.errors import Invalid
from backburner.http.strict import refuse_text

T_co = TypeVar("T_co", covariant=True)

MAX_PARAMETERS = 100

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


@attrs.frozen
class Converter(Generic[T_co]):
    """Turns text into a value, and knows the JSON Schema of what it takes."""

    convert: Callable[[str], T_co]
    schema: Mapping[str, Any]

    def __call__(self, text: str) -> T_co:
        return self.convert(text)


def described(**schema: Any) -> Callable[[Callable[[str], T_co]], Converter[T_co]]:
    """Says in JSON Schema what a converter takes."""
    return lambda convert: Converter(convert, schema)


@attrs.frozen(kw_only=True)
class Parameter:
    """One query parameter. `convert` raises ValueError saying what is allowed."""

    convert: Callable[[str], Any]
    default: Any = None
    #: May be given several times; its value is a list, empty when it is not given.
    many: bool = False
    #: Stands for every parameter that starts with its name; its value is a dict by what follows the name.
    prefix: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """Of its value; text, where the converter does not know better."""
        return dict(getattr(self.convert, "schema", {"type": "string"}))


def whole(low: int, high: int) -> Converter[int]:
    """A whole number from `low` to `high`."""

    @described(type="integer", minimum=low, maximum=high)
    def convert(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(text) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return convert


def number(low: float, high: float) -> Converter[float]:
    """A number from `low` to `high`."""

    @described(type="number", minimum=low, maximum=high)
    def convert(text: str) -> float:
        if not (len(text) < 30 and _DECIMAL.fullmatch(text) and low <= float(text) <= high):
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(text)

    return convert


@described(type="boolean")
def flag(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def one_of(choices: Collection[str]) -> Converter[str]:
    """One of a few words."""

    @described(type="string", enum=[str(choice) for choice in choices])
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return convert


def words(longest: int = 255) -> Converter[str]:
    """Text of 1 to `longest` characters."""

    @described(type="string", minLength=1, maxLength=longest)
    def convert(text: str) -> str:
        if not 1 <= len(text) <= longest:
            raise ValueError(f"must have 1 to {longest} characters")
        return text

    return convert


def matching(pattern: str, allowed: str) -> Converter[str]:
    """Text of this pattern; `allowed` says it in words."""
    compiled = re.compile(pattern)

    @described(type="string", pattern=pattern)
    def convert(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {allowed}")
        return text

    return convert


@described(type="string", format="date-time")
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
    for name, text in pairs(raw):
        refuse_text(text, name)
        key = _known(name, parameters)
        if name in given and not parameters[key].many:
            raise Invalid(f"The parameter {name!r} is given twice.", code="duplicate_parameter", param=name)
        given.add(name)
        _store(found, key, name, parameters[key], _converted(parameters[key], name, text))
    return found


def pairs(raw: bytes) -> list[tuple[str, str]]:
    """The parameters as they stand. Raises Invalid for what is not UTF-8 and for more than `MAX_PARAMETERS`."""
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
