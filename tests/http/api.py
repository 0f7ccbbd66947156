"""The whole HTTP application on a fresh database, with keys of two organizations, and nothing behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa
import trio

from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.clock import TrioClock
from backburner.commands import BatchEnded, BatchIngested, Polled, ResultPage, ResultRow
from backburner.http.app import create_app
from backburner.http.services import InstanceStatus, Limits, Services
from backburner.ids import Ids
from backburner.model import Job, ProviderBatch, Term, Usage
from backburner.signing import new_secret
from backburner.states import ItemStatus
from backburner.storage import accounts, batches, fence, jobs, migrate, tables
from backburner.storage.apply import apply_leader_commands
from backburner.storage.database import Database, open_database

LIMITS = Limits(
    max_request_bytes=4 * 1024 * 1024,
    max_items_per_job=5000,
    max_item_bytes=64 * 1024,
    chunk_items=None,
    chunk_bytes=16 * 1024 * 1024,
)


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        assert self.json["request_id"] == self.headers["request-id"]
        return self.json["error"]

    @property
    def code(self) -> tuple[int, str]:
        return self.status, self.error["code"]


@attrs.define(kw_only=True, eq=False)
class Api:
    services: Services
    client: Any
    term: Term
    keys: Mapping[str, str]
    rung: list[str]

    @property
    def database(self) -> Database:
        return self.services.database

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "admin",
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> Answer:
        """`key` is one of the names in `keys`, or a key, or None."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {self.keys.get(key, key)}")
        if json is not None:
            data = msgspec.json.encode(json)
        if data is not None:
            sent.setdefault("Content-Type", kind)
        response = await self.client.open(path, method=method, headers=sent, data=data)
        return Answer(response.status_code, response.headers, await response.get_data())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.call("POST", path, **options)

    async def batch(self, count: int = 3, *, key: str = "admin", **options: Any) -> Any:
        """A new batch job, as it was answered."""
        answer = await self.post("/v1/batches", json={"requests": requests(count), **options}, key=key)
        assert answer.status == 202, answer.body
        return answer.json

    async def record(self, job_id: str) -> Job:
        return await self.database.read(jobs.get_job, None, job_id)

    async def lead(self, *commands: Any) -> None:
        """What the bulk writer would do."""
        clock, ids = self.services.clock, self.services.ids
        applied = await self.database.write(apply_leader_commands, self.term, commands, now=clock.now(), ids=ids)
        self.services.changes.changed(applied.jobs)

    async def submitted(self, job_id: str) -> list[ProviderBatch]:
        """Have every provider batch of a job accepted by the provider."""
        job, now = await self.record(job_id), self.services.clock.now()
        found = await self.database.read(batches.batches_of_job, job.key)
        for batch in found:
            await self.database.write(batches.begin_attempt, batch.key, epoch=self.term.epoch, now=now)
            await self.database.write(
                batches.attach, batch.key, provider_batch_id=f"msgbatch_{batch.key}", status="in_progress",
                response=b'{"id":"x"}', now=now, next_poll_at=now,
            )  # fmt: skip
        self.services.changes.changed([job_id])
        return found

    async def poll(self, batch: ProviderBatch) -> None:
        now = self.services.clock.now()
        await self.lead(
            Polled(
                term=self.term, batch_key=batch.key, provider_status="in_progress", response=b"{}", polled_at=now,
                next_poll_at=now, failures=0,
            )
        )  # fmt: skip

    async def results(self, job_id: str, outcomes: Sequence[ItemStatus], *, whole: bool = True) -> None:
        """Bring the results of a submitted job of one provider batch; the job then ends unless not `whole`."""
        await self.lines(job_id, [result_text(index, status) for index, status in enumerate(outcomes)], whole=whole)

    async def lines(self, job_id: str, results: Sequence[str], *, whole: bool = True) -> None:
        """The same with results as the provider gives them."""
        job = await self.record(job_id)
        batch = (await self.database.read(batches.batches_of_job, job.key))[0]
        now = self.services.clock.now()
        await self.lead(
            BatchEnded(
                term=self.term, batch_key=batch.key, provider_status="ended", response=b"{}", at=now, next_poll_at=now
            )
        )
        rows = [ResultRow(index, msgspec.json.decode(line)["type"], line) for index, line in enumerate(results)]
        page = ResultPage(
            term=self.term, batch_key=batch.key, job_key=job.key, round=1, rows=tuple(rows),
            counts=Counter(row.status for row in rows), usage=Usage(), byte_size=1000,
        )  # fmt: skip
        await self.lead(page)
        if whole:
            await self.lead(BatchIngested(term=self.term, batch_key=batch.key, at=now))

    async def ended(self, outcomes: Sequence[ItemStatus], **options: Any) -> Any:
        """A job that has ended with these outcomes."""
        job = await self.batch(len(outcomes), **options)
        await self.submitted(job["id"])
        await self.results(job["id"], outcomes)
        return job

    async def staged(self) -> int:
        """How many keys there are whose items belong to no job, the sweeper's work left out."""
        recent = self.services.clock.now() - timedelta(days=365)
        query = sa.select(sa.func.count()).where(tables.loose_keys.c.touched_at > recent)
        return await self.database.read(lambda tx: tx.execute(query).scalar_one())


