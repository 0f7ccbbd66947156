"""What an operator asks and decides about provider batches, one function each. None of it needs the office."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from backburner.errors import Conflict, NotFound
from backburner.ids import Ids
from backburner.model import Job, ProviderBatch
from backburner.states import BATCH_FINAL, BatchStatus, ItemStatus
from backburner.storage.batches import POLLED, UNSETTLED, attach, settled
from backburner.storage.notifications import announce_work
from backburner.storage.pages import Cut, page_of
from backburner.storage.rows import batch_of, select_batches
from backburner.storage.settle import close_batch
from backburner.storage.statements import sorting
from backburner.storage.tables import is_undecided, provider_batches

#: What `provider_status` says of an adopted batch until it has been looked at.
ADOPTED = "in_progress"


def list_batches(tx: sa.Connection, *, statuses: Sequence[BatchStatus], cut: Cut) -> tuple[list[ProviderBatch], bool]:
    """A page of everybody's provider batches in these statuses, and whether there is more. No statuses: any."""
    found = select_batches()
    if statuses:
        found = found.where(provider_batches.c.status.in_(list(statuses)))
    rows, has_more = page_of(tx, found, provider_batches.c.public_id, cut)
    return [batch_of(row) for row in rows], has_more


def find_batch(tx: sa.Connection, public_id: str) -> ProviderBatch:
    """One provider batch by its public id. Raises NotFound."""
    row = tx.execute(select_batches().where(provider_batches.c.public_id == public_id)).first()
    if row is None:
        raise NotFound("provider batch", public_id)
    return batch_of(row)


def unresolved(tx: sa.Connection) -> list[ProviderBatch]:
    """Batches whose submission nobody could reconcile, or is being reconciled."""
    found = select_batches().where(is_undecided(), provider_batches.c.status.in_(UNSETTLED))
    return [batch_of(row) for row in tx.execute(found.order_by(sorting(provider_batches.c.id)))]


def abandon(tx: sa.Connection, public_id: str, *, now: datetime, ids: Ids) -> Job | None:
    """Give up a batch that is unresolved, or that the provider denies: its items are errored.

    Raises NotFound and Conflict. Returns a job this ended.
    """
    batch = find_batch(tx, public_id)
    allowed = UNSETTLED if batch.not_found_since is None else (*UNSETTLED, *POLLED)
    job_key = close_batch(tx, batch.key, fill=ItemStatus.ERRORED, code="abandoned", now=now, allowed=allowed)
    if job_key is None:
        message = "Only a batch that is unknown or quarantined, or that the provider answers 404 for, can be abandoned."
        raise Conflict("batch_not_unresolved", message)
    return settled(tx, job_key, now=now, ids=ids)


def adopt(tx: sa.Connection, public_id: str, provider_batch_id: str, *, now: datetime) -> ProviderBatch:
    """Say which provider batch an unresolved submission made; done twice it changes nothing.

    It is polled at once. Should its results show that it is somebody else's, the adoption is undone and the search
    goes on. Raises NotFound, and Conflict for a batch whose fate is known and for a provider batch that is known to
    be another's.
    """
    # Locked, or it could be sent again between the look at its status and the adoption.
    mine = sa.select(provider_batches.c.id).where(provider_batches.c.public_id == public_id)
    tx.execute(mine.with_for_update())
    batch = find_batch(tx, public_id)
    if batch.provider_batch_id != provider_batch_id:
        _require_free(tx, batch, provider_batch_id)
        taken = attach(
            tx,
            batch.key,
            provider_batch_id=provider_batch_id,
            status=ADOPTED,
            response=None,
            now=now,
            next_poll_at=now,
        )
        if batch.status not in UNSETTLED or not taken:
            raise Conflict("batch_not_unresolved", "Only an unknown or quarantined batch can adopt a provider batch.")
        tx.execute(sa.update(provider_batches).where(provider_batches.c.id == batch.key).values(by_hand=True))
    announce_work(tx)
    return find_batch(tx, public_id)


def _require_free(tx: sa.Connection, batch: ProviderBatch, provider_batch_id: str) -> None:
    holder = tx.execute(
        sa.select(provider_batches.c.public_id).where(
            provider_batches.c.provider == batch.provider, provider_batches.c.provider_batch_id == provider_batch_id
        )
    ).scalar()
    if holder is not None:
        raise Conflict("provider_batch_taken", f"{provider_batch_id} is the provider batch of {holder}.")
    ruled_out = tx.execute(sa.select(provider_batches.c.not_ours).where(provider_batches.c.id == batch.key)).scalar()
    if provider_batch_id in (ruled_out or ()):
        raise Conflict("provider_batch_taken", f"The results of {provider_batch_id} are of other requests.")


def look_now(tx: sa.Connection, public_id: str, *, now: datetime) -> ProviderBatch:
    """Make a batch due, whatever it was waiting for. Raises NotFound, and Conflict for one that is final."""
    due = tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.public_id == public_id, provider_batches.c.status.not_in(list(BATCH_FINAL)))
        .values(next_poll_at=now)
    )
    batch = find_batch(tx, public_id)
    if not due.rowcount:
        raise Conflict("batch_final", f"The batch is {batch.status}; there is nothing to look for.")
    announce_work(tx)
    return batch
