"""Both databases for the conformance suite, and the rows that its tests begin with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

import attrs
import sqlalchemy as sa

from backburner.clock import TrioClock
from backburner.ids import Ids
from backburner.model import Job, NewItem, NewJob, PlannedBatch, ProviderBatch, Term
from backburner.states import JobType
from backburner.storage import accounts, batches, fence, staging

SEEDS = count()  # some tests commit, and no id comes twice
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@attrs.define
class FixedClock(TrioClock):
    """Stands still, and needs no Trio."""

    def now(self) -> datetime:
        return NOW


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@attrs.frozen
class Stock:
    """Makes rows in one transaction, for the organization and user 1 that are there."""

    tx: sa.Connection
    ids: Ids = attrs.field(factory=lambda: Ids(FixedClock(), Random(next(SEEDS))))

    def first_organization(self) -> None:
        accounts.bootstrap(self.tx, key_hash="h", prefix="bb_", webhook_secret="whsec_eA==", now=NOW, ids=self.ids)

    def job(self, items: int = 6, *, chunk: int = 3, at: datetime = NOW, **job: object) -> Job:
        """A batch job with its items and requests, its provider batches planned."""
        key = staging.draw_key(self.tx, now=at)
        new = [NewItem(f"item-{n}", f'{{"n":{n}}}', 7) for n in range(items)]
        assert staging.stage_items(self.tx, key, 0, new, now=at) == []
        planned = [
            PlannedBatch(self.ids.new("batch"), self.ids.nonce(), first, min(first + chunk, items) - 1, 100)
            for first in range(0, items, chunk)
        ]
        return staging.make_job(self.tx, key, self.new_job(at=at, **job), planned, now=at)

    def new_job(self, *, at: datetime = NOW, **job: object) -> NewJob:
        defaults = {"id": self.ids.new("job"), "job_type": JobType.BATCH, "organization_key": 1, "user_key": 1}
        return NewJob(**{**defaults, "created_at": at, "provider": "sandbox", **job})

    def batches(self, job: Job) -> list[ProviderBatch]:
        return batches.batches_of_job(self.tx, job.key)

    def submitted(self, job: Job, *, at: datetime = NOW) -> list[ProviderBatch]:
        """The job's batches, at the provider."""
        for batch in self.batches(job):
            batches.begin_attempt(self.tx, batch.key, epoch=1, now=at)
            name = f"msgbatch_{batch.key}"
            seen = {"status": "in_progress", "response": b"{}", "now": at, "next_poll_at": at}
            batches.attach(self.tx, batch.key, provider_batch_id=name, **seen)
        return self.batches(job)

    def term(self) -> Term:
        return fence.begin_term(self.tx, term_id="term", instance_id="here", now=NOW)
