"""What a function of the user's takes and gives, read off its type hints: JSON in, JSON out."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from backburner.errors import WrongApp

CONTEXT = "ctx"  # the parameter of this name takes the context instead of a field of the input
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@attrs.frozen(kw_only=True)
class Signature:
    """The fields of a function's input and the type of its output."""

    fields: type[msgspec.Struct]
    takes_context: bool
    returns: Any

    def arguments(self, given: Any) -> dict[str, Any]:
        """The arguments by name, of the hinted types. Raises msgspec.ValidationError, which names the field."""
        try:
            found = msgspec.convert({} if given is None else given, self.fields)
        except (msgspec.ValidationError, KeyboardInterrupt):
            raise
        except BaseException as error:  # of a hinted type, which is code of the user's
            raise msgspec.ValidationError(  # noqa: ASYNC104
                f"A type of the input raised {type(error).__name__}"
            ) from error
        return {name: getattr(found, name) for name in self.fields.__struct_fields__}

    def output(self, value: Any) -> Any:
        """What a function returned, as plain JSON values.

        Raises msgspec.ValidationError when it is not of the hinted type, TypeError when it is not JSON at all.
        """
        plain = msgspec.to_builtins(value)
        msgspec.json.encode(plain)
        msgspec.convert(plain, self.returns)
        return plain

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the input: one object, its definitions inside."""
        schema = msgspec.json.schema(self.fields)
        definitions = schema.pop("$defs", {})
        root = definitions.pop(schema["$ref"].rpartition("/")[2]) if "$ref" in schema else schema
        root.pop("title", None)
        return {**root, "$defs": definitions} if definitions else root


def signature_of(function: Callable[..., Any]) -> Signature:
    """Raises WrongApp for what cannot be called by names with JSON values."""
    name = getattr(function, "__qualname__", None) or repr(function)  # which of a bound method can be very long
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
    except (NameError, TypeError, ValueError) as error:
        raise WrongApp(f"The type hints of {name} cannot be read: {error}.") from error
    if any(parameter.kind not in _BY_NAME for parameter in parameters.values()):
        raise WrongApp(f"{name} takes arguments that have no name; give each input a parameter of its own.")
    fields = [_field(parameter, hints) for parameter in parameters.values() if parameter.name != CONTEXT]
    return Signature(fields=_struct(name, fields), takes_context=CONTEXT in parameters, returns=_json_type(name, hints))


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> tuple[str, Any] | tuple[str, Any, Any]:
    hint = hints.get(parameter.name, Any)
    if parameter.default is parameter.empty:
        return parameter.name, hint
    if isinstance(parameter.default, list | dict | set):
        return parameter.name, hint, msgspec.field(default_factory=parameter.default.copy)
    return parameter.name, hint, parameter.default


def _struct(name: str, fields: list[Any]) -> type[msgspec.Struct]:
    try:
        struct = msgspec.defstruct("Input", fields, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.schema(struct)  # finds hints that are not of JSON now instead of at the first job
    except (TypeError, NameError) as error:
        raise WrongApp(f"The input of {name} cannot be JSON: {error}.") from error
    return struct


def _json_type(name: str, hints: Mapping[str, Any]) -> Any:
    hint = hints.get("return", Any)
    try:
        msgspec.json.schema(hint)
    except TypeError as error:
        raise WrongApp(f"The output of {name} cannot be JSON: {error}.") from error
    return hint
