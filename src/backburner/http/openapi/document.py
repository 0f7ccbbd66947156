"""The OpenAPI document of a list of routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from backburner.http.openapi.errors import MEANINGS, error_answers, error_example, takes_idempotency_key
from backburner.http.openapi.examples import example_of
from backburner.http.openapi.job_schemas import Error
from backburner.http.openapi.operation import JSON, Answer, Body, Operation, Operations, Route
from backburner.http.openapi.texts import ABOUT, IDEMPOTENCY_KEY, PARAMETERS, PATH_PARTS, REPLAYED, TAGS
from backburner.http.query import Parameter

JsonObject = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: Sequence[JsonObject] = [{"bearer": []}, {"apiKey": []}]
_REQUEST_ID = {"request-id": {"$ref": "#/components/headers/request-id"}}
_RETRY_AFTER = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}


class UndocumentedRouteError(Exception):
    """A route has no entry among the operations."""


def build(routes: Sequence[Route], operations: Operations, *, version: str) -> JsonObject:
    """The document, ready to be encoded. Raises UndocumentedRouteError."""
    entries = [(route, _operation_of(route, operations)) for route in routes]
    schemas, components = _schemas(operation for _, operation in entries)
    ids = _operation_ids(route for route, _ in entries)
    paths: JsonObject = {}
    for route, operation in entries:
        path = paths.setdefault(re.sub(r"<(\w+)>", r"{\1}", route.path), {})
        path[route.method.lower()] = _Writer(route, operation, schemas).operation(ids[route])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backburner", "version": version, "description": ABOUT, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"Error{status}": _error(status, about) for status, (about, *_) in MEANINGS.items()},
            "headers": _HEADERS,
            "securitySchemes": _SCHEMES,
        },
    }


def plain_handler(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a method, so that it can be looked up."""
    found: Callable[..., Any] = getattr(handler, "__func__", handler)
    return found


def _operation_of(route: Route, operations: Operations) -> Operation:
    try:
        return operations[plain_handler(route.handler)]
    except KeyError:
        raise UndocumentedRouteError(f"{route.method} {route.path} ({route.handler!r}) has no Operation") from None


def _operation_ids(routes: Iterable[Route]) -> dict[Route, str]:
    """The handler's name; a handler's further routes add the method."""
    found: dict[Route, str] = {}
    for route in routes:
        name = plain_handler(route.handler).__name__
        found[route] = name if name not in found.values() else f"{name}_by_{route.method.lower()}"
    return found


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, JsonObject], JsonObject]:
    """How each type is referred to, and the components that it is made of."""
    types: list[Any] = [Error]
    for operation in operations:
        described: list[Answer | Body] = [*operation.answers.values(), *operation.bodies]
        types += [one.type for one in described if one.type is not None and not isinstance(one.type, dict)]
    unique = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    return dict(zip(unique, map(_portable, found), strict=True)), _portable(components)


def _portable(schema: Any) -> Any:
    """Patterns as every regular expression engine reads them, docstrings without their indentation."""
    if isinstance(schema, list):
        return [_portable(child) for child in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _portable(child) for name, child in schema.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = f"^(?:{found['pattern'].removeprefix(chr(92) + 'A').removesuffix(chr(92) + 'Z')})$"
    if isinstance(found.get("description"), str):
        found["description"] = re.sub(r"\n +", "\n", found["description"])
    return found


@attrs.frozen
class _Writer:
    """Writes one operation."""

    route: Route
    said: Operation
    schemas: Mapping[Any, JsonObject]

    def operation(self, operation_id: str) -> JsonObject:
        found: JsonObject = {
            "operationId": operation_id,
            "tags": [self.said.tag],
            "summary": self.said.summary,
            "description": self._description(),
            "parameters": [*self._path_parts(), *self._query(), *self._headers()],
            "responses": self._responses(),
            "security": [] if self.route.scope is None else _SECURITY,
        }
        if self.said.bodies:
            found["requestBody"] = {
                "required": self.said.bodies[0].required,
                "content": {body.media: self._content(body) for body in self.said.bodies},
            }
        if self.said.deprecated:
            found["deprecated"] = True
        if self.route.scope is not None:
            found["x-scope"] = self.route.scope
        return found

    def _description(self) -> str:
        scope = "Needs no key." if self.route.scope is None else f"Needs a key with the scope `{self.route.scope}`."
        return "\n\n".join(filter(None, (self.said.about, scope)))

    def _path_parts(self) -> list[JsonObject]:
        return [
            {"name": name, "in": "path", "required": True, **PATH_PARTS[name]}
            for name in re.findall(r"<(\w+)>", self.route.path)
        ]

    def _query(self) -> list[JsonObject]:
        return [_query_parameter(name, parameter) for name, parameter in self.said.query.items()]

    def _headers(self) -> list[JsonObject]:
        found: list[JsonObject] = [
            {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
            for name, about in self.said.headers.items()
        ]
        return [*found, dict(IDEMPOTENCY_KEY)] if takes_idempotency_key(self.route) else found

    def _responses(self) -> JsonObject:
        answers = {str(status): self._answer(answer) for status, answer in self.said.answers.items()}
        errors = error_answers(self.route, self.said)
        return answers | {
            str(status): _error(status, about) if about else {"$ref": f"#/components/responses/Error{status}"}
            for status, about in errors.items()
            if status not in self.said.answers
        }

    def _answer(self, answer: Answer) -> JsonObject:
        said = {name: {"description": about, "schema": {"type": "string"}} for name, about in answer.headers.items()}
        replayed = REPLAYED if takes_idempotency_key(self.route) else {}
        found: JsonObject = {"description": answer.about, "headers": {**_REQUEST_ID, **replayed, **said}}
        if answer.type is not None:
            found["content"] = {answer.media: self._content(answer)}
        return found

    def _content(self, one: Answer | Body) -> JsonObject:
        schema = one.type if isinstance(one.type, dict) else self.schemas[one.type]
        example = one.example if one.example is not None else example_of(one.type)
        return {"schema": schema} | ({} if example is None else {"example": example})


def _query_parameter(name: str, parameter: Parameter) -> JsonObject:
    schema = _portable(parameter.schema)
    if parameter.many:
        schema = {"type": "array", "items": schema}
    elif parameter.default is not None:
        schema["default"] = parameter.default
    shown = f"{name}KEY" if parameter.prefix else name
    return {"name": shown, "in": "query", "description": PARAMETERS[name], "schema": schema}


def _error(status: int, about: str) -> JsonObject:
    schema = {"$ref": _REFERENCE.format(name="Error")}
    headers = _REQUEST_ID | (_RETRY_AFTER if status in (429, 503) else {})
    content = {"schema": schema, "example": error_example(status)}
    return {"description": about, "headers": headers, "content": {JSON: content}}


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_HEADERS = {
    "request-id": {"description": "Names this request, also in the log.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer bb_…`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "`x-api-key: bb_…`"},
}
