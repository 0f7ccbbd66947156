"""Batches of a provider that is not configured any more: told of, moved, ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from tests.http.api import Api

from backburner.states import BatchStatus
from backburner.storage import absent
from backburner.storage.batches import batches_of_job, begin_attempt
from backburner.storage.tables import jobs, provider_batches
from backburner.storage.troubles import troubles

MOVE, END = "/v1/admin/providers/gone/move-batches", "/v1/admin/providers/gone/end-batches"


async def left_behind(api: Api, **values: object) -> str:
    """A job whose batches are of the provider `gone`."""
    job = await api.batch(2)

    def rename(tx: sa.Connection) -> None:
        tx.execute(sa.update(jobs).values(provider="gone"))
        tx.execute(sa.update(provider_batches).values(provider="gone", **values))

    await api.database.write(rename)
    return str(job["id"])


async def status_of(api: Api, job_id: str) -> tuple[str, BatchStatus]:
    (batch,) = await api.database.read(batches_of_job, (await api.record(job_id)).key)
    return batch.provider, batch.status


async def test_they_are_told_of(autojump_clock, api):
    await left_behind(api)
    for path in ("/readyz", "/v1/admin/scheduler/status"):
        (warning,) = (await api.get(path)).json["warnings"]
        assert "the provider gone, which is not configured" in warning
    now = api.services.clock.now()
    found = await api.database.read(troubles, now=now, configured=sorted(api.services.providers))
    assert [(trouble.kind, trouble.subject) for trouble in found] == [("absent_provider", "gone")]
    assert await api.database.read(troubles, now=now) == []


async def test_what_the_provider_denies_is_told_of(autojump_clock, api):
    await api.batch(2)
    since = api.services.clock.now() - timedelta(minutes=3)
    denied = {"status": BatchStatus.SUBMITTED, "not_found_since": since, "error": {"code": "not_found"}}
    await api.database.write(lambda tx: tx.execute(sa.update(provider_batches).values(**denied)))
    (warning,) = (await api.get("/readyz")).json["warnings"]
    assert warning.startswith("The provider answers 404 for 1 batches, since 2025-12-31T23:57:00")


async def test_what_is_planned_is_moved_with_its_job(autojump_clock, api_on_each):
    api = api_on_each
    job_id = await left_behind(api)
    answer = await api.post(MOVE, json={"to": "anthropic"})
    assert (answer.status, answer.json["batches"], answer.json["moved_to"]) == (200, 1, "anthropic")
    assert await status_of(api, job_id) == ("anthropic", BatchStatus.PLANNED)
    assert (await api.record(job_id)).provider == "anthropic"
    entry = (await api.get("/v1/admin/audit?action=provider.move_batches")).json["data"][0]
    assert entry["detail"] == {"provider": "gone", "batches": 1, "moved_to": "anthropic"}


async def test_what_is_planned_is_ended_and_its_items_are_errored(autojump_clock, api_on_each, monkeypatch):
    api = api_on_each
    monkeypatch.setattr(absent, "AT_ONCE", 1)
    ids = [await left_behind(api) for _ in range(2)]
    first, second = await api.post(END), await api.post(END)
    assert [(answer.json["batches"], answer.json["has_more"]) for answer in (first, second)] == [(1, True), (1, False)]
    assert [*first.json["ended_job_ids"], *second.json["ended_job_ids"]] == ids
    for job_id in ids:
        job = (await api.get(f"/v1/jobs/{job_id}")).json
        assert (job["status"], job["request_counts"]["errored"]) == ("failed", 2)


async def test_what_the_provider_has_is_ended_only_when_asked_for(autojump_clock, api):
    job_id = await left_behind(api, status=BatchStatus.SUBMITTED)
    assert (await api.post(END)).json["batches"] == 0
    assert (await api.post(END, json={"at_provider": True})).json["batches"] == 1
    assert (await status_of(api, job_id))[1] is BatchStatus.CLOSED


@pytest.mark.parametrize("path", [MOVE, END])
async def test_a_provider_that_is_there_keeps_its_batches(autojump_clock, api, path):
    body = {"to": "anthropic"} if path == MOVE else None
    answer = await api.post(path.replace("gone", "sandbox"), json=body)
    assert answer.code == (409, "provider_configured")


async def test_they_are_not_moved_to_what_is_not_there(autojump_clock, api):
    answer = await api.post(MOVE, json={"to": "elsewhere"})
    assert answer.status == 422
    assert answer.json["error"]["param"] == "to"


async def test_what_has_just_been_moved_is_not_begun_by_the_instance_that_chose_it(autojump_clock, api_on_each):
    """It would go to one provider and be looked for at the other."""
    api = api_on_each
    job_id = await left_behind(api)
    (batch,) = await api.database.read(batches_of_job, (await api.record(job_id)).key)
    await api.post(MOVE, json={"to": "anthropic"})
    now = api.services.clock.now()
    assert await api.database.write(begin_attempt, batch.key, epoch=1, now=now, provider="gone") is None
    begun = await api.database.write(begin_attempt, batch.key, epoch=1, now=now, provider="anthropic")
    assert (begun.provider, begun.status) == ("anthropic", BatchStatus.SUBMITTING)
