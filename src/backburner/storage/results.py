"""Results going in, page by page, and coming out in the order of the input."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from backburner.commands import ResultPage, ResultRow
from backburner.reading import narrowed
from backburner.states import BatchStatus
from backburner.storage.bulk import insert_many
from backburner.storage.conversations import record_answers
from backburner.storage.statements import add
from backburner.storage.tables import jobs, provider_batches, results

COLUMNS = ("job_id", "idx", "round", "batch_id", "status", "line")


def store_pages(tx: sa.Connection, pages: Sequence[ResultPage], *, now: datetime) -> int:
    """Append results and count them, each exactly once. Returns how many were new.

    Results that are there already are skipped, and so are those of batches that are final.
    """
    pages = _of_open_batches(tx, pages)
    save = tx.begin_nested()
    if _insert(tx, pages) == sum(len(page.rows) for page in pages):
        save.commit()
    else:
        save.rollback()
        pages = _only_new(tx, pages)
        _insert(tx, pages)
    for page in pages:
        if page.of_agents:
            record_answers(tx, page, now=now)
    _count(tx, pages, now)
    return sum(len(page.rows) for page in pages)


def _of_open_batches(tx: sa.Connection, pages: Sequence[ResultPage]) -> list[ResultPage]:
    keys = {page.batch_key for page in pages}
    open_keys = set(tx.execute(_ACCEPTING, {"keys": sorted(keys)}).scalars())
    return [page for page in pages if page.batch_key in open_keys]


# Locked, or one that is given up at this moment would have its items counted twice.
_ACCEPTING = (
    sa.select(provider_batches.c.id)
    .where(
        provider_batches.c.id.in_(sa.bindparam("keys", expanding=True)), provider_batches.c.status == BatchStatus.ENDED
    )
    .order_by(provider_batches.c.id)
    .with_for_update()
)


def _insert(tx: sa.Connection, pages: Sequence[ResultPage]) -> int:
    rows = [
        (page.job_key, row.index, page.round, page.batch_key, row.status, row.result)
        for page in pages
        for row in page.rows
    ]
    return insert_many(tx, results, COLUMNS, rows)


def _only_new(tx: sa.Connection, pages: Sequence[ResultPage]) -> list[ResultPage]:
    seen: set[tuple[int, int, int]] = set()
    return [narrowed(page, rows) for page in pages if (rows := _new_rows(tx, page, seen))]


def _new_rows(tx: sa.Connection, page: ResultPage, seen: set[tuple[int, int, int]]) -> list[ResultRow]:
    indices = [row.index for row in page.rows]
    stored = stored_indices(tx, page.job_key, page.round, min(indices), max(indices))
    seen.update((page.job_key, page.round, index) for index in stored)
    new = []
    for row in page.rows:
        if (key := (page.job_key, page.round, row.index)) not in seen:
            seen.add(key)
            new.append(row)
    return new


def _count(tx: sa.Connection, pages: Sequence[ResultPage], now: datetime) -> None:
    of_batch: dict[int, Counter[str]] = defaultdict(Counter)
    of_job: dict[int, Counter[str]] = defaultdict(Counter)
    for page in pages:
        of_batch[page.batch_key].update(page.counts)
        if not page.of_agents:  # their items count when their conversations are over
            of_job[page.job_key].update(page.counts)
        of_job[page.job_key].update(msgspec.structs.asdict(page.usage))
    for key in sorted(of_batch):
        add(tx, provider_batches, key, of_batch[key], now=now)
    for key in sorted(of_job):  # in order, so that two transactions never wait for each other crosswise
        add(tx, jobs, key, of_job[key], now=now)


def stored_indices(tx: sa.Connection, job_key: int, round: int, first: int, last: int) -> list[int]:  # noqa: A002  # the glossary's word
    """Which items of a range have their result of this round."""
    place = {"job": job_key, "in_round": round, "first": first, "last": last}
    return list(tx.execute(_STORED, place).scalars())


_STORED = sa.select(results.c.idx).where(
    results.c.job_id == sa.bindparam("job"),
    results.c.round == sa.bindparam("in_round"),
    results.c.idx.between(sa.bindparam("first"), sa.bindparam("last")),
)


def job_ids_of(tx: sa.Connection, job_keys: Iterable[int]) -> list[str]:
    """Public ids of jobs."""
    return list(tx.execute(_PUBLIC_IDS, {"keys": sorted(set(job_keys))}).scalars())


_PUBLIC_IDS = sa.select(jobs.c.public_id).where(jobs.c.id.in_(sa.bindparam("keys", expanding=True))).order_by(jobs.c.id)
