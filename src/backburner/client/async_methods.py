"""The same for `AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio.to_thread

from backburner.client import conversations, files, operations
from backburner.client.asks import Ask, Page
from backburner.client.async_connection import AsyncConnection
from backburner.client.async_streams import Rows
from backburner.client.conversations import Message, Run, Step
from backburner.client.files import PART_BYTES, File, FilePart, OnBytes, Uploadable, opened
from backburner.client.operations import AuditEntry, Key, Organization, User
from backburner.client.results import Job

T = TypeVar("T")


class AsyncMethods:
    """As `Methods`."""

    _connection: AsyncConnection

    async def _call(self, ask: Ask[T]) -> T:
        return await self._connection.call(ask)

    def _all(self, ask: Ask[Page[T]]) -> Rows[T]:
        return Rows(self._connection.call, ask)

    # --- conversations ---------------------------------------------------------------------------------------

    def runs(self, **filters: Any) -> Rows[Run]:
        return self._all(conversations.runs(filters))

    async def run(self, run_id: str) -> Run:
        return await self._call(conversations.run(run_id))

    async def start_run(self, params: Mapping[str, Any], *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Start one conversation of an agent. Fields as in `POST /v1/runs`: agent, agent_id, callback_url, …"""
        return await self._call(conversations.start_run(params, fields, idempotency_key))

    async def fork_run(self, run_id: str, *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Start a run that goes on from a step of another: `step` or `round`, and `params` that replace others."""
        return await self._call(conversations.fork_run(run_id, fields, idempotency_key))

    def steps(self, whose: str, **filters: Any) -> Rows[Step]:
        return self._all(conversations.steps(whose, filters))

    async def step(self, step_id: str) -> Step:
        return await self._call(conversations.step(step_id))

    def messages(self, whose: str, **filters: Any) -> Rows[Message]:
        return self._all(conversations.messages(whose, filters))

    # --- files -----------------------------------------------------------------------------------------------

    async def upload_file(
        self,
        source: Uploadable,
        *,
        name: str | None = None,
        resume: str | None = None,
        on_begun: Callable[[File], object] = lambda _file: None,
        on_progress: OnBytes = lambda _done, _total: None,
        idempotency_key: str | None = None,
    ) -> File:
        """As `Methods.upload_file`. The file is read in a worker thread."""
        with opened(source) as (file, known, size):
            begun = await self._call(
                files.file(resume) if resume else files.create_file(name or known, size, idempotency_key)
            )
            on_begun(begun)
            number, done = 0, 0
            while data := await anyio.to_thread.run_sync(file.read, PART_BYTES):
                number, done = number + 1, done + len(data)
                part = FilePart(number, data)
                if not begun.has(part):
                    await self._call(files.put_part(begun.id, part))
                on_progress(done, size)
        return await self._call(files.complete_file(begun.id, number))

    async def file(self, file_id: str) -> File:
        return await self._call(files.file(file_id))

    def files(self, **filters: Any) -> Rows[File]:
        return self._all(files.files(filters))

    async def delete_file(self, file_id: str) -> File:
        return await self._call(files.delete_file(file_id))

    async def ingest(self, *, idempotency_key: str | None = None, **given: Any) -> Job:
        """As `Methods.ingest`."""
        return await self._call(files.ingest(*files.divided(given), idempotency_key))

    # --- operations ------------------------------------------------------------------------------------------

    async def scheduler(self) -> dict[str, Any]:
        return await self._call(operations.scheduler())

    async def scheduler_do(self, action: str) -> dict[str, Any]:
        return await self._call(operations.scheduler_do(action))

    def provider_batches(self, **filters: Any) -> Rows[dict[str, Any]]:
        return self._all(operations.provider_batches(filters))

    async def provider_batch(self, batch_id: str) -> dict[str, Any]:
        return await self._call(operations.provider_batch(batch_id))

    async def provider_batch_do(self, batch_id: str, action: str, **fields: Any) -> dict[str, Any]:
        return await self._call(operations.provider_batch_do(batch_id, action, fields))

    async def provider_do(self, provider: str, action: str, **fields: Any) -> dict[str, Any]:
        return await self._call(operations.provider_do(provider, action, fields))

    def organizations(self) -> Rows[Organization]:
        return self._all(operations.organizations())

    async def create_organization(self, name: str, *, idempotency_key: str | None = None) -> Organization:
        return await self._call(operations.create_organization(name, idempotency_key))

    def users(self) -> Rows[User]:
        return self._all(operations.users())

    async def create_user(self, organization_id: str, name: str, *, idempotency_key: str | None = None) -> User:
        return await self._call(operations.create_user(organization_id, name, idempotency_key))

    def api_keys(self) -> Rows[Key]:
        return self._all(operations.keys())

    async def create_key(self, **fields: Any) -> Key:
        return await self._call(operations.create_key(fields))

    async def revoke_key(self, key_id: str) -> Key:
        return await self._call(operations.revoke_key(key_id))

    def audit(self, **filters: Any) -> Rows[AuditEntry]:
        return self._all(operations.audit(filters))

    async def webhook_secret(self) -> str:
        return await self._call(operations.webhook_secret())

    async def rotate_webhook_secret(self) -> str:
        return await self._call(operations.rotate_webhook_secret())

    async def ready(self) -> Mapping[str, Any]:
        return await self._call(operations.ready())
