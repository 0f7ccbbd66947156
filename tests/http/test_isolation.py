"""Every route with every kind of wrong key and with the ids of others: nobody learns or changes anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
import trio
from tests.http.api import Answer, Api, open_api, request

from backburner.app import App
from backburner.http.anthropic.ids import batch_id_of
from backburner.http.app import create_app
from backburner.states import ItemStatus
from backburner.storage import batches, tables

HOOK = "https://victim.example.com/hook"
MARK = "victim-secret"
UNKNOWN = "0192f0c1-7c00-7000-8000-0123456789ab"
VERSION = {"anthropic-version": "2023-06-01"}

#: Routes for which no key is needed. Everything else is walked.
OPEN = re.compile(r"/healthz|/readyz|/openapi\.json|/docs(/[a-z.]+)?")
#: Streams without end, which would hold up the walk through the lists; their own tests look at what they tell.
ENDLESS = frozenset({"/v1/events", "/api/events"})
#: What only the operator may do, whoever's the object is.
OPERATORS = re.compile(r"/(v1|api)/admin/(scheduler/|batches(/|$)|providers/|organizations$)|^/metrics$")
#: A body with which a request would be let through. Those not named need none.
BODIES: Mapping[str, Any] = {
    "POST /batches": {"requests": [request(1)]},
    "POST /messages/batches": {"requests": [request(1)]},
    "POST /files": {"name": "x"},
    "POST /runs": {"params": request(1)["params"]},
    "PATCH /jobs/<job_id>": {"metadata": {"a": 1}},
    "POST /admin/batches/<batch_id>/adopt": {"provider_batch_id": "msgbatch_1"},
    "POST /admin/providers/<provider>/move-batches": {"to": "sandbox"},
}


@attrs.frozen
class Route:
    method: str
    path: str

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD") and not self.path.endswith("/stream")

    @property
    def is_admin(self) -> bool:
        return "/admin/" in self.path or "/webhook-secret" in self.path

    def allows(self, scope: str) -> bool:
        return scope == "admin" or not (self.is_admin or (self.changes and scope == "read"))

    @property
    def variables(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.path)

    @property
    def body(self) -> Any:
        short = re.sub(r"^/(anthropic/v1|letta/v1|v1|api)", "", self.path)
        return BODIES.get(f"{self.method} {short}")

    def filled(self, ids: Mapping[str, str]) -> str:
        names = {"batch_id": "foreign_batch_id"} if self.path.startswith("/anthropic") else {}
        path = self.path.replace("<number>", "1").replace("<provider>", "nobody")
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids[names.get(found[1], found[1])], path)


@attrs.frozen
class Scene:
    """Two organizations: the victim's objects, those that were deleted, and those that never were."""

    api: Api
    victim: Mapping[str, str]
    deleted: Mapping[str, str]
    unknown: Mapping[str, str]
    bad_keys: Mapping[str, str | None]
    others: Mapping[str, str]  # keys of the other organization, by scope

    async def call(self, route: Route, key: str | None, ids: Mapping[str, str] | None = None) -> Answer:
        path = route.filled(ids or self.unknown)
        return await self.api.call(route.method, path, key=key, json=route.body, headers=VERSION)


def routes_of(app: Any) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if not OPEN.fullmatch(rule.rule):
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield Route(method, rule.rule)


app = App()


@app.handler("repeat")
async def repeat(text: str) -> str:
    return text


@pytest.fixture
async def scene() -> Any:
    async with open_api(handlers=app.handlers) as api:
        yield await set_up(api)


async def set_up(api: Api) -> Scene:
    victim = await owned(api)
    await more_of(api)
    deleted = await owned(api)
    await api.call("DELETE", f"/v1/jobs/{deleted['job_id']}")
    await api.call("DELETE", f"/v1/admin/keys/{deleted['key_id']}")
    await api.call("DELETE", f"/v1/files/{deleted['file_id']}")
    expired = await new_key(api, "admin", expires_at="2026-01-01T00:00:01Z")
    revoked = await new_key(api, "admin")
    await api.call("DELETE", f"/v1/admin/keys/{revoked['id']}")
    await trio.sleep(1)
    bad = {"none": None, "malformed": "bb_", "unknown": "bb_" + "a" * 60, "not ours": "sk-ant-api03-x"}
    others = {scope: (await new_key(api, scope, owner="other"))["secret"] for scope in ("read", "write", "admin")}
    return Scene(
        api,
        victim,
        deleted,
        ids_of(UNKNOWN),
        bad | {"revoked": revoked["secret"], "expired": expired["secret"]},
        others,
    )


async def new_key(api: Api, *scopes: str, owner: str = "admin", **more: Any) -> Any:
    """A key of the same user as the key `owner`."""
    users = {user["name"]: user["id"] for user in (await api.get("/v1/admin/users", key=owner)).json["data"]}
    user, name = (users["admin"], MARK) if owner == "admin" else (users["b"], "b")
    body = {"user_id": user, "scopes": scopes, "name": name, **more}
    return (await api.post("/v1/admin/keys", json=body, key=owner)).json


