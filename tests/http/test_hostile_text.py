"""Whatever stands in a path, a query or a header either fits or is refused; no database has to say no to it."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import Any
from urllib.parse import quote

import pytest
from tests.http.api import Api
from werkzeug.routing import Rule

#: As they stand in a path or query: too long for an index, and what is no text for PostgreSQL.
LONG = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(120))  # no database can compress it
TEXTS = {"long": LONG, "wide": quote("é" * 3000), "NUL": "a%00b", "surrogate": "%ED%A0%80", "large": "9" * 30}


def rules(api: Api) -> list[Rule]:
    return list(api.client.app.url_map.iter_rules())


def wrong(found: dict[str, int]) -> dict[str, int]:
    return {name: status for name, status in found.items() if not 400 <= status < 500}


@pytest.mark.parametrize("text", TEXTS)
async def test_no_id_in_a_path_is_more_than_unknown(autojump_clock, api_on_each, text):
    found = {}
    for rule in rules(api_on_each):
        path = re.sub(r"<[^>]+>", TEXTS[text], rule.rule)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}) if path != rule.rule else ():
            headers = {"anthropic-version": "2023-06-01", "Idempotency-Key": "once"}
            answer = await api_on_each.call(method, path, data=b"{}", headers=headers)
            found[f"{method} {rule.rule}"] = answer.status
    assert len(found) >= 60
    assert wrong(found) == {}


def parameters(documents: Any, path: str) -> list[str]:
    operation = documents["paths"].get(path, {}).get("get", {})
    return [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]


LETTAS = (
    "agent_id", "agent_ids", "statuses", "status", "stop_reason", "background", "limit", "after", "before", "order",
    "order_by", "ascending", "active", "source_id", "provider_name", "model", "feedback", "trace_ids", "tags",
    "project_id", "start_date", "end_date", "after_id", "before_id",
)  # fmt: skip


@pytest.mark.parametrize("text", ["NUL", "surrogate", "wide"])
async def test_no_query_reaches_the_database_as_it_must_not(autojump_clock, api_on_each, text):
    documents = (await api_on_each.get("/openapi.json", key=None)).json
    found = {}
    for rule in rules(api_on_each):
        if "GET" not in (rule.methods or ()) or "<" in rule.rule:
            continue
        for name in {*parameters(documents, rule.rule), *LETTAS, "metadata.a", f"metadata.{TEXTS[text]}"}:
            path = f"{rule.rule}?{name}={TEXTS[text]}"
            if not rule.rule.endswith("/events"):
                answer = await api_on_each.get(path, headers={"anthropic-version": "2023-06-01"})
                found[path[:80]] = answer.status
    assert len(found) >= 300
    assert {path: status for path, status in found.items() if status >= 500} == {}


HEADERS = ("Idempotency-Key", "Last-Event-ID", "If-Match", "If-None-Match", "X-Request-Id")
VALUES = ("x" * 3000, "\xff" * 255, "\xff" * 3000, "9" * 30, "job-1:" + "9" * 40 + ":" + "9" * 40)


async def test_no_header_is_too_much(autojump_clock, api_on_each):
    job = (await api_on_each.post("/v1/jobs", json={})).json
    found = {}
    for name, text in itertools.product(HEADERS, VALUES):
        for method, path in (("POST", "/v1/jobs"), ("PATCH", f"/v1/jobs/{job['id']}"), ("GET", f"/v1/jobs/{job['id']}"),
                             ("HEAD", f"/v1/jobs/{job['id']}/events")):  # fmt: skip
            data = b"{}" if method in ("POST", "PATCH") else None
            answer = await api_on_each.call(method, path, data=data, headers={name: text})
            found[f"{method} {name} {text[:10]}"] = answer.status
    assert {name: status for name, status in found.items() if status >= 500} == {}


async def test_texts_of_a_body_are_refused_or_kept(autojump_clock, api_on_each):
    widest = "\U0001f600" * 255
    answer = await api_on_each.post("/v1/jobs", json={"agent_id": widest, "metadata": {widest: widest}})
    assert (answer.status, answer.json["agent_id"]) == (202, widest)
    changed = await api_on_each.call("PATCH", f"/v1/jobs/{answer.json['id']}", json={"stop_reason": widest})
    assert changed.status in (200, 422)
    for body in (b'{"agent_id":"\\u0000"}', b'{"metadata":{"a":"\\ud800"}}', b'{"priority":%d}' % 2**63):
        assert (await api_on_each.post("/v1/jobs", data=body)).status == 422
