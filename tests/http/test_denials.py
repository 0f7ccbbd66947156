"""Who is turned away leaves a trace, and cannot flood it."""

from __future__ import annotations

import trio
from tests.http.api import open_api
from tests.http.test_audit import rows

from backburner.http import denials


async def test_refused_keys_and_scopes_are_counted_and_told_of_now_and_then(autojump_clock, monkeypatch):
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(
        denials.log, "warning", lambda _, **more: told.append((more["reason"], more["count"])), raising=False
    )
    async with open_api() as api:
        for _ in range(3):
            await api.get("/v1/jobs", key="bb_unknown")
            await api.get("/v1/jobs", key=None)
            await api.post("/v1/jobs", json={}, key="read")
        await trio.sleep(61)
        await api.get("/v1/jobs", key=None)
        assert told == [("key", 1), ("scope", 1), ("key", 6)]
        shown = (await api.get("/metrics")).body.decode()
        assert 'backburner_requests_denied_total{reason="key"} 7.0' in shown
        assert 'backburner_requests_denied_total{reason="scope"} 3.0' in shown
        assert 'backburner_requests_denied_total{reason="throttled"} 0.0' in shown


async def test_what_a_key_may_not_do_is_in_the_audit_log(autojump_clock):
    async with open_api() as api:
        for _ in range(3):
            assert (await api.post("/v1/jobs", json={}, key="read")).status == 403
        assert (await api.get("/v1/jobs", key="bb_unknown")).status == 401
        (row,) = await rows(api)
        assert (row.action, row.detail, row.object_type) == ("access.deny", {"tried": "job.create"}, "access")
        assert row.key_id is not None
        await trio.sleep(61)
        await api.post("/v1/jobs", json={}, key="read")
        assert len(await rows(api)) == 2
