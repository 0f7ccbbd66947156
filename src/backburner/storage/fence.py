"""The first statement of every leader transaction: is the term still the current one?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from backburner.errors import LeadershipLost
from backburner.model import Term
from backburner.storage.statements import bound
from backburner.storage.tables import leader_epoch, leader_heartbeat, leader_history

P = ParamSpec("P")
T = TypeVar("T")

NAME = "default"  # of the one leadership there is

_CURRENT = (
    sa.select(leader_epoch.c.epoch)
    .where(
        leader_epoch.c.name == NAME,
        leader_epoch.c.epoch == bound("epoch", leader_epoch.c.epoch),
        leader_epoch.c.term_id == bound("term_id", leader_epoch.c.term_id),
    )
    .with_for_update(read=True)
)
_NEWEST = sa.select(leader_epoch).where(leader_epoch.c.name == NAME, leader_epoch.c.epoch > 0)


def fenced(
    tx: sa.Connection, term: Term, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call work(tx, …) in a transaction of `term`. Raises LeadershipLost, and changes nothing, when it is over."""
    fence(tx, term)
    return work(tx, *args, **kwargs)


def fence(tx: sa.Connection, term: Term) -> None:
    """Raise LeadershipLost unless `term` is current, and keep it current until this transaction ends.

    FOR SHARE makes the next term's UPDATE wait for this transaction. A plain SELECT would let an old leader pass the
    check, a new one begin, and the old one commit after it. On SQLite there is one writer at a time anyway.
    """
    if tx.execute(_CURRENT, {"epoch": term.epoch, "term_id": term.term_id}).first() is None:
        raise LeadershipLost(f"Term {term.epoch} is over.")


def begin_term(tx: sa.Connection, *, term_id: str, instance_id: str, now: datetime) -> Term:
    """Begin a new term; every older one is over when this commits."""
    epoch = tx.execute(
        sa.update(leader_epoch)
        .where(leader_epoch.c.name == NAME)
        .values(epoch=leader_epoch.c.epoch + 1, term_id=term_id, instance_id=instance_id, acquired_at=now)
        .returning(leader_epoch.c.epoch)
    ).scalar_one()
    tx.execute(sa.update(leader_heartbeat).where(leader_heartbeat.c.name == NAME).values(epoch=epoch, renewed_at=now))
    tx.execute(sa.insert(leader_history).values(epoch=epoch, term_id=term_id, instance_id=instance_id, acquired_at=now))
    return Term(epoch=epoch, term_id=term_id, instance_id=instance_id)


def end_term(tx: sa.Connection, term: Term, *, now: datetime, reason: str) -> None:
    """Note when and why a term ended."""
    tx.execute(
        sa.update(leader_history)
        .where(leader_history.c.epoch == term.epoch, leader_history.c.term_id == term.term_id)
        .values(ended_at=now, reason=reason)
    )


def current_leader(tx: sa.Connection) -> tuple[str, int, datetime] | None:
    """Instance, epoch and beginning of the newest term, or None before the first."""
    row = tx.execute(_NEWEST).first()
    return None if row is None else (row.instance_id, row.epoch, row.acquired_at)