async def owned(api: Api, key: str = "admin", mark: str = MARK) -> dict[str, str]:
    """One of everything, of the key's organization: under the name that routes have for its id."""
    body = request(0, system=mark) | {"custom_id": mark, "agent_id": f"agent-{mark}"}
    options = {"metadata": {"mark": mark}, "callback_url": HOOK}
    job = (await api.post("/v1/batches", json={"requests": [body], **options}, key=key)).json
    await api.submitted(job["id"])
    await api.results(job["id"], [ItemStatus.SUCCEEDED])
    found = (await api.get(f"/v1/jobs/{job['id']}/deliveries", key=key)).json["data"]
    (batch,) = await api.database.read(batches.batches_of_job, (await api.record(job["id"])).key)
    ids = ids_of(job["id"].removeprefix("job-"))
    made = await new_key(api, "read", owner=key)
    ids["file_id"] = (await api.post("/v1/files", json={"name": mark}, key=key)).json["id"]
    return ids | {"delivery_id": found[0]["id"], "key_id": made["id"], "batch_id": batch.id}


async def more_of(api: Api) -> None:
    """The victim's other kinds of jobs, for lists to hide."""
    tool = {"name": MARK, "url": HOOK, "description": MARK}
    agent = {"params": request(1, system=MARK)["params"], "agent": {"tools": [tool]}, "agent_id": f"agent-{MARK}"}
    for path, body in (("/v1/runs", agent), ("/v1/jobs", {"handler": "repeat", "input": {"text": MARK}})):
        made = await api.post(path, json={**body, "metadata": {"mark": MARK}})
        assert made.status == 202, made


def ids_of(uuid: str) -> dict[str, str]:
    """Ids made of one UUID, for every variable that a path may have."""
    names = ("job", "delivery", "key", "batch", "user", "file", "agent")
    ids = {f"{name}_id": f"{name}-{uuid}" for name in names}
    kept = {"foreign_batch_id": batch_id_of(f"job-{uuid}"), "run_id": f"run-{uuid}-0", "step_id": f"step-{uuid}-0-1"}
    return ids | kept


def neutral(answer: Answer, ids: Mapping[str, str]) -> tuple[int, Any, list[tuple[str, str]]]:
    """An answer without what names the request and the id that was asked for."""
    text = answer.body.decode().replace(answer.headers["request-id"], "REQUEST")
    for name, public_id in ids.items():
        text = text.replace(public_id, name)
    headers = sorted((name.lower(), value) for name, value in answer.headers.items())
    return answer.status, text, [(n, v) for n, v in headers if n not in ("request-id", "content-length")]


async def stored(api: Api) -> dict[str, list[Any]]:
    """Everything in the database but the audit log's rows of what was refused."""

    def read(tx: sa.Connection) -> dict[str, list[Any]]:
        found = {t.name: [tuple(row) for row in tx.execute(sa.select(t))] for t in tables.metadata.sorted_tables}
        return found | {"audit_log": [row for row in found["audit_log"] if "access.deny" not in row]}

    return await api.database.read(read)


async def test_the_ids_of_the_walk_are_right(autojump_clock, scene):
    """Else a 404 would say nothing."""
    failed, walked = [], 0
    for route in routes_of(scene.api.client.app):
        if route.method == "GET" and route.variables:
            walked += 1
            answer = await scene.call(route, "admin" if route.is_admin else "read", scene.victim)
            if answer.status != 200:
                failed.append((route, answer.status, answer.body))
    assert failed == []
    assert walked > 10


async def test_no_route_lets_a_bad_key_in(autojump_clock, scene):
    before, failed = await stored(scene.api), []
    for route in routes_of(scene.api.client.app):
        answers = {kind: await scene.call(route, key, scene.victim) for kind, key in scene.bad_keys.items()}
        told = {neutral(answer, {})[1] for kind, answer in answers.items() if kind != "none"}
        if {answer.status for answer in answers.values()} != {401} or len(told) != 1:
            failed.append((route, {kind: answer.status for kind, answer in answers.items()}))
    assert failed == []
    assert await stored(scene.api) == before


async def test_no_route_lets_a_key_do_more_than_its_scope(autojump_clock, scene):
    before, failed = await stored(scene.api), []
    for route in routes_of(scene.api.client.app):
        for key in ("read", "write"):
            answer = None if route.allows(key) else await scene.call(route, key, scene.victim)
            if answer is not None and answer.status != 403:
                failed.append((route, key, answer.status))
    assert failed == []
    assert await stored(scene.api) == before


async def test_another_organizations_object_is_as_unknown_as_a_random_one(autojump_clock, scene):
    before, failed, walked = await stored(scene.api), [], 0
    for route in routes_of(scene.api.client.app):
        if not route.variables:
            continue
        walked += 1
        for scope, key in scene.others.items():
            kinds = (scene.victim, scene.deleted, scene.unknown)[: 3 if scope == "admin" else 2]
            answers = [neutral(await scene.call(route, key, ids), ids) for ids in kinds]
            expected = 404 if route.allows(scope) and not OPERATORS.search(route.path) else 403
            if answers[0][0] != expected or any(answer != answers[0] for answer in answers):
                failed.append((route, scope, answers))
    assert failed == []
    assert walked > 20
    assert await stored(scene.api) == before


