"""A group of the bulk writer's commands becomes one transaction here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from backburner.commands import (
    BatchEnded,
    BatchIngested,
    BatchLost,
    Command,
    DeliveryAttempted,
    FreeCommand,
    LeaderCommand,
    NotOurs,
    Polled,
    ReadFailed,
    ResultPage,
    ToolFinished,
    Unchanged,
    WorkCommand,
)
from backburner.ids import Ids
from backburner.model import Term
from backburner.states import BatchStatus
from backburner.storage import batches, results, submissions
from backburner.storage.columns import UtcDateTime
from backburner.storage.deliveries import record_attempts
from backburner.storage.fence import fence
from backburner.storage.ledger import finish_calls
from backburner.storage.notifications import announce_jobs
from backburner.storage.settle import mark_ended, mark_ingested
from backburner.storage.tables import jobs, provider_batches
from backburner.storage.work_ends import apply_work

C = TypeVar("C")

KEYS_AT_ONCE = 1000  # in one statement


@attrs.frozen(kw_only=True)
class Applied:
    """What a group of commands changed."""

    jobs: tuple[str, ...] = ()  # public ids of the jobs whose state, counts or provider batches changed
    stored_results: int = 0
    callbacks_due: bool = False
    places_freed: bool = False  # in the provider's queue; or a submission is to be looked for
    rounds_due: bool = False  # conversations of agents may go on
    uncertain: bool = False  # an earlier try may have been committed: then more has changed than is said here


def apply_leader_commands(
    tx: sa.Connection, term: Term, commands: Sequence[LeaderCommand], *, now: datetime, ids: Ids
) -> Applied:
    """Apply commands of one term. Raises LeadershipLost, and changes nothing, when it is over.

    They are applied kind by kind. That keeps the order of each sender: a poller sends what it polled before the end
    it saw, that before the results, and those before the verdict on the whole.
    """
    fence(tx, term)
    _record_polls(tx, _only(commands, Polled))
    _record_unchanged(tx, _only(commands, Unchanged))
    ended = _only(commands, BatchEnded)
    for command in ended:
        mark_ended(tx, command.batch_key, _seen(command), command.at)
    pages = _only(commands, ResultPage)
    stored = results.store_pages(tx, pages, now=now) if pages else 0
    _record_failed_reads(tx, _only(commands, ReadFailed))
    disowned = _only(commands, NotOurs)
    for wrong in disowned:
        submissions.rule_out(tx, wrong.batch_key, [wrong.provider_batch_id], look_at=wrong.at)
    touched = {page.job_key for page in pages}
    touched |= _jobs_of(tx, [command.batch_key for command in ended])
    finished = _ingest(tx, _only(commands, BatchIngested), ids)
    lost = _only(commands, BatchLost)
    finished |= _lose(tx, lost, ids)
    went_on = finish_calls(tx, _only(commands, ToolFinished))
    changed = results.job_ids_of(tx, touched | finished.keys())
    announce_jobs(tx, changed)
    return Applied(
        jobs=tuple(changed),
        stored_results=stored,
        callbacks_due=any(finished.values()),
        places_freed=bool(ended or disowned or lost),
        rounds_due=went_on or any(page.of_agents for page in pages),
    )


def apply_free_commands(tx: sa.Connection, commands: Sequence[FreeCommand], *, ids: Ids) -> Applied:
    """Apply what any instance may write: attempts of webhooks, and what handlers say."""
    changed = record_attempts(tx, attempted) if (attempted := _only(commands, DeliveryAttempted)) else []
    due = False
    if said := [command for command in commands if isinstance(command, WorkCommand)]:
        worked, due = apply_work(tx, said, ids=ids)
        changed = [*changed, *worked]
    announce_jobs(tx, changed)
    return Applied(jobs=tuple(changed), callbacks_due=due)


def _only(commands: Sequence[Command], kind: type[C]) -> list[C]:
    return [command for command in commands if isinstance(command, kind)]


def _seen(command: BatchEnded) -> dict[str, Any]:
    made = {} if command.created_at is None else {"provider_created_at": command.created_at}
    return made | {
        "provider_status": command.provider_status,
        "latest_polling_response": command.response.decode(),
        "last_polled_at": command.at,
        "next_poll_at": command.next_poll_at,
        "poll_failures": 0,
        "not_found_since": None,
        "error": None,
    }


_IS_STOPPING = sa.select(jobs.c.id).where(jobs.c.id == provider_batches.c.job_id, jobs.c.stopping.is_not(None)).exists()
_POLLED = (
    sa.update(provider_batches)
    .where(provider_batches.c.id == sa.bindparam("key"), provider_batches.c.status == BatchStatus.SUBMITTED)
    .values(
        provider_status=sa.func.coalesce(
            sa.bindparam("status_seen", type_=sa.Text), provider_batches.c.provider_status
        ),
        latest_polling_response=sa.func.coalesce(
            sa.bindparam("response", type_=sa.Text), provider_batches.c.latest_polling_response
        ),
        last_polled_at=sa.bindparam("at", type_=UtcDateTime),
        next_poll_at=sa.bindparam("due", type_=UtcDateTime),
        poll_failures=sa.bindparam("failures"),
        error=sa.bindparam("problem"),
        not_found_since=sa.bindparam("denied", type_=UtcDateTime),
        provider_created_at=sa.func.coalesce(
            sa.bindparam("made", type_=UtcDateTime), provider_batches.c.provider_created_at
        ),
        cancel_sent_at=sa.func.coalesce(
            sa.bindparam("cancelled", type_=UtcDateTime), provider_batches.c.cancel_sent_at
        ),
    )
)


def _record_polls(tx: sa.Connection, commands: Sequence[Polled]) -> None:
    if commands:
        tx.execute(
            _POLLED,
            [
                {
                    "key": polled.batch_key,
                    "status_seen": polled.provider_status,
                    "response": None if polled.response is None else polled.response.decode(),
                    "at": polled.polled_at,
                    "due": polled.next_poll_at,
                    "failures": polled.failures,
                    "problem": polled.error,
                    "denied": polled.not_found_since,
                    "made": polled.created_at,
                    "cancelled": polled.cancel_sent_at,
                }
                for polled in commands
            ],
        )
        unaware = [polled.batch_key for polled in commands if not polled.knew_stopping]
        _hurry(tx, unaware, at=min(polled.polled_at for polled in commands))


def _hurry(tx: sa.Connection, keys: Sequence[int], *, at: datetime) -> None:
    """Of a batch whose job came to be ended meanwhile the provider has to hear at once.

    After the update, in a statement of its own: on PostgreSQL one that had to wait for the cancel does not see it.
    """
    waiting = provider_batches.c.status == BatchStatus.SUBMITTED, provider_batches.c.next_poll_at > at
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = provider_batches.c.id.in_(keys[start : start + KEYS_AT_ONCE])
        tx.execute(sa.update(provider_batches).where(some, *waiting, _IS_STOPPING).values(next_poll_at=at))


def _record_unchanged(tx: sa.Connection, commands: Sequence[Unchanged]) -> None:
    for command in commands:
        for due, keys in command.due.items():
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = provider_batches.c.id.in_(keys[start : start + KEYS_AT_ONCE])
                tx.execute(
                    sa.update(provider_batches)
                    .where(some, provider_batches.c.status == BatchStatus.SUBMITTED)
                    .values(last_polled_at=command.polled_at, next_poll_at=due)
                )
            _hurry(tx, keys, at=command.polled_at)


def _record_failed_reads(tx: sa.Connection, commands: Sequence[ReadFailed]) -> None:
    for command in commands:
        tx.execute(
            sa.update(provider_batches)
            .where(provider_batches.c.id == command.batch_key, provider_batches.c.status == BatchStatus.ENDED)
            .values(
                reads=command.reads,
                poll_failures=command.failures,
                next_poll_at=command.next_poll_at,
                error=command.error,
                not_found_since=command.not_found_since,
            )
        )


def _jobs_of(tx: sa.Connection, batch_keys: Sequence[int]) -> set[int]:
    if not batch_keys:
        return set()
    return set(tx.execute(_JOBS_OF, {"keys": batch_keys}).scalars())


_JOBS_OF = sa.select(provider_batches.c.job_id).where(provider_batches.c.id.in_(sa.bindparam("keys", expanding=True)))


def _ingest(tx: sa.Connection, commands: Sequence[BatchIngested], ids: Ids) -> dict[int, bool]:
    """Jobs that a finished batch belongs to → whether that made a webhook due."""
    touched: dict[int, bool] = {}
    for command in commands:
        job_key = mark_ingested(tx, command.batch_key, command.at)
        if job_key is not None:
            job = batches.settled(tx, job_key, now=command.at, ids=ids)
            touched[job_key] = touched.get(job_key, False) or (job is not None and job.callback_url is not None)
    return touched


def _lose(tx: sa.Connection, commands: Sequence[BatchLost], ids: Ids) -> dict[int, bool]:
    """Jobs that a lost batch belongs to → whether that made a webhook due."""
    touched: dict[int, bool] = {}
    for command in commands:
        job_key, job = batches.lose(tx, command.batch_key, now=command.at, ids=ids)
        if job_key is not None:
            touched[job_key] = touched.get(job_key, False) or (job is not None and job.callback_url is not None)
    return touched
