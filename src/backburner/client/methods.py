"""Those methods of `Client` that only ask and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from backburner.client import conversations, files, operations
from backburner.client.asks import Ask, Page
from backburner.client.connection import Connection
from backburner.client.conversations import Message, Run, Step
from backburner.client.files import PART_BYTES, File, FilePart, OnBytes, Uploadable, opened
from backburner.client.operations import AuditEntry, Key, Organization, User
from backburner.client.results import Job

T = TypeVar("T")


class Methods:
    """What a client can ask about conversations and the server itself."""

    _connection: Connection

    def _call(self, ask: Ask[T]) -> T:
        return self._connection.call(ask)

    def _all(self, ask: Ask[Page[T]] | None) -> Iterator[T]:
        while ask is not None:
            page = self._call(ask)
            yield from page.rows
            ask = page.following

    # --- conversations ---------------------------------------------------------------------------------------

    def runs(self, **filters: Any) -> Iterator[Run]:
        """Newest first. Filters are the query parameters of `GET /v1/runs`: agent_id, status, order, …"""
        return self._all(conversations.runs(filters))

    def run(self, run_id: str) -> Run:
        return self._call(conversations.run(run_id))

    def start_run(self, params: Mapping[str, Any], *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Start one conversation of an agent. Fields as in `POST /v1/runs`: agent, agent_id, callback_url, …"""
        return self._call(conversations.start_run(params, fields, idempotency_key))

    def fork_run(self, run_id: str, *, idempotency_key: str | None = None, **fields: Any) -> Job:
        """Start a run that goes on from a step of another: `step` or `round`, and `params` that replace others."""
        return self._call(conversations.fork_run(run_id, fields, idempotency_key))

    def steps(self, whose: str, **filters: Any) -> Iterator[Step]:
        """Of the job or the run with this id, oldest first; `item="…"` chooses one item of a job by its custom id."""
        return self._all(conversations.steps(whose, filters))

    def step(self, step_id: str) -> Step:
        return self._call(conversations.step(step_id))

    def messages(self, whose: str, **filters: Any) -> Iterator[Message]:
        """Of the job, the run or the step with this id, oldest first; `item` as for `steps`."""
        return self._all(conversations.messages(whose, filters))

    # --- files -----------------------------------------------------------------------------------------------

    def upload_file(
        self,
        source: Uploadable,
        *,
        name: str | None = None,
        resume: str | None = None,
        on_begun: Callable[[File], object] = lambda _file: None,
        on_progress: OnBytes = lambda _done, _total: None,
        idempotency_key: str | None = None,
    ) -> File:
        """Upload a path or an open binary file, in parts.

        After a failure, `resume` with the id of the file that was begun: parts that are there are not sent again.
        `on_progress` is told how many bytes are there, of how many.
        """
        with opened(source) as (file, known, size):
            begun = self._call(
                files.file(resume) if resume else files.create_file(name or known, size, idempotency_key)
            )
            on_begun(begun)
            number, done = 0, 0
            while data := file.read(PART_BYTES):
                number, done = number + 1, done + len(data)
                part = FilePart(number, data)
                if not begun.has(part):
                    self._call(files.put_part(begun.id, part))
                on_progress(done, size)
        return self._call(files.complete_file(begun.id, number))

    def file(self, file_id: str) -> File:
        return self._call(files.file(file_id))

    def files(self, **filters: Any) -> Iterator[File]:
        """Newest first."""
        return self._all(files.files(filters))

    def delete_file(self, file_id: str) -> File:
        return self._call(files.delete_file(file_id))

    def ingest(self, *, idempotency_key: str | None = None, **given: Any) -> Job:
        """A job that makes a batch of a file: `file_id` or `path`, `format`, `template`, `defaults`, `metadata`, …

        They are the input of the handler `ingest_file`; `job_metadata` and `job_callback_url` are those of the job that
        reads the file. The batch is in its `result["job_id"]`.
        """
        return self._call(files.ingest(*files.divided(given), idempotency_key))

    # --- operations ------------------------------------------------------------------------------------------

    def scheduler(self) -> dict[str, Any]:
        return self._call(operations.scheduler())

    def scheduler_do(self, action: str) -> dict[str, Any]:
        """`action` is poll, pause, resume or step-down."""
        return self._call(operations.scheduler_do(action))

    def provider_batches(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Everybody's, newest first. Filters are the query parameters of `GET /v1/admin/batches`."""
        return self._all(operations.provider_batches(filters))

    def provider_batch(self, batch_id: str) -> dict[str, Any]:
        return self._call(operations.provider_batch(batch_id))

    def provider_batch_do(self, batch_id: str, action: str, **fields: Any) -> dict[str, Any]:
        """`action` is adopt (with `provider_batch_id`), abandon or poll."""
        return self._call(operations.provider_batch_do(batch_id, action, fields))

    def provider_do(self, provider: str, action: str, **fields: Any) -> dict[str, Any]:
        """For a provider that is not configured: `action` is move-batches (with `to`) or end-batches."""
        return self._call(operations.provider_do(provider, action, fields))

    def organizations(self) -> Iterator[Organization]:
        """All of them for the operator; their own for other admins."""
        return self._all(operations.organizations())

    def create_organization(self, name: str, *, idempotency_key: str | None = None) -> Organization:
        """For the operator only."""
        return self._call(operations.create_organization(name, idempotency_key))

    def users(self) -> Iterator[User]:
        return self._all(operations.users())

    def create_user(self, organization_id: str, name: str, *, idempotency_key: str | None = None) -> User:
        return self._call(operations.create_user(organization_id, name, idempotency_key))

    def api_keys(self) -> Iterator[Key]:
        """Those that were not revoked, without their secrets."""
        return self._all(operations.keys())

    def create_key(self, **fields: Any) -> Key:
        """The new key with its secret. Not repeated when the answer is lost: a replay would lack the secret."""
        return self._call(operations.create_key(fields))

    def revoke_key(self, key_id: str) -> Key:
        return self._call(operations.revoke_key(key_id))

    def audit(self, **filters: Any) -> Iterator[AuditEntry]:
        """What was done, newest first. Filters: action, object_id, key_id, user_id, created_after, created_before."""
        return self._all(operations.audit(filters))

    def webhook_secret(self) -> str:
        """The organization's signing secret, `whsec_…`."""
        return self._call(operations.webhook_secret())

    def rotate_webhook_secret(self) -> str:
        """A new signing secret; the one before signs beside it for a day. Not repeated when the answer is lost."""
        return self._call(operations.rotate_webhook_secret())

    def ready(self) -> Mapping[str, Any]:
        """What `/readyz` says. Raises ApiError (503) while the database is away."""
        return self._call(operations.ready())
