"""What an operator sees of the whole server, and the switches in reach."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.errors import Conflict
from backburner.storage.batches import POLLED, open_batch_counts
from backburner.storage.deliveries import pending_deliveries
from backburner.storage.facts import (
    LAST_CYCLE,
    POLLING,
    ProviderState,
    get_fact,
    is_polling,
    provider_states,
    set_fact,
    set_provider,
)
from backburner.storage.fence import current_leader
from backburner.storage.jobs import job_counts
from backburner.storage.notifications import announce_step_down, announce_work
from backburner.storage.tables import is_open, provider_batches


@attrs.frozen(kw_only=True)
class Overview:
    """The server as the database shows it, all of one moment."""

    leader: tuple[str, int, datetime] | None  #: instance, epoch, beginning of the newest term
    polling: bool  #: not paused by hand
    last_cycle: Any  #: the metrics of the last polling cycle; None before the first
    open_batches: Mapping[str, int]  #: by status
    oldest_next_poll_at: datetime | None
    deliveries_pending: int
    providers: tuple[ProviderState, ...]  #: those that were used, by name
    active_jobs: Mapping[str, int]  #: by status


_EARLIEST = sa.select(sa.func.min(provider_batches.c.next_poll_at)).where(
    is_open(), provider_batches.c.status.in_(POLLED)
)


def overview(tx: sa.Connection) -> Overview:
    """Everything at once."""
    return Overview(
        leader=current_leader(tx),
        polling=is_polling(tx),
        last_cycle=get_fact(tx, LAST_CYCLE),
        open_batches=open_batch_counts(tx),
        oldest_next_poll_at=_oldest_next_poll(tx),
        deliveries_pending=pending_deliveries(tx),
        providers=tuple(provider_states(tx)),
        active_jobs=job_counts(tx),
    )


def _oldest_next_poll(tx: sa.Connection) -> datetime | None:
    return tx.execute(_EARLIEST).scalar()


def ask_to_step_down(tx: sa.Connection) -> int:
    """Ask the leader, on whichever instance, to give up its term; returns the epoch. Raises Conflict without one."""
    leader = current_leader(tx)
    if leader is None:
        raise Conflict("no_leader", "No instance has led yet.")
    _, epoch, _ = leader
    announce_step_down(tx, epoch)
    return epoch


def pause(tx: sa.Connection, *, now: datetime) -> None:
    """Stop polling and submitting, on every instance, until `resume`."""
    set_fact(tx, POLLING, False, now=now)


def resume(tx: sa.Connection, *, now: datetime) -> None:
    """Poll and submit again; a provider that waits for a person is tried again."""
    set_fact(tx, POLLING, True, now=now)
    for found in provider_states(tx):
        if found.state == "paused":
            set_provider(tx, ProviderState(name=found.name, state="active", reason=None, retry_at=None), now=now)
    announce_work(tx)
