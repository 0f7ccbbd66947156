"""Telling what a transaction changed: this instance when it has committed, the others through PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

CHANNEL = "backburner"
WORK = "work"  # something to submit, poll or deliver
JOB = "job:"  # followed by a job's public id
MOST = 200  # jobs named in one transaction; beyond that `ALL` is said, since each notification costs a round trip
ALL = "jobs"
STEP_DOWN = "step-down:"  # followed by the epoch of the term that is to end
CHANGED = "backburner.changed"  # in a connection's `info`: the list that gathers for this instance


def announce_work(tx: sa.Connection) -> None:
    """Ring the bells of every instance when this transaction commits."""
    _notify(tx, [WORK])


def announce_jobs(tx: sa.Connection, public_ids: Sequence[str]) -> None:
    """Wake whoever waits for these jobs when this transaction commits."""
    if not public_ids:
        return
    tx.info.get(CHANGED, []).extend(public_ids)
    _notify(tx, [ALL] if len(public_ids) > MOST else [JOB + public_id for public_id in public_ids])


def announce_step_down(tx: sa.Connection, epoch: int) -> None:
    """Ask the leader of a term to give it up when this transaction commits."""
    _notify(tx, [f"{STEP_DOWN}{epoch}"])


def _notify(tx: sa.Connection, payloads: Sequence[str]) -> None:
    if tx.dialect.name == "postgresql":
        notify = sa.text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS payload")
        tx.execute(notify, {"channel": CHANNEL, "payloads": list(payloads)})
