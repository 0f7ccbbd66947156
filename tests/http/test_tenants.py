"""Organizations and users, and who may make them."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
import trio
import trio.testing

from backburner.http.auth import REMEMBERED_SECONDS
from backburner.storage import accounts, tables

NOBODY = "org-00000000-0000-7000-8000-000000000000"


async def made_organization(api, name="second"):
    answer = await api.post("/v1/admin/organizations", json={"name": name})
    assert answer.status == 201
    return answer.json


async def made_key(api, user_id, *scopes, key="admin", **more):
    answer = await api.post("/v1/admin/keys", json={"user_id": user_id, "scopes": list(scopes), **more}, key=key)
    assert answer.status == 201, answer.body
    return answer.json


async def test_an_organization_is_made_with_users_keys_and_a_signing_secret(api_on_each):
    api = api_on_each
    organization = await made_organization(api, "Ünit & Co")
    assert (organization["name"], organization["object"]) == ("Ünit & Co", "organization")
    answer = await api.post("/v1/admin/users", json={"organization_id": organization["id"], "name": "eve"})
    user = answer.json
    assert (answer.status, user["organization_id"], user["name"]) == (201, organization["id"], "eve")
    key = await made_key(api, user["id"], "admin")
    assert key["organization_id"] == organization["id"]
    secret = (await api.get("/v1/webhook-secret", key=key["secret"])).json["secret"]
    assert secret.startswith("whsec_")
    assert secret != (await api.get("/v1/webhook-secret")).json["secret"]
    job = await api.batch(1, key=key["secret"])
    assert (job["organization_id"], job["user_id"]) == (organization["id"], user["id"])


async def test_the_operator_sees_all_organizations_and_others_their_own(autojump_clock, api):
    await trio.sleep(1)
    organization = await made_organization(api)
    mine = (await api.get("/v1/admin/organizations?limit=2")).json
    assert (len(mine["data"]), organization in mine["data"], mine["has_more"]) == (2, True, True)
    theirs = (await api.get("/v1/admin/organizations", key="other")).json
    assert [row["id"] for row in theirs["data"]] == ["org-2"]


async def test_only_the_operator_makes_organizations(api):
    before = len((await api.get("/v1/admin/organizations")).json["data"])
    assert (await api.post("/v1/admin/organizations", json={"name": "x"}, key="other")).code == (403, "forbidden")
    assert len((await api.get("/v1/admin/organizations")).json["data"]) == before


async def test_an_admin_makes_users_in_its_own_organization_only(api):
    organization = await made_organization(api)
    asked = {"organization_id": organization["id"], "name": "eve"}
    refused = await api.post("/v1/admin/users", json=asked, key="other")
    unknown = await api.post("/v1/admin/users", json={**asked, "organization_id": NOBODY}, key="other")
    assert (refused.code, unknown.code) == ((404, "not_found"), (404, "not_found"))
    made = await api.post("/v1/admin/users", json={"organization_id": "org-2", "name": "eve"}, key="other")
    assert (made.status, made.json["organization_id"]) == (201, "org-2")
    assert made.json in (await api.get("/v1/admin/users", key="other")).json["data"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("organizations", {}, "name"),
        ("organizations", {"name": ""}, "name"),
        ("organizations", {"name": "x", "id": "org-1"}, "id"),
        ("organizations", {"name": "x" * 256}, "name"),
        ("users", {"name": "x"}, "organization_id"),
        ("users", {"name": "a\0", "organization_id": "org-2"}, "name"),
        ("users", {"name": "x", "organization_id": "org-2", "is_operator": True}, "is_operator"),
    ],
)
async def test_what_is_wrong_is_named(api, path, body, param):
    answer = await api.post(f"/v1/admin/{path}", json=body)
    assert (answer.status, answer.error.get("param")) == (422, param)


async def test_jobs_are_found_by_organization_and_user(api):
    organization = await made_organization(api)
    asked = {"organization_id": organization["id"], "name": "eve"}
    user = (await api.post("/v1/admin/users", json=asked)).json
    key = await made_key(api, user["id"], "write")
    mine, theirs = await api.batch(1), await api.batch(1, key=key["secret"])
    for query, expected in (
        (f"organization_id={organization['id']}", [theirs["id"]]),
        (f"user_id={user['id']}", [theirs["id"]]),
        (f"user_id={mine['user_id']}", [mine["id"]]),
        (f"user_id={user['id']}&organization_id={mine['organization_id']}", []),
        (f"organization_id={NOBODY}", []),
    ):
        found = (await api.get(f"/v1/admin/jobs?{query}")).json["data"]
        assert [job["id"] for job in found] == expected
    reached = (await api.get(f"/v1/admin/jobs?organization_id={organization['id']}", key="other")).json["data"]
    assert reached == []


async def test_revocation_and_expiry_end_a_key(autojump_clock, api):
    user = (await api.get("/v1/admin/users")).json["data"][0]["id"]
    short = await made_key(api, user, "read", expires_at="2026-01-01T00:00:02Z")
    revoked = await made_key(api, user, "read")
    for key in (short, revoked):
        assert (await api.get("/v1/jobs", key=key["secret"])).status == 200
    await api.call("DELETE", f"/v1/admin/keys/{revoked['id']}")
    assert (await api.get("/v1/jobs", key=revoked["secret"])).code == (401, "unauthenticated")
    await trio.sleep(REMEMBERED_SECONDS)
    assert (await api.get("/v1/jobs", key=short["secret"])).code == (401, "unauthenticated")


async def test_a_key_is_looked_up_alike_whatever_it_looks_like(autojump_clock, api):
    """The hash of the whole key is sought by an index, so no comparison's length can be timed."""
    asked: list[str] = []
    sa.event.listen(api.database.reading, "before_cursor_execute", lambda *args: asked.append(args[2]))
    seen = []
    for key in ("x", "bb_" + "a" * 40, api.keys["read"][:-1], api.keys["read"] + "0"):
        asked.clear()
        assert (await api.get("/v1/jobs", key=key)).status == 401
        seen.append(list(asked))
    assert seen == [seen[0]] * 4
    assert "api_keys.secret_hash = ?" in seen[0][-1]


