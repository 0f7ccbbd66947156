"""The OpenAPI document as one HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

import msgspec

JsonObject = Mapping[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")


def render_page(document: JsonObject) -> str:
    """The whole page."""
    info = document["info"]
    by_tag = _by_tag(document)
    parts = [
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        _prose(info["description"]),
        '<p><a href="/openapi.json">openapi.json</a></p>',
        _contents(by_tag),
        *(_section(tag, by_tag[tag["name"]]) for tag in document["tags"] if tag["name"] in by_tag),
        "<h2 id=errors>Errors</h2>",
        _errors(document["components"]["responses"]),
        "<h2 id=schemas>Schemas</h2>",
        *(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
    ]
    return _FRAME.format(title=escape(info["title"]), body="\n".join(parts))


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}: API</title><link rel="stylesheet" href="/docs/style.css"></head>
<body><main>
{body}
</main></body></html>
"""


def _by_tag(document: JsonObject) -> dict[str, list[tuple[str, str, JsonObject]]]:
    found: dict[str, list[tuple[str, str, JsonObject]]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                found.setdefault(methods[method]["tags"][0], []).append((method, path, methods[method]))
    return found


def _contents(by_tag: Mapping[str, Iterable[tuple[str, str, JsonObject]]]) -> str:
    links = "".join(f'<li><a href="#{escape(tag.lower())}">{escape(tag)}</a>' for tag in by_tag)
    return f'<nav><ul>{links}<li><a href="#errors">Errors</a><li><a href="#schemas">Schemas</a></ul></nav>'


def _section(tag: JsonObject, operations: Iterable[tuple[str, str, JsonObject]]) -> str:
    name = tag["name"]
    shown = "\n".join(_operation(*operation) for operation in operations)
    return f"<h2 id={escape(name.lower())}>{escape(name)}</h2>{_prose(tag['description'])}{shown}"


def _operation(method: str, path: str, operation: JsonObject) -> str:
    route = f"<b class={method}>{method.upper()}</b> <code>{escape(path)}</code>"
    heading = f"{route} <span>{escape(operation['summary'])}</span>"
    body = "".join(
        (
            _prose(operation["description"]),
            _parameters(operation["parameters"]),
            *_bodies(operation.get("requestBody", {}).get("content", {})),
            _answers(operation["responses"]),
        )
    )
    return f'<details id="{escape(operation["operationId"])}"><summary>{heading}</summary>{body}</details>'


def _parameters(parameters: Iterable[JsonObject]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{_type(one['schema'])}"
        f"<td>{_inline(one['description'])}"
        for one in parameters
    ]
    return f"<h3>Parameters</h3><table>{''.join(rows)}</table>" if rows else ""


def _bodies(content: Mapping[str, JsonObject]) -> Iterator[str]:
    for media, one in content.items():
        yield f"<h3>Body</h3><p><code>{escape(media)}</code> {_type(one['schema'])}</p>{_example(one)}"


def _answers(responses: Mapping[str, JsonObject]) -> str:
    said = {status: response for status, response in sorted(responses.items()) if "$ref" not in response}
    rows = [f"<tr><td><b>{status}</b><td>{_answer(response)}" for status, response in said.items()]
    others = ", ".join(f'<a href="#errors">{status}</a>' for status in sorted(set(responses) - set(said)))
    return f"<h3>Answers</h3><table>{''.join(rows)}</table><p>Also {others}.</p>"


def _errors(responses: Mapping[str, JsonObject]) -> str:
    rows = "".join(
        f"<tr><td><b>{name.removeprefix('Error')}</b><td>{_answer(response)}" for name, response in responses.items()
    )
    return f"<table>{rows}</table>"


def _answer(response: JsonObject) -> str:
    content = "".join(
        f"<div><code>{escape(media)}</code> {_type(one['schema'])}{_example(one)}</div>"
        for media, one in response.get("content", {}).items()
    )
    return f"{_inline(response['description'])}{content}"


def _example(one: JsonObject) -> str:
    if "example" not in one:
        return ""
    example = one["example"]
    text = example if isinstance(example, str) else _pretty(example)
    return f"<details class=example><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _schema(name: str, schema: JsonObject) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' <i>optional</i>'}<td>{_type(one)}"
        f"<td>{_inline(one.get('description', ''))}"
        for field, one in schema.get("properties", {}).items()
    )
    values = "" if "properties" in schema else f"<p>{_type(schema)}</p>"
    about = _prose(schema.get("description", ""))
    body = f"{about}{values}<table>{rows}</table>"
    return f'<details id="{escape(name)}"><summary><b>{escape(name)}</b></summary>{body}</details>'


def _type(schema: JsonObject) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(_pretty(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    bounds = (f"{name} {escape(str(schema[name]))}" for name in _BOUNDS if name in schema)
    return " ".join([escape(str(schema.get("format", schema.get("type", "anything")))), *bounds])


_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "pattern", "default")


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _inline(text: str) -> str:
    """Text with `code` in it."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
