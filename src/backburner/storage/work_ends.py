"""What handlers came to, in the writer's transactions. Claims that are no longer current change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from backburner.commands import WorkCommand, WorkDeferred, WorkEnded, WorkProgressed
from backburner.completion import STOPPED_AS
from backburner.holds import WORTH_A_WORD, Hold, HoldCode
from backburner.ids import Ids
from backburner.states import JobStatus
from backburner.storage.columns import JsonText, Name, UtcDateTime
from backburner.storage.settle import finish_job
from backburner.storage.tables import jobs, work
from backburner.storage.work import give_back, leave
from backburner.times import rfc3339

PROGRESS = "progress"  # the member of the metadata that a handler's word goes to
C = TypeVar("C", WorkProgressed, WorkEnded, WorkDeferred)


def apply_work(tx: sa.Connection, commands: Sequence[WorkCommand], *, ids: Ids) -> tuple[list[str], bool]:
    """Record progress, ends and returns. Returns the ids of the jobs that changed, and whether a webhook is due."""
    live = _live(tx, {command.token: command.job_key for command in commands})
    _progress(tx, [c for c in commands if isinstance(c, WorkProgressed) and c.token in live], live)
    ended = _last([c for c in commands if isinstance(c, WorkEnded) and c.token in live])
    due = _end(tx, ended, live, ids)
    gone = {command.token for command in ended}
    deferred = [c for c in commands if isinstance(c, WorkDeferred) and c.token in live and c.token not in gone]
    due |= _defer(tx, _last(deferred), live, ids)
    return [job.public_id for job in live.values()], due


def _live(tx: sa.Connection, claims: Mapping[str, int]) -> dict[str, Any]:
    """The jobs of the claims that are current, locked in the order in which a cancel locks them."""
    keys = sorted(set(claims.values()))
    found = sa.select(
        jobs.c.id, jobs.c.public_id, jobs.c.stopping, jobs.c.callback_url, jobs.c.created_at, jobs.c.metadata
    ).where(jobs.c.id.in_(keys))
    rows = {row.id: row for row in tx.execute(found.order_by(jobs.c.id).with_for_update())}
    # Locked, or one that another instance takes back at this moment would end and stay in the queue.
    claimed = sa.select(work.c.token, work.c.job_id).where(work.c.token.in_(list(claims)))
    current = tx.execute(claimed.order_by(work.c.job_id).with_for_update())
    return {row.token: rows[row.job_id] for row in current}


def _last(commands: Sequence[C]) -> list[C]:
    return list({command.token: command for command in commands}.values())


_PROGRESS = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("key"))
    .values(
        metadata=sa.bindparam("merged", type_=JsonText),
        updated_at=sa.bindparam("at", type_=UtcDateTime),
        version=jobs.c.version + 1,
    )
)


def _progress(tx: sa.Connection, commands: Sequence[WorkProgressed], live: Mapping[str, Any]) -> None:
    rows = [
        {
            "key": command.job_key,
            "merged": {**live[command.token].metadata, PROGRESS: dict(command.progress)},
            "at": command.at,
        }
        for command in _last(commands)
    ]
    if rows:
        tx.execute(_PROGRESS, rows)


_END = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("key"), jobs.c.status == JobStatus.RUNNING)
    .values(
        status=sa.bindparam("ending", type_=Name(JobStatus)),
        stop_reason=sa.bindparam("reason"),
        result=sa.bindparam("outcome", type_=JsonText),
        error=sa.bindparam("problem", type_=JsonText),
        completed_at=sa.bindparam("at", type_=UtcDateTime),
        updated_at=sa.bindparam("at", type_=UtcDateTime),
        total_duration_ns=sa.func.coalesce(jobs.c.total_duration_ns, sa.bindparam("took")),
        version=jobs.c.version + 1,
    )
)


def _end(tx: sa.Connection, commands: Sequence[WorkEnded], live: Mapping[str, Any], ids: Ids) -> bool:
    """End jobs; all at once those that nobody is called back for. Says whether a webhook is due."""
    if not commands:
        return False
    tx.execute(sa.delete(work).where(work.c.token.in_([command.token for command in commands])))
    quiet = [command for command in commands if live[command.token].callback_url is None]
    if quiet:
        tx.execute(_END, [_row(command, live[command.token]) for command in quiet])
    loud = [command for command in commands if live[command.token].callback_url is not None]
    for command in loud:
        status, reason = _ending(command, live[command.token])
        outcome = {"result": command.result, "error": command.error}
        finish_job(tx, command.job_key, status, reason, now=command.at, ids=ids, **outcome)
    return bool(loud)


def _ending(command: WorkEnded, job: Any) -> tuple[JobStatus, str]:
    """A job that is being ended ends so, whatever its handler came to: an accepted cancel is kept."""
    if job.stopping is not None:
        return STOPPED_AS[job.stopping], job.stopping
    return command.status, command.reason


def _row(command: WorkEnded, job: Any) -> dict[str, Any]:
    status, reason = _ending(command, job)
    return {
        "key": command.job_key,
        "ending": status,
        "reason": reason,
        "outcome": command.result,
        "problem": command.error,
        "at": command.at,
        "took": _nanoseconds(job.created_at, command.at),
    }


def _nanoseconds(begin: datetime, end: datetime) -> int:
    return max(0, int((end - begin).total_seconds() * 1e9))


_SHOW_ERROR = (
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("key"))
    .values(
        error=sa.bindparam("problem", type_=JsonText),
        hold=sa.bindparam("waits", type_=JsonText),
        updated_at=sa.bindparam("at", type_=UtcDateTime),
        version=jobs.c.version + 1,
    )
)


def _defer(tx: sa.Connection, commands: Sequence[WorkDeferred], live: Mapping[str, Any], ids: Ids) -> bool:
    for command in commands:
        if (reason := live[command.token].stopping) is not None:
            leave(tx, command.job_key)
            finish_job(tx, command.job_key, STOPPED_AS[reason], reason, now=command.at, ids=ids)
    going_on = [command for command in commands if live[command.token].stopping is None]
    give_back(tx, [{"key": c.job_key, "due": c.available_at, "uncounted": 0 if c.counts else 1} for c in going_on])
    failed = [
        {"key": c.job_key, "problem": c.error, "waits": _hold(c), "at": c.at} for c in going_on if c.error is not None
    ]
    if failed:
        tx.execute(_SHOW_ERROR, failed)
    return any(live[c.token].stopping is not None and live[c.token].callback_url is not None for c in commands)


def _hold(command: WorkDeferred) -> Any:
    """What a job waits for whose handler has failed, when that takes more than a minute."""
    if command.available_at - command.at < WORTH_A_WORD:
        return None
    again = f"The handler has failed and is tried again at {rfc3339(command.available_at)}."
    return Hold(HoldCode.RETRY_WAITING, command.at, again).as_json()
