"""Rate limits, quotas, and load that is shed."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from tests.http.api import Answer, Api, open_api, requests

from backburner.clock import TrioClock
from backburner.errors import StorageUnavailable
from backburner.http.app import create_app
from backburner.http.auth import REMEMBERED_SECONDS
from backburner.http.door import AWAY_SECONDS, Door
from backburner.http.limiter import FAILURES_BURST, Limiter, RateLimits
from backburner.http.problem import Refused
from backburner.states import ItemStatus
from backburner.storage.quotas import Quotas

VERSION = {"anthropic-version": "2023-06-01"}


# --- requests of one key -----------------------------------------------------------------------------------


async def test_a_key_is_limited_and_told_how_far(autojump_clock):
    async with open_api(rate_limits=RateLimits(requests_per_second=0.5, burst=2)) as api:
        first = await api.get("/v1/jobs", key="read")
        told = {name: first.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")}
        assert told == {"Limit": "2", "Remaining": "1", "Reset": "2"}
        await api.get("/v1/jobs/nothing", key="read")
        refused = await api.get("/v1/jobs", key="read")
        assert refused.code == (429, "rate_limited")
        assert (refused.headers["Retry-After"], refused.headers["RateLimit-Remaining"]) == ("2", "0")
        assert (await api.get("/v1/jobs", key="write")).status == 200
        await trio.sleep(2)
        assert (await api.get("/v1/jobs", key="read")).status == 200


async def test_refusals_of_a_route_carry_the_headers_too(autojump_clock):
    async with open_api(rate_limits=RateLimits(requests_per_second=1)) as api:
        for answer in (await api.get("/v1/jobs/x"), await api.post("/v1/batches", key="read", json={})):
            assert answer.status in (403, 404)
            assert answer.headers["RateLimit-Limit"] == "100"


async def test_without_a_limit_nothing_is_said_of_one(api):
    assert [name for name, _ in (await api.get("/v1/jobs")).headers.items() if "ratelimit" in name.lower()] == []


# --- keys that are none ------------------------------------------------------------------------------------


async def from_address(api: Api, address: str, key: str) -> Answer:
    response = await api.client.open("/v1/jobs", headers={"x-api-key": key}, scope_base={"client": (address, 1234)})
    return Answer(response.status_code, response.headers, await response.get_data())


async def test_wrong_keys_from_one_address_are_limited(autojump_clock):
    async with open_api(rate_limits=RateLimits(failures_per_minute=6)) as api:
        for _ in range(FAILURES_BURST):
            assert (await from_address(api, "192.0.2.7", "bb_wrong")).status == 401
        refused = await from_address(api, "192.0.2.7", "bb_wrong")
        assert (refused.code, refused.headers["Retry-After"]) == ((429, "rate_limited"), "10")
        assert (await from_address(api, "192.0.2.8", "bb_wrong")).status == 401
        await trio.sleep(10)
        assert (await from_address(api, "192.0.2.7", "bb_wrong")).status == 401


async def test_a_good_key_is_not_locked_out_by_its_neighbours(autojump_clock):
    async with open_api(rate_limits=RateLimits(failures_per_minute=0.1)) as api:
        good = api.keys["read"]
        assert (await from_address(api, "192.0.2.7", good)).status == 200
        for _ in range(FAILURES_BURST + 1):
            await from_address(api, "192.0.2.7", "bb_wrong")
        assert (await from_address(api, "192.0.2.7", "bb_wrong")).status == 429
        await trio.sleep(REMEMBERED_SECONDS)
        assert (await from_address(api, "192.0.2.7", good)).status == 200


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True), ("127.0.0.1", "127.0.0.1", False), ("::1", "::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True), ("<local>", "<local>", False),
    ],
)  # fmt: skip
async def test_addresses_share_a_bucket_as_they_share_an_owner(autojump_clock, one, other, shared):
    limiter = Limiter(TrioClock(), RateLimits(failures_per_minute=1))
    for _ in range(FAILURES_BURST):
        limiter.failed(one)
    refused = False
    try:
        limiter.may_fail(other)
    except Refused:
        refused = True
    assert refused is shared


# --- quotas ------------------------------------------------------------------------------------------------


async def made(api: Api, route: str, key: str = "admin") -> Answer:
    letta = {"agent_id": "agent-00000000-0000-7000-8000-000000000000", "messages": [{"role": "user", "content": "Hi"}]}
    items = [letta] if route.startswith("/letta") else requests(2)
    body: Any = {} if route.endswith("jobs") else {"requests": items}
    return await api.post(route, json=body, key=key, headers=VERSION)


@pytest.mark.parametrize(
    "route", ["/v1/batches", "/v1/jobs", "/anthropic/v1/messages/batches", "/letta/v1/messages/batches"]
)
async def test_open_jobs_are_limited_per_organization(autojump_clock, route):
    async with open_api(quotas=Quotas(open_jobs=1)) as api:
        first = await made(api, route)
        assert first.status < 300
        refused = await made(api, route)
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) == 10
        assert (await made(api, route, key="other")).status < 300
        (job,) = (await api.get("/v1/jobs?active=true")).json["data"]
        await api.post(f"/v1/jobs/{job['id']}/cancel")
        assert (await made(api, route)).status < 300


async def test_items_are_limited_per_organization_and_day(autojump_clock):
    async with open_api(quotas=Quotas(items_per_day=5)) as api:
        for _ in range(2):
            assert (await made(api, "/v1/batches")).status == 202
        refused = await made(api, "/v1/batches")
        assert (refused.code, refused.headers["Retry-After"]) == ((429, "quota_items_per_day"), "86400")
        assert await api.staged() == 0
        assert (await made(api, "/v1/batches", key="other")).status == 202
        assert (await api.post("/v1/jobs", json={})).status == 202
        await trio.sleep(86_400)
        assert (await made(api, "/v1/batches")).status == 202


async def test_a_retry_counts_too_and_deleting_gives_nothing_back(autojump_clock):
    async with open_api(quotas=Quotas(items_per_day=3)) as api:
        job = await api.ended([ItemStatus.ERRORED] * 2)
        assert (await api.call("DELETE", f"/v1/jobs/{job['id']}")).status == 200
        job = await api.ended([ItemStatus.ERRORED])
        assert (await api.post(f"/v1/batches/{job['id']}/retry")).code == (429, "quota_items_per_day")


def sized(size: int) -> dict[str, object]:
    """A job of so many bytes."""
    return {"input": "x" * (size - 2)}


async def test_bytes_are_limited_per_organization_and_day(autojump_clock):
    async with open_api(quotas=Quotas(bytes_per_day=1000)) as api:
        assert (await api.post("/v1/jobs", json=sized(600))).status == 202
        refused = await api.post("/v1/jobs", json=sized(401))
        assert (refused.code, refused.headers["Retry-After"]) == ((429, "quota_bytes_per_day"), "86400")
        assert (await api.post("/v1/batches", json={"requests": requests(5)})).code == (429, "quota_bytes_per_day")
        assert (await api.post("/v1/jobs", json=sized(400))).status == 202
        assert (await api.post("/v1/batches", data=b"{")).code == (429, "quota_bytes_per_day")
        assert (await api.post("/v1/jobs", json=sized(1000), key="other")).status == 202
        await trio.sleep(86_400)
        assert (await api.post("/v1/jobs", json=sized(1000))).status == 202


@pytest.mark.parametrize(
    "route", ["/v1/batches", "/v1/jobs", "/anthropic/v1/messages/batches", "/letta/v1/messages/batches"]
)
async def test_what_no_day_has_room_for_is_told_to_be_too_large(autojump_clock, route):
    async with open_api(quotas=Quotas(bytes_per_day=20)) as api:
        refused = await (api.post(route, json=sized(21)) if route == "/v1/jobs" else made(api, route))
        assert (refused.status, "Retry-After" in refused.headers) == (413, False)


async def test_a_full_quota_is_told_before_the_body_is_read(autojump_clock):
    async with open_api(quotas=Quotas(open_jobs=0)) as api:
        assert (await api.post("/v1/batches", data=b"{", kind="application/json")).code == (429, "quota_open_jobs")


@pytest.mark.postgresql
async def test_quotas_hold_on_postgresql_too(postgres_database):
    quotas = Quotas(open_jobs=2, items_per_day=3, bytes_per_day=1000)
    async with open_api(postgres_database, quotas=quotas) as api:
        assert [(await made(api, "/v1/batches")).status for _ in range(2)] == [202, 429]
        assert [(await made(api, "/v1/jobs")).status for _ in range(2)] == [202, 429]


# --- load that is shed -------------------------------------------------------------------------------------


async def test_what_would_change_something_is_turned_away_when_the_server_is_behind():
    behind = ["is behind with writing"]
    async with open_api(overload=lambda: behind[0] if behind else None) as api:
        refused = await api.post("/v1/batches", data=b"{", kind="application/json")
        assert (refused.code, refused.headers["Retry-After"]) == ((503, "overloaded"), "2")
        assert (await api.post("/v1/batches", key=None)).status == 503
        for path in ("/v1/jobs", "/healthz", "/readyz"):
            assert (await api.get(path)).status == 200
        behind.clear()
        assert (await made(api, "/v1/batches")).status == 202


async def test_a_database_that_is_away_is_not_asked_by_everybody(autojump_clock):
    asked = []

    async def away(_work):
        await trio.lowlevel.checkpoint()
        asked.append(trio.current_time())
        raise StorageUnavailable("password=hunter2")

    async with open_api() as api:
        broken = attrs.evolve(api.database, offload_read=away, offload_write=away)
        client = create_app(attrs.evolve(api.services, database=broken)).test_client()

        async def post() -> int:
            answer = await client.post("/v1/batches", headers={"x-api-key": api.keys["admin"]}, data=b"{}")
            return answer.status_code

        assert [await post() for _ in range(5)] == [503] * 5
        assert len(asked) == 1
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        await trio.sleep(AWAY_SECONDS)
        asked.clear()
        assert (await post(), len(asked)) == (503, 1)


async def test_only_so_many_changes_are_under_way_at_once(autojump_clock):
    door = Door(TrioClock(), overload=lambda: None, most=2)
    with door.inside("POST"), door.inside("GET"):
        assert door.refusal("POST") is None
        with door.inside("DELETE"):
            assert door.refusal("PATCH") is not None
            assert door.refusal("GET") is None
    assert door.refusal("POST") is None