async def test_the_time_of_a_keys_last_use_is_written_once_a_minute(autojump_clock, api_on_each):
    api, written = api_on_each, []
    sa.event.listen(
        api.database.writing, "before_cursor_execute", lambda *args: written.append("last_used_at=" in args[2])
    )

    async def last_used() -> list[str | None]:
        return [key["last_used_at"] for key in (await api.get("/v1/admin/keys?order=asc")).json["data"][:2]]

    assert await last_used() == [None, None]
    for _ in range(5):
        await api.get("/v1/jobs", key="write")
        await trio.sleep(1)
    await api.get("/v1/jobs", key="bb_wrong")
    await trio.sleep(56)
    assert await last_used() == ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:04.000000Z"]
    assert sum(written) == 2


async def test_uses_are_written_when_the_server_stops(autojump_clock, api):
    await api.get("/v1/jobs")
    api.services.stopping.set()
    await trio.testing.wait_all_tasks_blocked()
    (row,) = await api.database.read(lambda tx: tx.execute(sa.select(tables.api_keys.c.last_used_at).limit(1)))
    assert row.last_used_at is not None


async def test_an_earlier_use_does_not_overwrite_a_later_one(autojump_clock, api):
    key, now = (await api.get("/v1/admin/keys")).json["data"][0]["id"], api.services.clock.now()
    for at in (now + timedelta(hours=2), now + timedelta(hours=1)):
        await api.database.write(accounts.note_uses, {key: at})
    found = (await api.get("/v1/admin/keys")).json["data"][0]["last_used_at"]
    assert found == "2026-01-01T02:00:00.000000Z"
