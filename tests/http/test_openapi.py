"""The OpenAPI document and its page say what the routes do."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from tests.http.api import Api

from backburner.http.openapi.document import UndocumentedRouteError, build
from backburner.http.openapi.errors import MEANINGS
from backburner.http.openapi.examples import EXAMPLES
from backburner.http.openapi.operation import Route
from backburner.http.openapi.operations import OPERATIONS

#: Surfaces for other clients keep contracts that others document.
FOREIGN = ("/anthropic/", "/letta/")


def served(api: Api) -> set[tuple[str, str]]:
    """What the application answers, the older form of a path as the newer one."""
    found = set()
    for rule in api.client.app.url_map.iter_rules():
        if not rule.rule.startswith(FOREIGN):
            path = re.sub(r"^/api/", "/v1/", re.sub(r"<(\w+)>", r"{\1}", rule.rule))
            found |= {(method, path) for method in rule.methods - {"HEAD", "OPTIONS"}}
    return found


def documented(document: Any) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


async def document_of(api: Api) -> Any:
    return (await api.get("/openapi.json", key=None)).json


def operations_of(document: Any) -> list[Any]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


async def test_every_route_is_documented_and_nothing_else(autojump_clock, api):
    assert documented(await document_of(api)) == served(api)


async def test_both_bases_have_the_same_routes(autojump_clock, api):
    rules = [rule.rule for rule in api.client.app.url_map.iter_rules()]
    bases = [{rule.removeprefix(base) for rule in rules if rule.startswith(base)} for base in ("/v1", "/api")]
    assert bases[0] == bases[1]


def test_a_route_without_documentation_is_refused():
    async def undocumented() -> None: ...

    with pytest.raises(UndocumentedRouteError, match="GET /v1/x"):
        build([Route("GET", "/v1/x", "read", undocumented)], OPERATIONS, version="1")


async def test_every_operation_is_described(autojump_clock, api):
    for operation in operations_of(await document_of(api)):
        assert operation["summary"]
        assert all(parameter["description"] for parameter in operation["parameters"])


async def test_operation_ids_are_unique(autojump_clock, api):
    ids = [operation["operationId"] for operation in operations_of(await document_of(api))]
    assert len(ids) == len(set(ids))


async def test_tags_are_declared_and_used(autojump_clock, api):
    document = await document_of(api)
    used = {tag for operation in operations_of(document) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in document["tags"]}


async def test_every_reference_leads_somewhere(autojump_clock, api):
    body = (await api.get("/openapi.json", key=None)).body
    document = msgspec.json.decode(body)
    for reference in set(re.findall(rb'"\$ref":"#/([^"]+)"', body)):
        place = document
        for name in reference.decode().split("/"):
            place = place[name]
        assert place


@pytest.mark.parametrize("type_", EXAMPLES, ids=lambda type_: type_.__name__)
def test_an_example_is_of_its_type(type_):
    example = EXAMPLES[type_]
    assert msgspec.to_builtins(msgspec.convert(example, type_)).keys() == example.keys()


async def test_answers_with_a_body_have_an_example(autojump_clock, api):
    document = await document_of(api)
    for operation in operations_of(document):
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                assert "example" in content or content["schema"].get("type") in ("object", "string"), (
                    operation["operationId"],
                    status,
                )


async def test_what_needs_a_key_says_so(autojump_clock, api):
    for operation in operations_of(await document_of(api)):
        assert bool(operation["security"]) == ("401" in operation["responses"])
        assert bool(operation["security"]) == ("x-scope" in operation)


async def test_without_a_key_every_other_route_is_closed(autojump_clock, api):
    document = await document_of(api)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["security"]:
                answer = await api.call(method.upper(), re.sub(r"{\w+}", "x", path), key=None)
                assert answer.code == (401, "unauthenticated"), operation["operationId"]


def test_every_error_status_has_a_type_and_an_example():
    assert all(about and code and message for about, code, message in MEANINGS.values())


class Page(HTMLParser):
    """Collects what a page would load, run or link to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


async def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(autojump_clock, api):
    answer = await api.get("/docs", key=None)
    page = Page()
    page.feed(answer.body.decode())
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not page.tags & {"script", "iframe", "img", "object", "embed", "style"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    targets = {value for name, value in page.attributes if name in ("href", "src") and value}
    assert {target for target in targets if not target.startswith("#")} == {"/openapi.json", "/docs/style.css"}


async def test_the_page_shows_every_operation_and_links_lead_somewhere(autojump_clock, api):
    page = Page()
    page.feed((await api.get("/docs", key=None)).body.decode())
    names = {value for name, value in page.attributes if name == "id"}
    shown = {operation["operationId"] for operation in operations_of(await document_of(api))}
    assert shown <= names
    links = {value for name, value in page.attributes if name == "href" and value}
    assert {link[1:] for link in links if link.startswith("#")} <= names


async def test_the_style_sheet_is_served(autojump_clock, api):
    answer = await api.get("/docs/style.css", key=None)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")


async def test_unknown_parameters_are_refused_here_too(autojump_clock, api):
    assert (await api.get("/openapi.json?x=1", key=None)).code == (422, "unknown_parameter")
