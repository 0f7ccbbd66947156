"""Keys, scopes, and the order in which a request is refused."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
import trio
from tests.http.api import Api, open_api, requests

from backburner.http.auth import REMEMBERED_SECONDS
from backburner.storage import tables

PATHS = [
    ("GET", "/v1/jobs", "read"),
    ("GET", "/v1/jobs/active", "read"),
    ("GET", "/v1/batches", "read"),
    ("GET", "/v1/batches/x/results", "read"),
    ("POST", "/v1/batches", "write"),
    ("POST", "/v1/batches/x/retry", "write"),
    ("POST", "/v1/jobs/x/cancel", "write"),
    ("DELETE", "/v1/jobs/x", "write"),
    ("GET", "/v1/admin/jobs", "admin"),
    ("GET", "/v1/admin/users", "admin"),
    ("GET", "/v1/admin/keys", "admin"),
    ("POST", "/v1/admin/keys", "admin"),
    ("DELETE", "/v1/admin/keys/x", "admin"),
    ("GET", "/v1/admin/scheduler/status", "admin"),
    ("POST", "/v1/admin/scheduler/pause", "admin"),
    ("GET", "/v1/admin/batches/unresolved", "admin"),
    ("POST", "/v1/admin/batches/x/abandon", "admin"),
    ("POST", "/v1/admin/providers/x/move-batches", "admin"),
    ("POST", "/v1/admin/providers/x/end-batches", "admin"),
    ("GET", "/v1/webhook-secret", "admin"),
    ("POST", "/v1/webhook-secret/rotate", "admin"),
    ("GET", "/metrics", "read"),
]


@pytest.mark.parametrize(("method", "path", "scope"), PATHS)
async def test_a_route_wants_a_key_and_its_scope(api, method, path, scope):
    assert (await api.call(method, path, key=None)).code == (401, "unauthenticated")
    assert (await api.call(method, path, key="bb_nobody")).code == (401, "unauthenticated")
    lower = {"read": [], "write": ["read"], "admin": ["read", "write"]}[scope]
    for name in lower:
        assert (await api.call(method, path, key=name)).code == (403, "forbidden")
    for name in {"read", "write", "admin"} - set(lower):
        assert (await api.call(method, path, key=name)).status not in (401, 403)


@pytest.mark.parametrize(
    "headers", [{"x-api-key": "{}"}, {"Authorization": "bearer {}"}, {"Authorization": "Bearer  {} "}]
)
async def test_a_key_may_come_in_either_header(api, headers):
    sent = {name: value.format(api.keys["read"]) for name, value in headers.items()}
    assert (await api.get("/v1/jobs", key=None, headers=sent)).status == 200


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer ", "bb_x", ""])
async def test_other_credentials_are_none(api, value):
    answer = await api.get("/v1/jobs", key=None, headers={"Authorization": value})
    assert answer.code == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_in_the_query_is_no_key(api):
    assert (await api.get(f"/v1/jobs?key={api.keys['admin']}", key=None)).status == 401


async def test_checks_come_in_order(api):
    assert (await api.get("/v1/nothing", key=None)).code == (404, "not_found")
    wrong = await api.call("PUT", "/v1/jobs", key=None)
    assert wrong.code == (405, "method_not_allowed")
    assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert (await api.get("/v1/jobs?no=1", key=None)).status == 401
    assert (await api.post("/v1/batches?no=1", key="read", data=b"{", kind="text/plain")).status == 403
    assert (await api.get("/v1/jobs?no=1", key="read")).status == 422


async def test_head_and_options_answer(api):
    head = await api.call("HEAD", "/v1/jobs")
    assert (head.status, head.headers["content-type"]) == (200, "application/json")
    assert (await api.call("HEAD", "/v1/jobs", key=None)).status == 401
    options = await api.call("OPTIONS", "/v1/batches", key=None)
    assert options.status == 200
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


async def test_every_path_without_a_variable_part_has_methods_of_its_own(api):
    """Also where another route has a variable part in its place, such as `/v1/jobs/active`."""
    own: dict[str, set[str]] = {}
    for rule in api.client.app.url_map.iter_rules():
        if "<" not in rule.rule:
            own.setdefault(rule.rule, set()).update(rule.methods)
    assert "/v1/jobs/active" in own
    for path, methods in own.items():
        for method in ("DELETE", "PATCH", "PUT", "POST"):
            if method not in methods:
                answer = await api.call(method, path)
                assert (answer.status, set(answer.headers["Allow"].split(", "))) == (405, methods), path
        options = await api.call("OPTIONS", path)
        assert (options.status, set(options.headers["Allow"].split(", "))) == (200, methods), path


async def counted(api: Api) -> list[str]:
    """Statements that the database is asked, from here on."""
    seen: list[str] = []
    sa.event.listen(api.database.reading, "before_cursor_execute", lambda *args: seen.append(args[2]))
    return seen


async def test_a_key_is_looked_up_once_in_a_while(autojump_clock, api):
    seen = await counted(api)
    for _ in range(5):
        await api.get("/v1/jobs", key="read")
    assert sum("api_keys" in statement for statement in seen) == 1
    await trio.sleep(REMEMBERED_SECONDS)
    await api.get("/v1/jobs", key="read")
    assert sum("api_keys" in statement for statement in seen) == 2


async def test_a_key_revoked_elsewhere_is_honoured_for_seconds_only(autojump_clock, api):
    assert (await api.get("/v1/jobs", key="read")).status == 200
    gone = sa.update(tables.api_keys).values(revoked_at=api.services.clock.now())
    await api.database.write(lambda tx: tx.execute(gone.where(tables.api_keys.c.name == "read")))
    assert (await api.get("/v1/jobs", key="read")).status == 200
    await trio.sleep(REMEMBERED_SECONDS)
    assert (await api.get("/v1/jobs", key="read")).status == 401


async def test_unknown_keys_are_not_remembered(autojump_clock, api):
    seen = await counted(api)
    for _ in range(3):
        await api.get("/v1/jobs", key="bb_guess")
    assert sum("api_keys" in statement for statement in seen) == 3


async def test_nothing_of_another_organization_shows_in_its_answers():
    async with open_api() as api:
        await api.post("/v1/batches", json={"requests": requests(1)})
        for path in ("/v1/jobs", "/v1/batches", "/v1/admin/jobs"):
            assert (await api.get(path, key="other")).json["data"] == []