def request(number: int, **params: Any) -> dict[str, Any]:
    body = {"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], **params}
    return {"custom_id": f"c-{number}", "params": body}


def requests(count: int) -> list[dict[str, Any]]:
    return [request(number) for number in range(count)]


def lines(*values: Any) -> bytes:
    """NDJSON; bytes are lines as they are."""
    return b"".join((value if isinstance(value, bytes) else msgspec.json.encode(value)) + b"\n" for value in values)


def result_text(index: int, status: ItemStatus) -> str:
    if status is ItemStatus.ERRORED:
        return '{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"no"}}}'
    if status is ItemStatus.SUCCEEDED:
        return (
            f'{{"type":"succeeded","message":{{"content":[{{"text":"answer {index}"}}],"usage":{{"input_tokens":7}}}}}}'
        )
    return f'{{"type":"{status.value}"}}'


@asynccontextmanager
async def open_api(url: str = "sqlite://", *, limits: Limits = LIMITS, **options: Any) -> AsyncIterator[Api]:
    clock, random = TrioClock(), Random(0)
    ids = Ids(clock, random)
    database = open_database(url, random=random, in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=clock.now(), sleep=lambda _: None)
    keys = await make_keys(database, clock, ids)
    term = await database.write(fence.begin_term, term_id="term", instance_id="here", now=clock.now())
    rung: list[str] = []
    services = Services(
        database=database,
        clock=clock,
        ids=ids,
        changes=database.changes,
        limits=limits,
        work=lambda: rung.append("work"),
        poll_now=lambda: rung.append("poll"),
        **{
            "provider": "sandbox",
            "providers": frozenset({"sandbox", "anthropic"}),
            "allow_private_callbacks": False,
            "public_url": None,
            "status": instance_status,
            "ready": lambda: None,
            "version": "1.2.3",
            **options,
        },
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(services.live.run)
            nursery.start_soon(services.key_uses.run)
            yield Api(services=services, client=create_app(services).test_client(), term=term, keys=keys, rung=rung)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


def instance_status() -> InstanceStatus:
    return InstanceStatus(
        is_leader=True, refusal=None, writer_queue=4, background_tasks=2, polling_enabled=True, next_tick_at=None
    )


async def make_keys(database: Database, clock: TrioClock, ids: Ids) -> dict[str, str]:
    """`admin`, `write`, `read` of the operator's organization and `other`, an admin key of another one."""
    keys = {name: new_key() for name in ("admin", "write", "read", "other")}
    await database.write(
        accounts.bootstrap, key_hash=hash_key(keys["admin"]), prefix=shown_prefix(keys["admin"]),
        webhook_secret=new_secret(), now=clock.now(), ids=ids,
    )  # fmt: skip
    user = (await database.read(accounts.list_users, within=None))[0].id
    other = await database.write(second_organization, clock=clock)
    for name, owner, scope in (("write", user, "write"), ("read", user, "read"), ("other", other, "admin")):
        await database.write(
            accounts.create_key, user_id=owner, key_hash=hash_key(keys[name]), prefix=shown_prefix(keys[name]),
            scopes=[scope], name=name, expires_at=None, within=None, now=clock.now(), ids=ids,
        )  # fmt: skip
    return keys


def second_organization(tx: sa.Connection, *, clock: TrioClock) -> str:
    made = tx.execute(
        sa.insert(tables.organizations)
        .values(public_id="org-2", name="second", created_at=clock.now())
        .returning(tables.organizations.c.id)
    ).scalar_one()
    tx.execute(
        sa.insert(tables.users).values(
            public_id="user-00000000-0000-7000-8000-000000000002",
            organization_id=made,
            name="b",
            created_at=clock.now(),
        )
    )
    return "user-00000000-0000-7000-8000-000000000002"
