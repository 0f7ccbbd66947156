"""docs/api.md names every error code and every route that there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.http.test_openapi import document_of

import backburner
from backburner.http import guard
from backburner.http.envelope import _CODE

ROOT = Path(__file__).parent.parent.parent
REFERENCE = (ROOT / "docs" / "api.md").read_text()

#: Which argument of each error is its code, when it is not given by name.
PLACES = {"Conflict": 0, "QuotaExceeded": 0, "Refused": 1, "Invalid": None, "Malformed": None, "_refused": 0}


def codes() -> Iterator[str]:
    """Every code that stands in the source as an argument of an error."""
    for path in sorted(Path(backburner.__file__).parent.rglob("*.py")):
        if {"providers", "client", "cli", "actors"}.isdisjoint(path.parts):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from _codes_of(node)
    yield from _CODE.values()
    yield from guard._CODES.values()


def _codes_of(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "id", None)
    if name not in PLACES:
        return
    place = PLACES[name]
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    given += [] if place is None else call.args[place : place + 1]
    for value in given:
        for part in ast.walk(value):
            if isinstance(part, ast.Constant) and re.fullmatch(r"[a-z][a-z_]+", str(part.value)):
                yield str(part.value)


def test_every_error_code_is_explained():
    found = set(codes())
    assert {"illegal_transition", "invalid_requests", "rate_limited", "internal_error"} <= found
    assert [code for code in sorted(found) if f"| `{code}` |" not in REFERENCE] == []


async def test_every_route_is_listed(autojump_clock, api):
    document = await document_of(api)
    listed = re.findall(r"^\| `(\w+) (/\S+)` \| (\S+) \|", REFERENCE, re.MULTILINE)
    expected = [
        (method.upper(), path, operation.get("x-scope", "none"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert sorted(listed) == sorted(expected)
