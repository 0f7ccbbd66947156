"""Batches that a handler submits, and waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from backburner.claims import Claim
from backburner.clock import Clock
from backburner.errors import GiveUp, NotFound, QuotaExceeded, TooLarge, TryAgainLater
from backburner.http.items import check_in_steps
from backburner.ids import Ids
from backburner.intake import Intake, open_intake
from backburner.model import Job, NewItem, NewJob
from backburner.states import JobType
from backburner.steps import patiently
from backburner.storage import jobs
from backburner.storage.database import Database
from backburner.storage.handler_jobs import Child, child_of, make_child
from backburner.storage.items import results_page
from backburner.storage.patient import PatientDatabase
from backburner.storage.quotas import UNLIMITED, Quotas

LOOK_EVERY = 5.0  # seconds: a notification of another instance can be lost
PAGE = 1000  # results
MOST_FAULTS = 10  # named in one error
LONGEST_KEY = 255  # characters; an index cannot hold much more


@attrs.frozen(kw_only=True)
class ChildLimits:
    """How a batch is divided. Bytes and items of one provider batch."""

    chunk_items: int | None = None
    chunk_bytes: int = 16 * 1024 * 1024


@attrs.frozen(kw_only=True)
class BatchChildren:
    """Makes the children of any claim."""

    database: Database
    clock: Clock
    ids: Ids
    provider: str
    limits: ChildLimits
    work: Callable[[], None]  # there is something to submit
    quotas: Quotas = UNLIMITED

    @property
    def patient(self) -> PatientDatabase:
        """That the database is away for a moment is no fault of the handler's."""
        return PatientDatabase(self.database)

    def of(self, claim: Claim) -> ClaimChildren:
        return ClaimChildren(self, claim)

    async def ended(self, organization_key: int, job_id: str) -> Job:
        with self.database.changes.listening(job_id) as ear:
            while True:
                job = await self.patient.read(jobs.get_job, organization_key, job_id)
                if job.status.is_terminal:
                    return job
                await ear.heard(LOOK_EVERY)


@attrs.frozen
class ClaimChildren:
    """The batches of one job, whichever attempt made them."""

    common: BatchChildren
    claim: Claim

    @property
    def organization_key(self) -> int:
        return self.claim.organization_key

    async def known(self, key: str) -> str | None:
        """The id of the batch that some attempt has made under this key; None when none has."""
        return await self.common.patient.read(child_of, Child(self.claim.job_id, key))

    async def submit(self, requests: Sequence[Mapping[str, Any]], *, key: str, **options: Any) -> str:
        """The id of the batch with this key, made now if there is none.

        Raises GiveUp for requests or a key that are wrong.
        """
        common = self.common
        if len(key) > LONGEST_KEY or "\0" in key:
            raise GiveUp(f"A batch's key has at most {LONGEST_KEY} characters and no NUL.", code="invalid_key")
        known = await self.known(key)
        if known is not None:
            return known
        intake = await open_intake(common.database, common.clock, common.ids)
        for position, request in enumerate(requests):
            await intake.add(await _item(request, position))
        await intake.flush()
        if intake.duplicates or not intake.count:
            await intake.drop()
            raise GiveUp(_refusal(intake.duplicates), code="invalid_requests")
        return await self._make(intake, key, **options)

    async def _make(
        self, intake: Intake, key: str, *, priority: int = 0, metadata: dict[str, Any] | None = None
    ) -> str:
        return await self.make(intake, key, priority=priority, metadata=metadata or {})

    async def make(self, intake: Intake, key: str, *, chunk_items: int | None = None, **job: Any) -> str:
        """Make the batch appear whose items were taken in; `job` are fields of its `NewJob`.

        Raises TryAgainLater when the organization has no room for it now, GiveUp when it never has, and Conflict when
        the job has passed to another attempt.
        """
        common = self.common
        limits, now = common.limits, common.clock.now()
        planned = await intake.plan(chunk_items=chunk_items or limits.chunk_items, chunk_bytes=limits.chunk_bytes)
        new = NewJob(
            id=common.ids.new("job"),
            job_type=JobType.BATCH,
            organization_key=self.claim.organization_key,
            user_key=self.claim.user_key,
            created_at=now,
            **{"provider": common.provider, **job},
        )
        child = Child(self.claim.job_id, key, self.claim.token)
        try:
            child_id = await common.patient.write(
                make_child, child, intake.key, new, planned, now=now, quotas=common.quotas
            )
        except QuotaExceeded as error:
            raise TryAgainLater(str(error), seconds=error.retry_after) from error
        except TooLarge as error:
            raise GiveUp(str(error), code="request_too_large") from error
        common.work()
        return child_id

    async def results(self, job_id: str) -> list[dict[str, Any]]:
        """Raises GiveUp for a batch that does not exist."""
        try:
            job = await self.common.ended(self.claim.organization_key, job_id)
        except NotFound as error:
            raise GiveUp(str(error), code="not_found") from error
        found: list[dict[str, Any]] = []
        after: int | None = -1
        while after is not None:
            text, after = await self.common.patient.read(results_page, job, statuses=(), after=after, limit=PAGE)
            found += [msgspec.json.decode(line) for line in text.splitlines()]
        return found


async def _item(request: Mapping[str, Any], position: int) -> NewItem:
    checked = await patiently(check_in_steps(msgspec.json.encode(dict(request))))
    if isinstance(checked, list):
        fault = checked[0]
        raise GiveUp(f"Request {position}: {fault.param or 'request'}: {fault.message}", code="invalid_requests")
    params = checked.params.decode()
    return NewItem(checked.custom_id, params, len(checked.params), checked.agent_id)


def _refusal(duplicates: Sequence[tuple[int, int]]) -> str:
    if not duplicates:
        return "A batch has at least one request."
    named = ", ".join(f"{later} (as {earlier})" for later, earlier in duplicates[:MOST_FAULTS])
    return f"Some requests have the custom_id of an earlier one: {named}."
