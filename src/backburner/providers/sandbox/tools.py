"""Replies that call tools."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from backburner.providers.sandbox.items import token

_USE = re.compile(r"use tool ([a-zA-Z0-9_-]{1,128})\s*(?=\{)")
_PLAUSIBLE: dict[str, Any] = {
    "string": "sandbox",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
}


class Schema(msgspec.Struct):
    """As much of a JSON Schema as a plausible value needs."""

    type: str | list[str] = "object"
    enum: list[Any] = msgspec.field(default_factory=list)
    properties: dict[str, Schema | bool] = msgspec.field(default_factory=dict)
    required: list[str] | None = None


class Tool(msgspec.Struct):
    name: str
    input_schema: Schema = msgspec.field(default_factory=Schema)


class ToolChoice(msgspec.Struct):
    type: str = "auto"
    name: str = ""


def tool_blocks(tools: list[Tool], choice: ToolChoice, text: str, draw: bytes) -> str | None:
    """The content of a reply that calls what the text asks for, else what the choice forces; None if neither does."""
    if choice.type == "none":
        return None
    calls = asked_for(text) or forced_by(tools, choice)
    return _blocks(calls, draw) if calls else None


def all_tools(tools: list[Tool], draw: bytes) -> str | None:
    """The content of a reply that calls each of them; None if there are none."""
    return _blocks([(tool.name, plausible(tool.input_schema)) for tool in tools], draw) if tools else None


def _blocks(calls: list[tuple[str, Any]], draw: bytes) -> str:
    blocks = [
        {"type": "tool_use", "id": f"toolu_01{token(draw)[:-2]}{number:02d}", "name": name, "input": arguments}
        for number, (name, arguments) in enumerate(calls)
    ]
    return msgspec.json.encode(blocks).decode()


def asked_for(text: str) -> list[tuple[str, Any]]:
    """The calls that the text spells out; those whose arguments are not JSON are passed over."""
    calls = []
    for match in _USE.finditer(text):
        try:
            # msgspec cannot say where a value ends that is followed by other text
            arguments, _ = json.JSONDecoder().raw_decode(text, match.end())
        except ValueError:
            continue
        calls.append((match[1], arguments))
    return calls


def forced_by(tools: list[Tool], choice: ToolChoice) -> list[tuple[str, Any]]:
    if choice.type == "any" and tools:
        return [(tools[0].name, plausible(tools[0].input_schema))]
    if choice.type == "tool":
        return [(tool.name, plausible(tool.input_schema)) for tool in tools if tool.name == choice.name]
    return []


def plausible(schema: Schema | bool) -> Any:
    """Some value that fits the simpler kinds of JSON Schema."""
    if isinstance(schema, bool):
        return None
    if schema.enum:
        return schema.enum[0]
    if schema.type != "object":
        return _PLAUSIBLE.get(schema.type if isinstance(schema.type, str) else "".join(schema.type[:1]))
    names = schema.properties if schema.required is None else schema.required
    return {name: plausible(schema.properties.get(name, True)) for name in names}