async def test_ones_own_deleted_object_is_as_unknown_as_a_random_one(autojump_clock, scene):
    failed = []
    for route in routes_of(scene.api.client.app):
        gone = [ids for ids in (scene.deleted, scene.unknown) if route.variables]
        answers = [neutral(await scene.call(route, "admin", ids), ids) for ids in gone]
        if answers and (answers[0] != answers[1] or answers[0][0] != 404):
            failed.append((route, answers))
    assert failed == []


def queries(scene: Scene) -> list[str]:
    """What somebody would try on a list to see more of it."""
    victim = scene.victim
    sought = {
        "after": victim["job_id"],
        "before": victim["key_id"],
        "order": "asc",
        "organization_id": "org-1",
        "user_id": victim["user_id"],
        "key_id": victim["key_id"],
        "object_id": victim["job_id"],
        "agent_id": f"agent-{MARK}",
        "metadata.mark": MARK,
        "job_id": victim["job_id"],
        "custom_id": MARK,
        "active": "false",
        "limit": "1000",
        "after_id": victim["foreign_batch_id"],
        "before_id": victim["foreign_batch_id"],
    }
    return ["", *(f"?{name}={value}" for name, value in sought.items())]


async def test_no_list_filter_cursor_or_count_tells_of_another_organization(autojump_clock, scene):
    failed, walked = [], 0
    lists = [route for route in routes_of(scene.api.client.app) if route.method == "GET" and not route.variables]
    for route in lists:
        if route.path in ENDLESS:
            continue
        walked += 1
        asked = [("admin", query) for query in queries(scene)]
        for scope, query in [*asked, ("write", ""), ("read", "")]:
            answer = await scene.api.get(route.path + query, key=scene.others[scope], headers=VERSION)
            assert answer.status in (200, 400, 403, 404, 422), (route, query, answer)
            if tells(scene, answer, query) or (answer.status == 200 and b'"has_more":true' in answer.body):
                failed.append((route, scope, query, answer.body))
    assert failed == []
    assert walked > 10


def tells(scene: Scene, answer: Answer, query: str) -> bool:
    """Whether an answer says anything of the victim that was not in the question."""
    told = answer.body.decode()
    for name, value in (part.split("=") for part in query[1:].split("&") if part):
        told = told.replace(value, name)  # an error may repeat what was asked
    uuid = scene.victim["job_id"].removeprefix("job-")
    return any(secret in told for secret in (MARK, uuid, scene.victim["delivery_id"], scene.victim["key_id"]))


async def test_ones_own_lists_go_on_behind_nothing_of_anothers(autojump_clock, scene):
    """Cursors and filters of another organization's objects on the lists of one's own."""
    uuid, failed, walked = scene.victim["job_id"].removeprefix("job-"), [], 0
    mine = await owned(scene.api, key="other", mark="mine")
    cursors = [
        f"item-{uuid}-0",
        f"step-{uuid}-0-1",
        f"message-{uuid}-0-1-0",
        f"run-{uuid}-0",
        scene.victim["delivery_id"],
    ]
    tried = ["", *(f"?{name}={cursor}" for cursor in cursors for name in ("after", "before")), f"?custom_id={MARK}"]
    for route in routes_of(scene.api.client.app):
        if route.method != "GET" or not route.variables or route.path.startswith("/api") or route.is_admin:
            continue
        for query in tried:
            answer = await scene.api.get(route.filled(mine) + query, key="other", headers=VERSION)
            assert query or answer.status == 200, (route, answer)
            walked += answer.status == 200
            if answer.status >= 500 or tells(scene, answer, query):
                failed.append((route, query, answer.body))
    assert failed == []
    assert walked > 50


async def test_an_idempotency_key_is_its_owners_only(autojump_clock, scene):
    api = scene.api
    body = {"metadata": {"mark": MARK}, "requests": [request(1)]}
    headers = {"Idempotency-Key": "shared"}
    first = await api.post("/v1/batches", json=body, headers=headers)
    second = await api.post("/v1/batches", json=body, headers=headers, key="other")
    assert "idempotent-replayed" not in second.headers
    assert second.json["id"] != first.json["id"]
    assert second.json["organization_id"] == "org-2"


async def test_the_operator_reaches_others_by_admin_routes_only(autojump_clock, scene):
    api = scene.api
    theirs = await api.batch(1, key="other")
    assert (await api.get(f"/v1/jobs/{theirs['id']}")).code == (404, "not_found")
    listed = (await api.get("/v1/admin/jobs?limit=1000")).json["data"]
    assert theirs["id"] in {job["id"] for job in listed}


async def test_the_walk_knows_every_variable_of_every_path(autojump_clock):
    async with open_api() as api:
        app = create_app(api.services)
        unknown = {name for route in routes_of(app) for name in route.variables} - set(ids_of(UNKNOWN))
        unknown -= {"number", "provider"}  # of a part, a name: no ids
        assert unknown == set()
